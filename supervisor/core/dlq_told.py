"""What events tell of orders about dead letters: the same of ``supervisor dlq`` and of the control socket."""

from collections.abc import Mapping

from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest, Verb
from supervisor.core.events import Scalar
from supervisor.core.jsonable import to_json

ENDS: Mapping[Verb, str] = {Verb.REPLAY: "replayed", Verb.DROP: "dropped", Verb.DRAIN: "drained"}
"""What is told when an order ended. ``exported`` is none of these: it is told before a letter is handed out."""
LONGEST_WHY = 500
LONGEST = 2000
"""Characters of a text or a field, as many as the control socket takes."""


def about(request: DlqRequest) -> dict[str, Scalar]:
    """Return the fields that say what was asked: of keys and headers no values (P10)."""
    where, replay = request.where, request.replay
    told = {
        "source": where.place.value,
        "from": " ".join(where.topics or where.files),
        "filter": request.meant.text,
        "replay": replay.name,
        "to": replay.to,
    }
    return {name: cut(text) for name, text in told.items() if text}


def cut(text: str) -> str:
    """Return as much of a text as can be told: file names and filters are as long as somebody types."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def ending(request: DlqRequest, answer: DlqAnswer) -> tuple[str, dict[str, Scalar]]:
    """Return the text and the fields that say how an order ended: ``ended``, and the counts that are known."""
    whose = f"replay {request.replay.name}: " if request.verb is Verb.REPLAY else ""
    why = answer.error.partition("\n")[0][:LONGEST_WHY]
    because = f"; {why}" if why else ""
    if answer.killed:
        return f"{whose}how much was done is not known{because}", {"ended": "killed"}
    ended = "failed" if answer.error else "stopped" if answer.stopped else "done"
    counts: dict[str, Scalar] = {name: count for name, count in to_json(answer.counts).items() if count}
    return f"{whose}{words(answer.counts, none='nothing was done')}{because}", {"ended": ended, **counts}


def words(counts: Counts, *, none: str = "none sent") -> str:
    """Return what became of letters so far, what did not happen left out; ``none`` where nothing did."""
    told = (
        (counts.sent, "sent"),
        (counts.parked, "parked"),
        (counts.dropped, "dropped"),
        (counts.passed, "not meant"),
        (counts.homeless, "without an origin"),
        (counts.unreadable, "unreadable"),
        (counts.rejected, "that nothing takes"),
        (counts.again, "perhaps for the second time"),
    )
    return ", ".join(f"{count} {what}" for count, what in told if count) or none
