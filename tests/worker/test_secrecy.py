"""P10: what users' code does with a value, and how a client is configured, shows nowhere."""

from pathlib import Path

from supervisor.core.spec import DeadLetterSpec, PluginSpec
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.worker.conftest import Start
from tests.worker.direct import group_spec

VALUE = "4929-1234-5678"
PASSWORD = "correct-horse"


def test_p10_values_and_secrets_are_in_no_log_frame_board_or_command_line(
    broker: RealBroker, name: str, start: Start
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, [VALUE] * 3)
    group = group_spec(
        broker.bootstrap,
        name,
        (name,),
        "leaky:process",
        sinks=("leaky:Sink",),
        plugins=(PluginSpec("leaky:Policy"),),
        dead_letters=DeadLetterSpec("leaky:Sink", "", "{topic}.dlq", 2.0),
        kafka={"sasl.password": PASSWORD, "debug": "security"},
    )

    worker = start(group)
    worker.wait(lambda: worker.events("dead_letter.unwritten"))
    worker.wait(lambda: "record.failed" in worker.log_tail() and "retry_decision.failed" in worker.log_tail())

    proc = Path(f"/proc/{worker.process.pid}")
    shown = {
        "log": worker.log.read_text(),
        "frames": repr(worker.frames),
        "board": worker.slot_file.read_bytes().decode(errors="replace"),
        "command line": (proc / "cmdline").read_text(),
        "environment": (proc / "environ").read_text(),
    }
    for place, text in shown.items():
        assert VALUE not in text, place
        assert PASSWORD not in text, place
