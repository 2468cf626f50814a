"""``supervisor runbook``: what to do about an alert, read on the host it comes from. No supervisor need run there."""

import re
from pathlib import Path

import click

from supervisor.core.suggest import did_you_mean

_SECTION = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_ANCHOR = re.compile(r'^<a id="([^"]+)"></a>\n', re.MULTILINE)
"""Further names of a section, on lines of their own below its heading; they are targets of links, too."""


@click.command()
@click.argument("name", required=False)
def runbook(name: str | None) -> None:
    """Print what to do about NAME: a condition, or an alert of the Prometheus rules; without NAME, the names.

    \b
    Examples:
      supervisor runbook no_progress
      supervisor runbook KafkaSupervisorCrashLoop

    \b
    Exit codes: 0 printed, 2 no such name.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    pages = sections()
    if name is None:
        click.echo("\n".join(pages))
        return
    if name not in pages:
        message = f"the runbook has nothing called {name!r}; {did_you_mean(name, pages)}all names: supervisor runbook"
        raise click.BadParameter(message, param_hint="NAME")
    click.echo(pages[name], nl=False)


def sections() -> dict[str, str]:
    """Return the runbook's sections by each of their names."""
    found: dict[str, str] = {}
    for heading, body in _SECTION.findall(_text()):
        text = f"{heading}\n{_ANCHOR.sub('', body).rstrip()}\n"
        found |= dict.fromkeys([heading, *_ANCHOR.findall(body)], text)
    return found


def _text() -> str:
    """Return the runbook: the wheel has it beside this module, a checkout in ``docs``."""
    here = Path(__file__).resolve().parent
    packed = here / "runbook.md"
    return (packed if packed.is_file() else here.parents[1] / "docs" / packed.name).read_text(encoding="utf-8")
