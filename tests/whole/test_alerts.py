"""Alerts of a real supervisor: a webhook hears of a death with its record, and of a condition and its end."""

from typing import Any

from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.plugins.receiver import Receiver
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger

CONFIG = """
[alerting]
group_wait = "100ms"

[alerting.conditions]
worker_down = {{ after = "0s" }}

[plugins.alert_webhook]
url = "{url}"
"""


def told(receiver: Receiver, name: str) -> list[dict[str, Any]]:
    return [body for _, _, body in list(receiver.requests) if body["name"] == name]


def test_p7_a_death_and_a_slot_that_stays_down_are_told_with_what_is_known(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    receiver = Receiver()
    try:
        program = supervise(
            broker,
            "restart.initial = '60s'\nworkers = 1\nfailover_after = '600s'",
            supervisor='alerts = ["alert_webhook"]',
            more=CONFIG.format(url=receiver.url),
        )
        program.wait(lambda: program.shared_out(1), what="it has its partition")
        produce(broker.bootstrap, name, ["gate:0"])
        program.wait(lambda: ledger.places("start"), what="it is in its handler")
        program.kill_worker(0)

        program.wait(lambda: told(receiver, "worker.exited"), what="the death is told")
        (death,) = told(receiver, "worker.exited")
        assert "SIGKILL" in death["text"]
        assert death["fields"]["supervisor"] == "a", "which of many"
        assert f"{name}/0@0" in death["text"]
        assert "starts again at once" in death["text"]
        ledger.open_gate("0")
        program.wait(lambda: ledger.lines("done"), what="the record is worked")

        for _ in range(2):  # a death without a record in its handler: the second one has a wait before it
            program.wait(program.running, what="it is back")
            program.kill_worker(0)
            program.wait(lambda: not program.running(), what="it is seen")
        program.wait(lambda: told(receiver, "alert.firing"), 30, what="the condition is told")
        (firing,) = told(receiver, "alert.firing")
        assert firing["fields"]["alert"] == "worker_down"
        shown = program.cli("alerts")
        assert "worker_down" in shown.stdout

        silenced = program.cli("silence", "worker.exited", "--for", "1h")
        assert silenced.returncode == 0, silenced.stderr
        assert program.cli("start", name).returncode == 0
        program.wait(program.running, what="it is back")
        program.wait(lambda: told(receiver, "alert.resolved"), 60, what="its end is told")
        assert program.terminate() == 0
    finally:
        receiver.close()
