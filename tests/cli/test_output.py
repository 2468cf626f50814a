import io
import json
from typing import Any

import pytest
from rich.table import Table

from supervisor.cli.output import console, print_json


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


@pytest.mark.parametrize(
    ("text", "encoding"), [("\ud800", "utf-8"), ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "ascii")]
)
def test_json_is_json_whatever_the_terminal_can_write(
    monkeypatch: pytest.MonkeyPatch, text: str, encoding: str
) -> None:
    data = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(data, encoding=encoding))

    print_json({"name": text})

    assert json.loads(data.getvalue()) == {"name": text}
