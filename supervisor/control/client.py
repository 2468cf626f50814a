"""Ask a running supervisor over its control socket; for the command line, tests and scripts.

Standard library only, so that ``supervisor status`` starts fast. Every call blocks for at most ``timeout``
seconds per read or write of the socket.
"""

import http.client
import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from supervisor.control.answers import Accepted, AlertsAnswer, DlqJob, DlqLines, EventPage, OffsetsJob, Operation
from supervisor.core.alert_flow import Silence
from supervisor.core.event_query import EventQuery
from supervisor.core.jsonable import from_json, to_json
from supervisor.core.snapshot import Snapshot
from supervisor.core.spec import End

OK = 200
ACCEPTED = 202
FORBIDDEN = 403
MAX_ANSWER = 64 << 20

T = TypeVar("T")


class ControlError(Exception):
    """A supervisor could not be asked, or said no; the text is one clear line."""


class NotRunning(ControlError):  # noqa: N818 - the field's word for it
    """Nothing listens on the control socket."""


class NotAllowed(ControlError):  # noqa: N818 - same
    """The supervisor runs as somebody else, who alone (and root) may ask it."""


class Refused(ControlError):  # noqa: N818 - same
    """The supervisor answered no, or did not answer as expected; ``help`` says what to do when that is known."""

    def __init__(self, text: str, help_: str = "") -> None:
        super().__init__(text)
        self.help = help_


