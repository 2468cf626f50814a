from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import pydantic
import pytest

from supervisor.plugin import Seconds
from supervisor.plugin.errors import PluginError
from supervisor.plugin.options import build_options


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Pool:
    size: int = 1


@dataclass(frozen=True)
class Options:
    url: str
    timeout: Seconds = 5.0
    factor: float = 2.0
    attempts: int = 3
    strict: bool = False
    names: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    level: Literal["low", "high"] = "low"
    colour: Colour = Colour.RED
    limit: int | None = None
    pool: Pool = field(default_factory=Pool)

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("attempts must be at least 1")


def made(**options: Any) -> Options:
    built = build_options("slack", Options, options)
    assert isinstance(built, Options)
    return built


def wrong(cls: type = Options, **options: Any) -> list[str]:
    with pytest.raises(PluginError) as caught:
        build_options("slack", cls, options)
    return [problem.text for problem in caught.value.problems]


def test_values_of_toml_become_the_types_of_the_class() -> None:
    options = made(
        url="u", timeout="1m30s", factor=3, names=["a"], headers={"x": "y"}, level="high", colour="red", limit=2,
        pool={"size": 4},
    )  # fmt: skip

    expected = Options("u", 90.0, 3.0, 3, False, ("a",), {"x": "y"}, "high", Colour.RED, 2, Pool(4))
    assert options == expected


def test_every_wrong_key_is_told_with_its_path() -> None:
    assert wrong(timeot="5s", pool={"size": "x", "sice": 1}, headers={"a": 1}, names=["a", 2]) == [
        "option 'timeot': is unknown",
        "option 'url': is missing",
        "option 'names[1]': expected a string, found an integer",
        "option 'headers.a': expected a string, found an integer",
        "option 'pool.sice': is unknown",
        "option 'pool.size': expected an integer, found a string",
    ]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"timeout": "soon"}, "option 'timeout': 'soon' is not a duration"),
        ({"timeout": True}, "option 'timeout': expected a duration such as '200ms' or a number of seconds"),
        ({"attempts": True}, "option 'attempts': expected an integer, found true or false"),
        ({"attempts": 1.5}, "option 'attempts': expected an integer, found a number"),
        ({"names": "a"}, "option 'names': expected an array, found a string"),
        ({"level": "medium"}, "option 'level': not one of 'low', 'high'"),
        ({"colour": "rde"}, "option 'colour': not one of 'red'"),
        ({"limit": "many"}, "option 'limit': expected an integer, found a string"),
        ({"pool": 3}, "option 'pool': expected a table, found an integer"),
        ({"attempts": 0}, "options: attempts must be at least 1"),
    ],
)
def test_a_wrong_value_is_refused(options: dict[str, Any], text: str) -> None:
    (found,) = wrong(url="u", **options)

    assert found.startswith(text)


def test_a_secret_of_the_wrong_type_is_not_repeated() -> None:
    assert "hunter2" not in str(wrong(url="u", attempts="hunter2"))


def test_a_pydantic_model_is_asked_in_its_own_way_and_its_values_are_not_repeated() -> None:
    class Pool(pydantic.BaseModel):
        size: int

    class Model(pydantic.BaseModel, extra="forbid"):
        pool: Pool
        token: int

    assert build_options("slack", Model, {"pool": {"size": 2}, "token": 1}) == Model(pool=Pool(size=2), token=1)
    found = wrong(Model, pool={"size": "x"}, token="hunter2", other=1)

    assert [text.split(":")[0] for text in found] == ["option 'pool.size'", "option 'token'", "option 'other'"]
    assert "hunter2" not in str(found)


def test_options_of_another_kind_of_class_are_refused() -> None:
    class Plain: ...

    assert "neither a dataclass nor a pydantic model" in wrong(Plain)[0]
