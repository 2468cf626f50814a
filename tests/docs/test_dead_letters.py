"""What docs/dead-letters.md says of headers is what letters have."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.core.letters import MAX_LOG, MAX_MESSAGE, MAX_STACK, Origin, Profile, dead_letter_headers
from supervisor.plugin import Disposition

PAGE = (Path(__file__).parents[2] / "docs" / "dead-letters.md").read_text()
TABLE = PAGE.partition("<!-- headers: begin -->")[2].partition("<!-- headers: end -->")[0]
ROWS = re.findall(r"^\| `([^`]+)` \| (\w+) \| (.+) \|$", TABLE, re.MULTILINE)

DEATH = Origin(
    group="g", worker="w", topic="t", partition=0, offset=1, timestamp=1.0, disposition="worker-killed", reason="r",
    attempts=1, first_failed_at=1.0, failed_at=1.0, signal="SIGSEGV", exit_code=1, stack="s", log_lines=("l",),
    handler="h:p", code_version="v",
)  # fmt: skip


def raised() -> BaseException:
    error = ValueError("text")
    error.__cause__ = KeyError()
    return error


@pytest.mark.parametrize("profile", list(Profile))
def test_the_table_has_every_header_of_a_profile_and_no_other(profile: Profile) -> None:
    written = dead_letter_headers((), replace(DEATH, error=raised()), profile)

    assert sorted(name for name, where, _ in ROWS if where in (profile, "all")) == sorted(name for name, _ in written)


def test_the_table_tells_the_bounds_and_every_disposition() -> None:
    about = {name.rpartition(".")[2]: text for name, _, text in ROWS}

    assert re.findall(r"`([a-z-]+)`", about["disposition"]) == [one.value for one in Disposition]
    assert str(MAX_MESSAGE) in about["exception-message"]
    assert str(MAX_STACK) in about["exception-stack"]
    assert str(MAX_STACK) in about["stack"]
    assert str(MAX_LOG) in about["log-lines"]
