import logging
from typing import Any

import pytest

from supervisor.plugin import Event, Severity, TryAgainError
from supervisor_plugins.alert_log import LogAlert
from supervisor_plugins.alert_webhook import WebhookAlert, WebhookError
from tests.plugins.receiver import Receiver

EVENT = Event("worker.exited", Severity.CRITICAL, 1700.5, group="orders", slot=2, text="SIGSEGV", fields={"pid": 4711})


def webhook(url: str, slept: list[float] | None = None, **options: Any) -> WebhookAlert:
    return WebhookAlert(WebhookAlert.Options(url, **options), sleep=(slept if slept is not None else []).append)


def test_an_event_is_posted_as_json(receiver: Receiver) -> None:
    webhook(receiver.url, headers={"Authorization": "Bearer x"}).alert(EVENT)

    ((path, headers, body),) = receiver.requests
    assert path == "/hook?token=hunter2"
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer x"
    assert body == {
        "name": "worker.exited",
        "severity": "critical",
        "at": 1700.5,
        "group": "orders",
        "slot": 2,
        "text": "SIGSEGV",
        "fields": {"pid": 4711},
    }


def test_an_event_without_a_text_has_its_name_there(receiver: Receiver) -> None:
    webhook(receiver.url).alert(Event("slot.fatal", Severity.CRITICAL, 0.0))

    assert receiver.requests[0][2]["text"] == "slot.fatal"


def test_a_server_in_trouble_is_tried_three_times(receiver: Receiver) -> None:
    slept: list[float] = []
    receiver.statuses = [503, 429, 200]

    webhook(receiver.url, slept).alert(EVENT)

    assert len(receiver.requests) == 3
    assert slept == [0.5, 1.0]


def test_after_three_failures_it_gives_up_without_naming_the_url(receiver: Receiver) -> None:
    receiver.statuses = [500, 500, 500]

    with pytest.raises(WebhookError) as caught:
        webhook(receiver.url).alert(EVENT)

    assert str(caught.value) == "event worker.exited not taken after 3 attempts: HTTP status 500"
    assert isinstance(caught.value, TryAgainError), "the notifier offers it again"
    assert len(receiver.requests) == 3


@pytest.mark.parametrize("status", [302, 307, 400, 404])
def test_an_answer_that_will_not_change_is_final(receiver: Receiver, status: int) -> None:
    receiver.statuses = [status]

    with pytest.raises(WebhookError, match=f"after 1 attempts: HTTP status {status}") as caught:
        webhook(receiver.url).alert(EVENT)
    assert not isinstance(caught.value, TryAgainError)

    assert len(receiver.requests) == 1


def test_nobody_listening_is_an_error_without_the_url(receiver: Receiver) -> None:
    receiver.close()

    with pytest.raises(WebhookError) as caught:
        webhook(receiver.url).alert(EVENT)

    assert "ConnectionRefusedError" in str(caught.value)
    assert isinstance(caught.value, TryAgainError)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"url": "file:///etc/passwd"}, "url must begin with"),
        ({"url": "ftp://host/x"}, "url must begin with"),
        ({"url": "https://"}, "url must begin with"),
        ({"url": "http://host", "timeout": 0.0}, "timeout must be"),
        ({"url": "http://host", "timeout": 60.0}, "timeout must be"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        WebhookAlert.Options(**options)


def test_the_log_alert_writes_one_line_at_the_events_level(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        LogAlert().alert(EVENT)

    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("CRITICAL", "worker.exited")
    fields = {"group": "orders", "slot": 2, "text": "SIGSEGV", "event_at": 1700.5, "pid": 4711}
    assert record.fields == fields  # type: ignore[attr-defined]
