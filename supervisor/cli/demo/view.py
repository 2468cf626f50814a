"""How the demo tells its story: a live screen on a terminal, plain lines in a pipe."""

import time
from dataclasses import dataclass
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from supervisor.cli.demo.ledger import Proof
from supervisor.cli.table import status_table
from supervisor.core.snapshot import Snapshot


class View(Protocol):
    """What the scenario speaks to."""

    def __enter__(self) -> Self: ...  # noqa: D105
    def __exit__(self, *raised: object) -> None: ...  # noqa: D105

    def begin(self, step: str) -> None:
        """Say what happens now."""

    def done(self, outcome: str) -> None:
        """Say how the step that began last came out."""

    def show(self, snapshot: Snapshot | None, counts: str) -> None:
        """Show the workers (``None``: there are none), and how far the work is."""


@dataclass(slots=True)
class Step:
    """One line of the story; ``outcome`` is empty while it goes on."""

    text: str
    began: float
    outcome: str = ""
    took: float = 0.0


class PlainView:
    """Lines as they come, for pipes and logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0
        self._began = 0.0

    def __enter__(self) -> Self:
        """Return itself: nothing to set up."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Leave what was printed."""

    def begin(self, step: str) -> None:
        """Print the step with its number."""
        self._number += 1
        self._began = time.monotonic()
        self._console.print(f"{self._number}. {step}")

    def done(self, outcome: str) -> None:
        """Print the outcome under its step."""
        self._console.print(f"   -> {outcome} ({time.monotonic() - self._began:.1f} s)")

    def show(self, snapshot: Snapshot | None, counts: str) -> None:
        """Print nothing: a pipe has no screen to keep up to date."""


class LiveView:
    """Steps, the table of ``supervisor status`` and the counts, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._steps: list[Step] = []
        self._snapshot: Snapshot | None = None
        self._counts = ""
        self._spinner = Spinner("dots")
        self._live = Live(console=console, refresh_per_second=10, get_renderable=self._render)

    def __enter__(self) -> Self:
        """Take over the screen's last lines."""
        self._live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Leave the last picture standing."""
        self._live.stop()

    def begin(self, step: str) -> None:
        """Add a step that goes on."""
        self._steps.append(Step(step, time.monotonic()))

    def done(self, outcome: str) -> None:
        """Finish the newest step."""
        step = self._steps[-1]
        step.outcome, step.took = outcome, time.monotonic() - step.began

    def show(self, snapshot: Snapshot | None, counts: str) -> None:
        """Keep what the next redraw shows."""
        self._snapshot, self._counts = snapshot, counts

    def _render(self) -> RenderableType:
        steps = Table(box=None, pad_edge=False, show_header=False)
        for step in self._steps:
            text = Text(step.text)
            if step.outcome:
                text.append(f"\n{step.outcome}", style="green").append(f"  {step.took:.1f} s", style="dim")
            steps.add_row(Text("✓", style="green") if step.outcome else self._spinner, text)
        parts: list[RenderableType] = [steps, ""]
        if self._snapshot is not None:
            parts += [status_table(self._snapshot), ""]
        return Group(*parts, Text(self._counts, style="dim"))


def proof_text(proof: Proof) -> str:
    """Return the proof as a person reads it."""
    kill = proof.kill
    lines = [
        "",
        "Proof, from the ledger the handlers wrote and the offsets the broker has:" if proof.holds else "NOT proven:",
        f"  produced      {proof.produced} records",
        f"  processed     {proof.processed}, each at least once",
        f"  again         {proof.duplicates} of them, which A had worked and not yet committed when it was killed",
        f"  dead letters  {proof.dead_lettered}",
        f"  lost          {len(proof.lost)}",
        f"  resumed       partition {kill.partition} at {kill.resumed_at}, {kill.seconds:.1f} s after the kill",
        f"  committed     {kill.committed} when A was killed",
    ]
    if proof.dead_letter is not None:
        letter = proof.dead_letter
        lines.append(
            f"  the dead letter, orders.dlq partition {letter.partition} offset {letter.offset}, has the headers"
        )
        lines += [f"    {name} = {_one_line(value)}" for name, value in letter.headers.items()]
    lines += [f"  PROBLEM: {problem}" for problem in proof.problems]
    return "\n".join(lines)


def _one_line(value: str) -> str:
    lines = value.strip().splitlines()
    return value if len(lines) < 2 else f"({len(lines)} lines, the last: {lines[-1]})"  # noqa: PLR2004 - one line is a line
