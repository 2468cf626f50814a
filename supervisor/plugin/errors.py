"""What can be wrong with a plugin or handler, told so that a person can act on it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a plugin or handler from being used, and what to do about it.

    ``option``: which of its options it is about, empty for none.
    """

    plugin: str
    text: str
    help: str = ""
    option: str = ""

    def __str__(self) -> str:
        """Return the problem as two lines, the second indented."""
        first = f"{self.plugin}: {self.text}"
        return f"{first}\n  help: {self.help}" if self.help else first


class PluginError(Exception):
    """Plugins or handler cannot be loaded; starting again without a change would fail again."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class StartError(Exception):
    """A plugin or handler was loaded but failed to open: perhaps what it connects to is away, so a restart may help."""

    def __init__(self, plugin: str, text: str) -> None:
        super().__init__(f"{plugin}: {text}")
        self.plugin = plugin
        self.text = text


class DecodeError(Exception):
    """A record's value is not what it should be: no other attempt will read it either.

    Made of whatever the group's decoder raises; a handler that decodes for itself may raise it. Unless a policy says
    otherwise the record becomes a dead letter with disposition ``deserialization`` at once.
    """


class TryAgainError(Exception):
    """Raised by an alert plugin: who takes its messages cannot be reached now.

    The event is offered to it again, those that came later wait behind it. The text goes into the log: it must hold
    no secret.
    """


class KeyBusyError(Exception):
    """Somebody else works a record with the same key: this one waits until that is done or its lease is over."""


class DependencyDownError(Exception):
    """Raised by a handler, decoder or store: what it needs is away, so no record is at fault.

    No record of the group is begun until it is back, none is dead-lettered for it, and no attempt counts.
    ``dependency`` names what is away (``"payments-db"``); it is shown to operators, so it must hold nothing of a
    record. The error's own text is not shown.
    """

    def __init__(self, *args: object, dependency: str = "") -> None:
        super().__init__(*args)
        self.dependency = dependency
