import hashlib
import hmac
import json
import socketserver
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supervisor.plugin import Event, Severity, TryAgainError
from supervisor_plugins.alert_apprise import AppriseAlert
from supervisor_plugins.alert_command import CommandAlert
from supervisor_plugins.alert_email import EmailAlert
from supervisor_plugins.alert_email import message as mail
from supervisor_plugins.alert_pagerduty import PagerDutyAlert
from supervisor_plugins.alert_slack import SlackAlert
from supervisor_plugins.alert_webhook import WebhookAlert
from supervisor_plugins.posting import NotTakenError
from tests.plugins.receiver import Receiver
from tests.waiting import wait_until

DEATH = Event(
    "worker.exited",
    Severity.WARNING,
    1700.5,
    group="orders",
    slot=2,
    text="SIGSEGV at orders/1@812; starts again at once",
    fields={"pid": 4711, "record": "orders/1@812"},
    attachments={"stack": "\n".join(f"line {number}" for number in range(100)), "log": "last words <!channel>"},
)
FIRING = Event(
    "alert.firing",
    Severity.CRITICAL,
    1700.5,
    group="orders",
    text="group_down: no worker runs",
    fields={"alert": "group_down", "severity": "critical", "supervisor": "web-1"},
)
RESOLVED = replace(FIRING, name="alert.resolved", severity=Severity.INFO, text="group_down: over")


def no_sleep(_: float) -> None:
    pass


def pagerduty(url: str, **options: Any) -> PagerDutyAlert:
    return PagerDutyAlert(PagerDutyAlert.Options(url=url, routing_key="key", **options), sleep=no_sleep)


def test_slack_gets_a_title_the_facts_and_the_ends_of_what_the_worker_left(receiver: Receiver) -> None:
    SlackAlert(SlackAlert.Options(receiver.url), sleep=no_sleep).alert(DEATH)

    ((_, _, body),) = receiver.requests
    assert body["text"] == "[WARNING] orders/2 SIGSEGV at orders/1@812; starts again at once"
    blocks = [block["text"]["text"] for block in body["attachments"][0]["blocks"]]
    assert "record: `orders/1@812`" in blocks[1]
    assert "line 99" in blocks[2]
    assert "line 69\n" not in blocks[2]
    assert "&lt;!channel&gt;" in blocks[3], "a log line must not ring everybody"
    assert all(len(block) <= 3000 for block in blocks)


def test_slack_messages_stay_within_what_slack_takes(receiver: Receiver) -> None:
    long = replace(DEATH, text="x" * 9000, attachments={"stack": "y" * 9000 + "END"})

    SlackAlert(SlackAlert.Options(receiver.url), sleep=no_sleep).alert(long)

    blocks = [block["text"]["text"] for block in receiver.requests[0][2]["attachments"][0]["blocks"]]
    assert max(map(len, blocks)) <= 3000
    assert "END" in blocks[2]


def test_pagerduty_resolves_what_it_triggered(receiver: Receiver) -> None:
    alert = pagerduty(receiver.url)
    alert.alert(FIRING)
    alert.alert(RESOLVED)

    first, second = (body for _, _, body in receiver.requests)
    assert (first["event_action"], second["event_action"]) == ("trigger", "resolve")
    assert first["dedup_key"] == second["dedup_key"] == "kafka-supervisor/web-1/group_down/orders/-"
    assert first["payload"]["severity"] == "critical"
    assert first["payload"]["summary"] == "[CRITICAL] web-1 orders group_down: no worker runs"


def of_supervisor(name: str, event: Event) -> Event:
    return replace(event, fields={**event.fields, "supervisor": name})


def dedup_keys(receiver: Receiver) -> list[str]:
    return [body["dedup_key"] for _, _, body in receiver.requests]


def test_supervisors_do_not_share_an_incident_nor_end_each_others(receiver: Receiver) -> None:
    alert = pagerduty(receiver.url)
    for event in (FIRING, of_supervisor("web-2", FIRING), of_supervisor("web-2", RESOLVED)):
        alert.alert(event)

    first, second, end = dedup_keys(receiver)
    assert first != second == end


