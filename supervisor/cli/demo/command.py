"""``supervisor demo``."""

import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from supervisor.cli.demo.scenario import play
from supervisor.cli.demo.stage import DemoFailedError, Stage
from supervisor.cli.demo.view import LiveView, PlainView, proof_text
from supervisor.cli.errors import CommandError
from supervisor.cli.output import console, print_json
from supervisor.core.exits import ExitCode
from supervisor.core.jsonable import to_json


@click.command()
@click.option("--keep", is_flag=True, help="Keep the broker and the files afterwards, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print the proof as JSON; the story goes to standard error.")
def demo(*, keep: bool, as_json: bool) -> None:
    """Show a worker die, and prove that nothing is lost.

    \b
    Needs nothing but this package: it brings a small Kafka of its own (librdkafka's, in memory) and takes
    about half a minute.
      1. Two workers share the two partitions of a topic; A has committed offset 100 of partition 0.
      2. A is killed with -9 in the middle of its work; B takes over at the committed offset.
      3. A's slot returns. A record that always fails becomes a dead letter, and the rest goes on.
      4. A ledger that the handlers wrote proves: every record was processed at least once.

    \b
    Examples:
      supervisor demo
      supervisor demo --json | jq .lost

    \b
    Exit codes: 0 the proof holds, 1 it does not.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    out = console(err=as_json)
    view = LiveView(out) if out.is_terminal else PlainView(out)
    with tempfile.TemporaryDirectory(prefix="supervisor-demo-") as name:
        try:
            with Stage(Path(name), view) as stage:
                with view:
                    proof = play(stage)
                if as_json:
                    print_json({"holds": proof.holds, **to_json(proof)})
                else:
                    out.print(proof_text(proof), markup=False)
                if keep:
                    _stay(stage, out)
        except (DemoFailedError, TimeoutError) as error:
            message = f"the demo failed: {error}"
            raise CommandError(message) from error
    sys.exit(ExitCode.OK if proof.holds else ExitCode.FAILURE)


def _stay(stage: Stage, out: Console) -> None:
    """Run the supervisor again beside the broker until Ctrl-C, for looking around."""
    stage.start_supervisor()
    lines = (
        "",
        f"The broker ({stage.broker.bootstrap}) and the supervisor go on until Ctrl-C.",
        f"  its project  {stage.folder}",
        f"  its log      {stage.log}",
        f"  its workers  supervisor status --watch --socket {stage.control.socket_path}",
    )
    out.print("\n".join(lines), markup=False, soft_wrap=True)
    try:
        while stage.supervisor.poll() is None:
            time.sleep(1.0)
    except KeyboardInterrupt:
        return
