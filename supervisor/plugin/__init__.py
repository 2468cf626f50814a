"""All that a plugin or handler may import: hooks, decisions, records.

Promises: what is exported here keeps its name and meaning; everything else of ``supervisor`` may change.
"""

from supervisor.core.events import Event, Severity
from supervisor.plugin.errors import DecodeError, DependencyDownError, TryAgainError
from supervisor.plugin.hookspecs import hookimpl
from supervisor.plugin.types import (
    Claim,
    Crash,
    DeadLetter,
    Decision,
    DependencyDown,
    Disposition,
    Drop,
    Failure,
    Letter,
    Pause,
    Produce,
    Record,
    Retry,
    RetryTopic,
    Seconds,
    Send,
    WorkerContext,
)

__all__ = [
    "Claim",
    "Crash",
    "DeadLetter",
    "Decision",
    "DecodeError",
    "DependencyDown",
    "DependencyDownError",
    "Disposition",
    "Drop",
    "Event",
    "Failure",
    "Letter",
    "Pause",
    "Produce",
    "Record",
    "Retry",
    "RetryTopic",
    "Seconds",
    "Send",
    "Severity",
    "TryAgainError",
    "WorkerContext",
    "hookimpl",
]