def test_a_source_of_ones_own_tells_incidents_apart_and_the_name_of_the_host_does_not(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pagerduty(receiver.url, source="eu").alert(FIRING)
    for host in ("container-1", "container-2"):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        pagerduty(receiver.url).alert(FIRING)

    own, before, after = dedup_keys(receiver)
    assert own != before == after
    assert [body["payload"]["source"] for _, _, body in receiver.requests] == ["eu", "container-1", "container-2"]


def test_a_key_that_is_too_long_for_pagerduty_is_still_of_one_incident_only(receiver: Receiver) -> None:
    alert = pagerduty(receiver.url)
    long = "x" * 249
    for slot in (1, 2):
        alert.alert(replace(FIRING, group=long, slot=slot))
    alert.alert(replace(RESOLVED, group=long, slot=2))

    first, second, end = dedup_keys(receiver)
    assert first != second == end
    assert max(map(len, (first, second))) <= 255


def test_a_moment_that_is_a_warning_is_a_change_which_needs_no_end(receiver: Receiver) -> None:
    alert = pagerduty(receiver.url, severity="warning")
    alert.alert(DEATH)

    ((path, _, body),) = receiver.requests
    assert path == "/change/enqueue"
    assert set(body) == {"routing_key", "payload"}
    assert set(body["payload"]) == {"summary", "source", "timestamp", "custom_details"}
    assert body["payload"]["custom_details"]["stack"].endswith("line 99")


def test_a_moment_that_is_critical_opens_an_incident_and_says_that_nobody_will_end_it(receiver: Receiver) -> None:
    alert = pagerduty(receiver.url)
    alert.alert(replace(DEATH, severity=Severity.CRITICAL))
    alert.alert(FIRING)

    moment, condition = (body for _, _, body in receiver.requests)
    assert moment["event_action"] == "trigger"
    assert "moment" in moment["payload"]["custom_details"]["end"]
    assert "end" not in condition["payload"]["custom_details"]


def test_a_condition_that_is_a_warning_opens_an_incident_as_it_will_be_resolved(receiver: Receiver) -> None:
    alert = pagerduty(receiver.url, severity="warning")
    alert.alert(replace(FIRING, severity=Severity.WARNING, fields={**FIRING.fields, "severity": "warning"}))

    ((_, _, body),) = receiver.requests
    assert (body["event_action"], body["payload"]["severity"]) == ("trigger", "warning")


def test_mails_of_two_supervisors_are_two_threads() -> None:
    ours, theirs = (mail(of_supervisor(name, DEATH), "a@b", ["c@d"])["References"] for name in ("web-1", "web-2"))

    assert ours != theirs


def test_pagerduty_is_for_what_is_critical_unless_it_is_told_otherwise(receiver: Receiver) -> None:
    pagerduty(receiver.url).alert(DEATH)
    assert receiver.requests == []

    pagerduty(receiver.url, severity="warning").alert(DEATH)
    assert len(receiver.requests) == 1


def test_an_audience_may_be_of_some_groups_only(receiver: Receiver) -> None:
    options = SlackAlert.Options(receiver.url, groups=["bills"])
    alert = SlackAlert(options, sleep=no_sleep)

    alert.alert(DEATH)
    assert receiver.requests == []
    alert.alert(replace(DEATH, group="bills"))
    alert.alert(replace(DEATH, group="", slot=None))
    assert len(receiver.requests) == 2, "what is of no group is everybody's"


def test_a_webhook_posts_its_template_filled_in(receiver: Receiver) -> None:
    template = {"summary": "{title}", "labels": {"pid": "{pid}", "n": 1}, "list": ["{where}", "{unknown}"]}
    WebhookAlert(WebhookAlert.Options(receiver.url, template=template), sleep=no_sleep).alert(DEATH)

    ((_, _, body),) = receiver.requests
    assert body["labels"] == {"pid": "4711", "n": 1}
    assert body["list"] == ["orders/2", "{unknown}"]
    assert body["summary"].startswith("[WARNING] orders/2 SIGSEGV")


def test_a_webhook_is_signed_over_its_time_and_body(receiver: Receiver) -> None:
    WebhookAlert(WebhookAlert.Options(receiver.url, secret="s3cret"), sleep=no_sleep).alert(DEATH)

    ((_, headers, body),) = receiver.requests
    signed = headers["X-Supervisor-Timestamp"].encode() + b"." + json.dumps(body).encode()
    digest = hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
    assert headers["X-Supervisor-Signature"] == f"sha256={digest}"


def test_p10_options_do_not_show_their_secrets() -> None:
    shown = [
        repr(SlackAlert.Options("https://hooks.example.org/hunter2")),
        repr(PagerDutyAlert.Options(routing_key="hunter2")),
        repr(WebhookAlert.Options("https://h", secret="hunter2")),
        repr(EmailAlert.Options("h", "a@b", ["c@d"], password="hunter2")),
        repr(AppriseAlert.Options(["json://hunter2"])),
    ]
    assert [text for text in shown if "hunter2" in text] == []


apprise_imports = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


class MailServer:
    """A small SMTP server that answers recipients with ``replies`` in turn, and keeps what it took."""

    def __init__(self) -> None:
        self.replies: list[str] = []
        self.mails: list[str] = []
        server = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 ready\r\n")
                for line in self.rfile:
                    word = line.split()[0].upper()
                    if word == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        server.mails.append(self._mail())
                        self.wfile.write(b"250 taken\r\n")
                    elif word == b"MAIL":
                        self.wfile.write(f"{server.replies.pop(0) if server.replies else '250 ok'}\r\n".encode())
                    elif word == b"QUIT":
                        self.wfile.write(b"221 bye\r\n")
                        return
                    else:
                        self.wfile.write(b"250 ok\r\n")

            def _mail(self) -> str:
                lines = iter(self.rfile.readline, b".\r\n")
                return b"".join(lines).decode()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.port = self._server.server_address[1]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    made = MailServer()
    yield made
    made.close()


def email(server: MailServer, slept: list[float] | None = None) -> EmailAlert:
    options = EmailAlert.Options("127.0.0.1", "supervisor@example.org", ["ops@example.org"], server.port, tls="none")
    return EmailAlert(options, sleep=(slept if slept is not None else []).append)


def test_an_email_has_the_title_as_subject_and_all_facts(mail_server: MailServer) -> None:
    email(mail_server).alert(DEATH)

    (mail,) = mail_server.mails
    assert "Subject: [WARNING] orders/2 SIGSEGV at orders/1@812; starts again at once" in mail.replace("\r\n ", " ")
    assert "To: ops@example.org" in mail
    assert "record: orders/1@812" in mail
    assert "line 99" in mail


def test_a_mail_server_in_trouble_is_tried_again(mail_server: MailServer) -> None:
    slept: list[float] = []
    mail_server.replies = ["451 later", "250 ok"]

    email(mail_server, slept).alert(DEATH)

    assert (len(mail_server.mails), slept) == (1, [0.5])


def test_what_a_mail_server_refuses_for_good_is_not_tried_again(mail_server: MailServer) -> None:
    mail_server.replies = ["550 no such user hunter2"]

    with pytest.raises(NotTakenError, match=r"after 1 attempts: SMTP 550$") as caught:
        email(mail_server).alert(DEATH)
    assert not isinstance(caught.value, TryAgainError)


def test_a_mail_server_that_stays_in_trouble_is_left_to_the_notifier_to_try_again(mail_server: MailServer) -> None:
    mail_server.replies = ["451 later"] * 3

    with pytest.raises(TryAgainError, match=r"after 3 attempts: SMTP 451$"):
        email(mail_server, []).alert(DEATH)


def test_a_header_cannot_be_smuggled_into_a_mail(mail_server: MailServer) -> None:
    email(mail_server).alert(replace(DEATH, text="x\r\nBcc: someone@example.org"))

    assert "\nBcc:" not in mail_server.mails[0].split("\r\n\r\n")[0]


def test_a_command_gets_the_event_on_its_standard_input(tmp_path: Path) -> None:
    program = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    CommandAlert(CommandAlert.Options([sys.executable, "-c", program, str(tmp_path / "told")])).alert(DEATH)

    told = json.loads((tmp_path / "told").read_text())
    assert (told["name"], told["slot"], told["fields"]["record"]) == ("worker.exited", 2, "orders/1@812")
    assert told["title"].startswith("[WARNING]")


def test_a_command_that_fails_has_not_taken_the_event() -> None:
    with pytest.raises(NotTakenError, match="ended with 3"):
        CommandAlert(CommandAlert.Options([sys.executable, "-c", "raise SystemExit(3)"])).alert(DEATH)
    with pytest.raises(TryAgainError, match="ended with 75"):
        CommandAlert(CommandAlert.Options([sys.executable, "-c", "raise SystemExit(75)"])).alert(DEATH)


def test_a_command_that_is_not_there_is_said() -> None:
    with pytest.raises(NotTakenError, match="No such file"):
        CommandAlert(CommandAlert.Options(["/nowhere/page"])).alert(DEATH)


def test_p8_a_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    options = CommandAlert.Options([sys.executable, "-c", program], timeout=2.0)

    with pytest.raises(NotTakenError, match="did not end within 2 s"):
        CommandAlert(options).alert(DEATH)

    child = int((tmp_path / "pid").read_text())
    wait_until(lambda: not _lives(child), otherwise="what the command started lives on")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@apprise_imports
@pytest.mark.leaks("Apprise keeps the threads of its pool")
def test_apprise_notifies_a_real_service(receiver: Receiver) -> None:
    url = receiver.url.replace("http://", "json://")

    AppriseAlert(AppriseAlert.Options([url])).alert(DEATH)

    ((_, _, body),) = receiver.requests
    assert body["title"] == "[WARNING] orders/2 SIGSEGV at orders/1@812; starts again at once"
    assert "line 99" in body["message"]


@apprise_imports
def test_a_service_that_does_not_take_it_is_a_failure(receiver: Receiver) -> None:
    receiver.statuses = [500] * 10

    with pytest.raises(NotTakenError, match="not taken by every service"):
        AppriseAlert(AppriseAlert.Options([receiver.url.replace("http://", "json://")])).alert(DEATH)


@apprise_imports
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SlackAlert.Options("nowhere"), "url must begin"),
        (lambda: SlackAlert.Options("https://h", severity="info"), "severity must be"),
        (lambda: PagerDutyAlert.Options(routing_key=""), "routing_key is empty"),
        (lambda: EmailAlert.Options("h", "nobody", ["a@b"]), "must be addresses"),
        (lambda: EmailAlert.Options("h", "a@b", ["a@b"], tls="yes"), "tls must be one of"),
        (lambda: CommandAlert.Options([]), "command is empty"),
        (lambda: CommandAlert.Options(["x"], timeout=60.0), "timeout must be"),
        (lambda: AppriseAlert.Options([]), "urls is empty"),
        (lambda: AppriseAlert(AppriseAlert.Options(["nosuch://x"])), r"urls\[0\] is no URL"),
    ],
)
def test_options_that_cannot_work_are_refused(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()
