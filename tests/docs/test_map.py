"""DESIGN.md's map names what is there: every folder, every module, nothing else."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ("supervisor", "plugins", "bench", "examples")
FOLDERS = (*CODE, "tests", "docs", "deploy", "requirements")
LINE = re.compile(r"^\s*[-*] `([^`]+)`: (.+)$")


def described() -> dict[str, str]:
    """Return what the section "Map" says of each path."""
    text = (ROOT / "DESIGN.md").read_text() if (ROOT / "DESIGN.md").exists() else ""
    section = re.search(r"^## Map$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None, 'DESIGN.md has no section "## Map"'
    found = [match.groups() for line in section[1].splitlines() if (match := LINE.match(line))]
    names = [path.rstrip("/") for path, _ in found]
    assert len(names) == len(set(names)), f"named twice: {sorted({name for name in names if names.count(name) > 1})}"
    return {path.rstrip("/"): text for path, text in found}


def modules() -> set[str]:
    """Return the modules that the map must name; an ``__init__.py`` goes by its folder's name."""
    paths = {path.relative_to(ROOT) for top in CODE for path in (ROOT / top).rglob("*.py")}
    return {str(path) for path in paths if path.name != "__init__.py"}


def folders() -> set[str]:
    """Return the folders that the map must name: those that hold files."""
    found = {
        str(path.parent.relative_to(ROOT))
        for top in FOLDERS
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    tops = {top for top in FOLDERS if any(name.split("/")[0] == top for name in found)}
    return tops | {name for name in found if not name.startswith("tests/") or name.count("/") == 1}


def test_the_map_names_every_module() -> None:
    assert sorted(modules() - described().keys()) == []


def test_the_map_names_every_folder() -> None:
    assert sorted(folders() - described().keys()) == []


def test_the_map_names_nothing_that_is_not_there() -> None:
    assert [path for path in described() if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("path", sorted(modules()))
def test_every_module_says_what_it_is(path: str) -> None:
    text = (ROOT / path).read_text()

    assert text.startswith(('"""', "#!")) or path.startswith("examples/"), "no docstring on the first line"
