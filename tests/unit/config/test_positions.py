from typing import Any

import tomli
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.positions import locate

TEXT = '''# [not.a.table]
a = 1  # b = 2
"quoted.key" = """
[no.table]
key = \\"""in a string\\"""
"""
literal = \'\'\'
x = 1\'\'\'
[table . 'with space' ]
list = [ # [x]
  "one, ] \\" = ", # two
  { inner = 2, more.deep = [1, [2,
     3]] },
]
date = 1979-05-27 07:32:00

[[array]]
x = 1
[[array]]
x = 2
y = """ends in quotes"""""
z = 1
'''


def test_every_key_is_found_on_its_line() -> None:
    tomli.loads(TEXT)

    lines = locate(TEXT)

    assert lines == {
        "a": 2,
        "quoted.key": 3,
        "literal": 7,
        "table": 9,
        "table.with space": 9,
        "table.with space.list": 10,
        "table.with space.list.0": 11,
        "table.with space.list.1": 12,
        "table.with space.list.1.inner": 12,
        "table.with space.list.1.more": 12,
        "table.with space.list.1.more.deep": 12,
        "table.with space.list.1.more.deep.0": 12,
        "table.with space.list.1.more.deep.1": 12,
        "table.with space.list.1.more.deep.1.0": 12,
        "table.with space.list.1.more.deep.1.1": 13,
        "table.with space.date": 15,
        "array": 17,
        "array.0": 17,
        "array.0.x": 18,
        "array.1": 19,
        "array.1.x": 20,
        "array.1.y": 21,
        "array.1.z": 22,
    }


def test_an_inline_table_over_several_lines_is_toml_too() -> None:
    text = "a = {\n  b = 1, # c = 1\n  d = 2,\n}\ne = 3\n"
    tomli.loads(text)

    assert locate(text) == {"a": 1, "a.b": 2, "a.d": 3, "e": 5}


keys = st.text(st.sampled_from("ab-_1"), min_size=1, max_size=4)
values = st.recursive(
    st.one_of(st.integers(0, 9), st.booleans(), st.text(st.sampled_from("a\"'\\[]{}#,=\n. "), max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(keys, values, max_size=5))
def test_whatever_the_values_are_each_key_keeps_its_own_line(tree: dict[str, Any]) -> None:
    from supervisor.config.problems import key_part, value_text  # noqa: PLC0415 - only this test writes TOML

    text = "".join(f"{key_part(key)} = {value_text(value)}\n" for key, value in tree.items())
    assert tomli.loads(text) == tree

    lines = locate(text)

    assert {key: lines[key] for key in tree} == {key: number for number, key in enumerate(tree, start=1)}
