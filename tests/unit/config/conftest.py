from collections.abc import Mapping
from pathlib import Path

import pytest

from supervisor.config import Config, ConfigError, Problem, load
from tests.unit.config.texts import Checker, Loader


@pytest.fixture
def load_text(tmp_path: Path) -> Loader:
    """Return a function that loads TOML text with an environment of its own, on a host named "web-1"."""

    def loader(text: str, environ: Mapping[str, str] | None = None) -> Config:
        file = tmp_path / "supervisor.toml"
        file.write_text(text)
        file.chmod(0o600)
        return load(file, environ=environ or {}, hostname="web-1")

    return loader


@pytest.fixture
def problems(load_text: Loader) -> Checker:
    """Return a function that gives everything wrong with TOML text, by key."""

    def checker(text: str, environ: Mapping[str, str] | None = None) -> dict[str, Problem]:
        try:
            load_text(text, environ)
        except ConfigError as error:
            found = error.problems
        else:
            found = ()
        by_key = {problem.key: problem for problem in found}
        assert len(by_key) == len(found), "one key was reported twice"
        return by_key

    return checker
