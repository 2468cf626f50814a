import io
from typing import Any

import pytest
from rich.table import Table

from supervisor.cli.output import console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("text", ["[/known]", "list[int] has no [attribute]", ":fire: [red]alarm"])
@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_what_others_wrote_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch, stream: Any, text: str) -> None:
    out = stream()
    monkeypatch.setattr("sys.stdout", out)
    table = Table(box=None)
    table.add_column("WHAT", no_wrap=True)
    table.add_row(text)

    console().print(table)
    console().print(f"silence 1 ({text})")

    assert out.getvalue().count(text) == 2