class ControlClient:
    """A client of one supervisor; each call is one connection, so a restarted supervisor is no problem."""

    def __init__(self, socket_path: Path | str, *, timeout: float = 10.0) -> None:
        self.socket_path = str(socket_path)
        self.timeout = timeout

    def status(self) -> Snapshot:
        """Return what the supervisor sees now."""
        return self._ask(Snapshot, "GET", "/v1/status")

    def events(self, since: int = 0) -> EventPage:
        """Return the events after number ``since`` that the supervisor still remembers."""
        return self._ask(EventPage, "GET", "/v1/events?" + urlencode({"since": since}))

    def journal(self, query: EventQuery) -> EventPage:
        """Return the events that ``query`` wants, from this and earlier lives of the supervisor."""
        wanted = {name: value for name, value in to_json(query).items() if value is not None}
        return self._ask(EventPage, "GET", "/v1/journal?" + urlencode(wanted))

    def stop(self, target: str | None = None, *, end: End | str = End.LEAVE) -> Accepted:
        """Stop a group or slot; without a target the whole supervisor. Returns when the stop has begun."""
        return self._act("stop", {"target": target, "end": str(end)})

    def start(self, target: str | None = None) -> Accepted:
        """Start what is stopped, waits, or was given up."""
        return self._act("start", {"target": target})

    def restart(self, target: str | None = None) -> Accepted:
        """Restart with the same member identities; not counted as a failure."""
        return self._act("restart", {"target": target})

    def restart_rolling(self, target: str | None = None) -> Operation:
        """Restart one slot after another, each back in its group before the next; see ``operation``."""
        return self._begin("restart", {"target": target, "rolling": True})

    def reload(self, *, dry_run: bool = False) -> Operation:
        """Have the configuration read again and applied, or only compared; see ``operation``."""
        return self._begin("reload", {"dry_run": dry_run})

    def drain(self, target: str, *, timeout: float = 300.0) -> Operation:
        """Have slots finish all they hold, commit, and leave; see ``operation``."""
        return self._begin("drain", {"target": target, "timeout": timeout})

    def operation(self, number: int) -> Operation:
        """Return how something stands that takes its time."""
        return self._ask(Operation, "GET", "/v1/operation?" + urlencode({"number": number}))

    def scale(self, groups: Mapping[str, int]) -> Accepted:
        """Give groups another number of slots, until a reload changes it; returns when it has begun."""
        return self._act("scale", {"groups": dict(groups)})

    def pause(self, target: str) -> Accepted:
        """Have a group's workers, or one slot's, read nothing until ``unpause``; they stay members."""
        return self._act("pause", {"target": target})

    def unpause(self, target: str) -> Accepted:
        """End a ``pause`` of a group and all its slots, or of one slot."""
        return self._act("resume", {"target": target})

    def dump(self, target: str | None = None) -> Accepted:
        """Have workers write the stacks of their threads, and the supervisor its table of states."""
        return self._act("dump", {"target": target})

    def hold(self, target: str) -> Accepted:
        """Keep the slots down when their processes next end; ``start`` takes it back."""
        return self._act("hold", {"target": target})

    def resume(self, group: str, to: str, *, partition: str | None = None) -> Accepted:
        """Have a stopped partition (``topic/3``; ``None``: all) taken up at ``earliest``, ``latest`` or an offset."""
        return self._act("resume", {"target": group, "partition": partition, "to": to})

    def offsets(
        self, group: str, to: str | None = None, *, partitions: Sequence[str] = (), apply: bool = False
    ) -> OffsetsJob:
        """Begin to look at a group's committed offsets, or to reset them; ``offsets_job`` tells how it goes on."""
        body = {"group": group, "to": to, "partitions": list(partitions), "apply": apply}
        return self._ask(OffsetsJob, "POST", "/v1/offsets", body=body)

    def offsets_job(self, group: str) -> OffsetsJob:
        """Return the group's last job of that kind."""
        return self._ask(OffsetsJob, "GET", "/v1/offsets?" + urlencode({"group": group}))

    def dlq(self, verb: str, group: str, **how: object) -> DlqJob:
        """Begin to do something with dead letters; ``how`` is as ``control.requests.Dlq`` has it."""
        return self._ask(DlqJob, "POST", "/v1/dlq", body={"verb": verb, "group": group, **how})

    def dlq_job(self, number: int) -> DlqJob:
        """Return how such a job stands."""
        return self._ask(DlqJob, "GET", "/v1/dlq?" + urlencode({"number": number}))

    def dlq_lines(self, number: int, after: int = 0) -> DlqLines:
        """Return letters that such a job exports and that come after the first ``after``, which are then let go.

        Perhaps none yet: ask again. Whoever asks for none for a minute is not waited for.
        """
        return self._ask(DlqLines, "GET", "/v1/dlq_lines?" + urlencode({"number": number, "after": after}))

    def stop_dlq(self, number: int) -> DlqJob:
        """Have such a job finish what it has in hand, and end."""
        return self._ask(DlqJob, "POST", "/v1/stop_dlq", body={"number": number})

    def note_dlq(self, name: str, group: str, *, text: str, fields: Mapping[str, object]) -> Accepted:
        """Have the event told of what we did with dead letters; it is in the journal, with our uid and pid."""
        return self._act("note_dlq", {"name": name, "group": group, "text": text, "fields": dict(fields)})

    def alerts(self) -> AlertsAnswer:
        """Return what fires, and what is silenced."""
        return self._ask(AlertsAnswer, "GET", "/v1/alerts")

    def silence(
        self, name: str, seconds: float, *, group: str = "", slot: int | None = None, reason: str = ""
    ) -> Silence:
        """Have nobody told of an event or condition for so long."""
        body = {"name": name, "seconds": seconds, "group": group, "slot": slot, "reason": reason}
        return self._ask(Silence, "POST", "/v1/silence", body=body)

    def unsilence(self, number: int) -> Silence:
        """End a silence."""
        return self._ask(Silence, "POST", "/v1/unsilence", body={"number": number})

    def _act(self, verb: str, body: Mapping[str, object]) -> Accepted:
        return self._ask(Accepted, "POST", f"/v1/{verb}", body=body)

    def _begin(self, verb: str, body: Mapping[str, object]) -> Operation:
        return self._ask(Operation, "POST", f"/v1/{verb}", body=body)

    def _ask(self, cls: type[T], method: str, path: str, *, body: Mapping[str, object] | None = None) -> T:
        connection = _UnixConnection(self.socket_path, timeout=self.timeout)
        try:
            status, answer = _exchange(connection, method, path, body=body)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            message = f"no supervisor is running here (nothing listens on {self.socket_path})"
            raise NotRunning(message) from error
        except PermissionError as error:
            message = f"not allowed: {self.socket_path} belongs to another user"
            raise NotAllowed(message) from error
        except TimeoutError as error:
            message = f"the supervisor did not answer within {self.timeout:g} s"
            raise Refused(message) from error
        except (OSError, http.client.HTTPException) as error:
            message = f"the supervisor broke off: {type(error).__name__}: {error}"
            raise Refused(message) from error
        finally:
            connection.close()
        data = _judge(status, answer)
        try:
            return from_json(cls, data)
        except ValueError as error:
            message = f"the supervisor speaks another version than this command: {error}"
            raise Refused(message, "restart the supervisor with the version installed here") from error


def _judge(status: int, answer: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        data = json.loads(answer)
    except ValueError as error:
        message = f"the supervisor answered {status} with what is no JSON"
        raise Refused(message) from error
    if status in (OK, ACCEPTED):
        return data
    refusal = data if isinstance(data, dict) else {}
    text = str(refusal.get("error") or f"the supervisor answered {status}")
    if status == FORBIDDEN:
        raise NotAllowed(text)
    raise Refused(text, str(refusal.get("help", "")))


def _exchange(
    connection: http.client.HTTPConnection, method: str, path: str, *, body: Mapping[str, object] | None
) -> tuple[int, bytes]:
    payload = None if body is None else json.dumps(body).encode()
    connection.request(method, path, payload, {"Content-Type": "application/json", "Connection": "close"})
    response = connection.getresponse()
    return response.status, response.read(MAX_ANSWER)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, socket_path: str, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._socket_path = socket_path
        self._timeout = timeout

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self._timeout)
            connection.connect(self._socket_path)
        except BaseException:
            connection.close()
            raise
        self.sock = connection
