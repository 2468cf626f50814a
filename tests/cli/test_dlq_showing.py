import click
import pytest

from supervisor.cli.dlq.command import dlq
from supervisor.cli.dlq.options import rate
from supervisor.cli.dlq.showing import show_letter, show_reasons, show_stats, show_table
from supervisor.core.dlq import DlqAnswer, Letter, Parts
from supervisor.core.letter_view import view
from supervisor.core.replay import ReasonCount

ESCAPE = "\x1b]0;gone\x07"


def test_what_headers_say_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("topic", "disposition", "exception-type", "exception-message", "reason", "group")
    headers = [(f"supervisor.dlq.{name}", f"{name}{ESCAPE}".encode()) for name in names]
    letter = Letter("orders.dlq/0@1", 1.0, 3, view(headers), key="k", headers=((f"x{ESCAPE}", "y"),))

    show_table([letter])
    show_letter(letter, value=False)
    show_reasons([ReasonCount(ESCAPE, ESCAPE, 1)])
    show_stats(DlqAnswer(parts=Parts(origins={ESCAPE: 1}, places={ESCAPE: 1})))

    shown = capsys.readouterr().out
    assert "exception-message" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


@pytest.mark.parametrize("text", ["9" * 400, "0", "-1", "100/d", "fast"])
def test_what_is_no_rate_is_said(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no rate"):
        rate(click.Context(dlq), click.Option(["--rate"]), text)
