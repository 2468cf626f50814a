import re
from pathlib import Path

import pytest
import tomli

from supervisor.config import Config, defaults_table, load
from supervisor.config.reference import REQUIRED, filled_in

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "configuration.md"
EXAMPLE = ROOT / "supervisor.toml"


def toml_blocks(text: str) -> list[str]:
    return re.findall(r"```toml\n(.*?)```", text, re.DOTALL)


def test_the_tables_of_the_docs_are_those_of_the_models() -> None:
    page = PAGE.read_text()

    assert page == filled_in(page), (
        "docs/configuration.md is out of date; make it anew with: python -c 'from pathlib import Path;"
        " from supervisor.config.reference import filled_in;"
        ' p = Path("docs/configuration.md"); p.write_text(filled_in(p.read_text()))\''
    )


def test_every_key_is_documented_with_its_default() -> None:
    page = PAGE.read_text()

    for key, default, _ in defaults_table():
        table, _, name = key.rpartition(".")
        heading = f"[[{table.removesuffix('[]')}]]" if table.endswith("[]") else f"[{table}]"
        section = page.partition(f"### `{heading}`")[2].partition("\n### ")[0]
        row = re.search(rf"^\| `{name}` \| (.*?) \|", section, re.MULTILINE)
        assert row, f"{key} is not in docs/configuration.md"
        assert default in row[1].replace("`", "") or row[1] == default


@pytest.mark.parametrize("block", toml_blocks(PAGE.read_text()))
def test_every_config_in_the_docs_loads(block: str, tmp_path: Path) -> None:
    secret = tmp_path / "kafka-password"
    secret.write_text("x")
    file = tmp_path / "supervisor.toml"
    file.write_text(block)

    config = load(file, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})

    assert config.warnings == ()


@pytest.fixture
def example() -> Config:
    return load(EXAMPLE, environ={})


def test_the_example_loads_without_an_environment(example: Config) -> None:
    assert example.warnings == ()
    assert example.enabled == ("orders",)
    assert example.kafka["bootstrap.servers"] == "127.0.0.1:9092"


def test_the_example_has_every_key_and_its_comments_are_the_defaults(tmp_path: Path) -> None:
    uncommented = re.sub(r"^#(?=[a-z_]+ = )", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    live, everything = tomli.loads(EXAMPLE.read_text()), tomli.loads(uncommented)
    file = tmp_path / "supervisor.toml"
    file.write_text(uncommented)
    load(file, environ={})

    for key, default, _ in defaults_table():
        if "[]" in key:
            continue  # of a list of tables only the list has a default
        path = key.replace("NAME", "orders").split(".")
        assert has(everything, path), f"{key} is not in supervisor.toml"
        if has(live, path) or default == REQUIRED or key in {"supervisor.name", "supervisor.runtime_dir"}:
            continue
        shown = "`state`" if key == "supervisor.state_dir" else default
        assert value(everything, path) == tomli.loads(f"x = {shown.replace('`', chr(34))}")["x"], key


def has(tree: object, path: list[str]) -> bool:
    for part in path:
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True


def value(tree: object, path: list[str]) -> object:
    for part in path:
        assert isinstance(tree, dict)
        tree = tree[part]
    return tree
