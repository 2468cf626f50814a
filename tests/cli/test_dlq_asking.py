import sys

import pytest

from supervisor.cli.dlq import asking
from supervisor.cli.errors import CommandError
from supervisor.core.dlq import DlqRequest, Verb
from tests.unit.test_jsonable import WORKER


def test_a_child_that_ends_within_a_line_gave_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    torn = 'import sys; sys.stdin.read(); sys.stdout.write(\'{"type": "progr\')'
    monkeypatch.setattr(asking, "PROGRAM", (sys.executable, "-c", torn))

    with pytest.raises(CommandError):
        asking.ask(DlqRequest(Verb.LIST, WORKER.group, "/nowhere", 1), title="looking", is_quiet=True)
