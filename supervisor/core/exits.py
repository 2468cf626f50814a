"""How processes end: the exit codes this project promises, and what a death is called."""

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from signal import Signals


class ExitCode(IntEnum):
    """Exit codes of worker processes and of the ``supervisor`` command.

    Numbers follow sysexits(3) where it has one of the same meaning. ``docs/exit-codes.md`` lists them.
    """

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_ALLOWED = 4
    ENGINE = 70
    KAFKA_FATAL = 71
    POLICY = 72
    ALREADY_RUNNING = 73
    RECYCLE = 75
    FENCED = 76
    CONFIG = 78


_OURS = frozenset(
    {
        ExitCode.OK,
        ExitCode.ENGINE,
        ExitCode.KAFKA_FATAL,
        ExitCode.POLICY,
        ExitCode.RECYCLE,
        ExitCode.FENCED,
        ExitCode.CONFIG,
    }
)
"""Codes that only our own worker ends with; a handler's ``os._exit(3)`` means whatever its author meant."""


STEP = "step: "
"""Begins the lines that a throwaway child writes before its answer: what it does next."""


class ExitClass(StrEnum):
    """What the death of a worker was; the restart policy and every event speak of these."""

    REQUESTED = "requested"
    RECYCLE = "recycle"
    CLEAN = "clean"
    CONFIG = "config"
    STARTUP = "startup"
    CRASH = "crash"
    SIGNAL = "signal"
    OOM = "oom"
    HUNG = "hung"
    FENCED = "fenced"


def classify(status: int, *, was_ready: bool, stop_requested: bool, hung: bool = False, oom: bool = False) -> ExitClass:
    """Name a death by its wait status (negative: the signal's number, as ``subprocess`` has it).

    A hang outranks the signal that ended it, and a stop that was asked for outranks whatever code the
    worker left with: neither says anything about the health of the program. What a worker says of
    itself (config, fenced) outranks that it had not been ready yet. ``oom``: it ended for its memory, by the
    kernel's hand or ours; a process that was killed for that while it stopped must be seen, too.
    """
    if oom or hung:
        return ExitClass.OOM if oom else ExitClass.HUNG
    if status == ExitCode.CONFIG:
        return ExitClass.CONFIG
    if status == ExitCode.FENCED:
        return ExitClass.FENCED
    if stop_requested:
        return ExitClass.REQUESTED
    if status == ExitCode.RECYCLE:
        return ExitClass.RECYCLE
    if not was_ready:
        return ExitClass.STARTUP
    if status == ExitCode.OK:
        return ExitClass.CLEAN
    return ExitClass.SIGNAL if status < 0 else ExitClass.CRASH


def describe(status: int) -> str:
    """Return a wait status in words: ``SIGSEGV``, ``exit code 70 (engine)``."""
    if status < 0:
        try:
            return Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    if status in _OURS:
        return f"exit code {status} ({ExitCode(status).name.lower().replace('_', ' ')})"
    return f"exit code {status}"


def last_step(lines: Sequence[str]) -> str:
    """Return the end of the sentence on a throwaway child without an answer: what it did last, if it said so."""
    steps = [line.removeprefix(STEP) for line in lines if line.startswith(STEP)]
    return f"; its last step: {steps[-1]}" if steps else ""
