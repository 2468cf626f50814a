"""What all verbs of the control API have in common: bodies in, answers and refusals out, and the audit."""

from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from supervisor.control.answers import Accepted, Operation, Refusal
from supervisor.core.events import Scalar, Severity
from supervisor.core.jsonable import to_json
from supervisor.parent.api.peer import Peer
from supervisor.parent.store.eventlog import EventLog

Body = TypeVar("Body", bound=BaseModel)
PEER = web.RequestKey("peer", Peer)


async def body_of(request: web.Request, model: type[Body]) -> Body:
    """Return the request's body as a ``model``, or refuse it with what is wrong."""
    try:
        return model.model_validate_json(await request.read() or b"{}")
    except ValidationError as error:
        raise unprocessable(error, model) from error


def unprocessable(error: ValidationError, model: type[BaseModel]) -> web.HTTPException:
    """Return the exception that says what is wrong with a request."""
    found = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors())
    return refusal(web.HTTPUnprocessableEntity, found, f"keys: {', '.join(model.model_fields)}")


def audit(events: EventLog, request: web.Request, verb: str, target: str | None) -> None:
    """Say once who asked for what."""
    peer = request[PEER]
    fields: dict[str, Scalar] = {"verb": verb, "target": target or "*", "uid": peer.uid, "pid": peer.pid}
    events.tell("operator.action", Severity.INFO, fields=fields)


def accepted(text: str, concerned: tuple[str, ...]) -> web.Response:
    """Answer that an action was taken on."""
    return web.json_response(to_json(Accepted(text, concerned)), status=202)


def begun(operation: Operation) -> web.Response:
    """Answer that something began that takes its time."""
    return web.json_response(to_json(operation), status=202)


def answer(refused: Refusal, status: int) -> web.Response:
    """Answer no."""
    return web.json_response(to_json(refused), status=status)


def refusal(kind: type[web.HTTPException], error: str, help_: str = "") -> web.HTTPException:
    """Return the exception that answers no."""
    text = web.json_response(to_json(Refusal(error, help_))).text
    return kind(text=text, content_type="application/json")
