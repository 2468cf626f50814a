"""What children that are no workers are told to be: made from the config by the parent, sent as their first frame."""

from dataclasses import dataclass

from supervisor.core.spec import GroupSpec, PluginsSpec


@dataclass(frozen=True, slots=True)
class EndsSpec:
    """What the child is told that asks for ends and committed offsets, and how to log."""

    supervisor: str
    groups: tuple[GroupSpec, ...]
    parent_pid: int
    log_format: str
    log_level: str


@dataclass(frozen=True, slots=True)
class InspectorSpec:
    """What the child is told that looks at the lag of all groups, each ``interval`` seconds at most."""

    supervisor: str
    groups: tuple[GroupSpec, ...]
    interval: float
    parent_pid: int
    log_format: str
    log_level: str


@dataclass(frozen=True, slots=True)
class NotifierSpec:
    """What the notifier child is told: the alert plugins to run, and how to log."""

    supervisor: str
    plugins: PluginsSpec
    parent_pid: int
    log_format: str
    log_level: str
