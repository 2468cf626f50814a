"""The events of docs/supervision.md, and the names that can be silenced, against what the source tells."""

import ast
import re
from pathlib import Path

from supervisor.core.alert_flow import AS_CONDITIONS
from supervisor.core.told_names import EVENTS

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"[a-z_]+\.[a-z_]+")
TELLING = {"tell", "event", "Report", "Event", "_note", "send"}
TOLD_TO_NOBODY = {"Severity.INFO", "Severity.DEBUG"}


def told() -> dict[str, set[str]]:
    """Return the names of events that the source tells, each with how urgent it may be, as the source writes it."""
    found: dict[str, set[str]] = {"alert.firing": {"severity"}, "alert.resolved": {"Severity.INFO"}}
    for path in sorted((ROOT / "supervisor").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and _called(call.func) in TELLING:
                given = {keyword.arg: keyword.value for keyword in call.keywords}
                first = [*call.args[:1], *(value for arg, value in given.items() if arg == "name")]
                severity = call.args[1] if len(call.args) > 1 else given.get("severity")
                for name in (one.value for node in first for one in ast.walk(node) if isinstance(one, ast.Constant)):
                    if isinstance(name, str) and NAME.fullmatch(name):
                        found.setdefault(name, set()).add(ast.unparse(severity) if severity else "")
    return found


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_every_event_that_people_can_be_told_of_can_be_silenced_and_no_other() -> None:
    urgent = {name for name, severities in told().items() if severities - TOLD_TO_NOBODY}

    assert len(urgent) > 50
    assert set(EVENTS) == urgent - set(AS_CONDITIONS)
    assert set(AS_CONDITIONS) <= urgent


def test_every_event_is_in_the_table_of_the_docs() -> None:
    table = (ROOT / "docs" / "supervision.md").read_text().partition("## Events")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    documented = {name for row in rows for name in re.findall("`(.+?)`", row)}

    assert set(told()) - documented == set()
    assert {name for name in documented - set(told()) if not name.startswith("dlq.")} == set()
