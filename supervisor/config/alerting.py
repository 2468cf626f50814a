"""The ``[alerting]`` table: what people are told, how soon and how often, by whatever plugins ``alerts`` lists."""

from typing import Any, Literal

from supervisor.config.limit_values import OptionalCount, OptionalDuration
from supervisor.config.tables import Table
from supervisor.config.tables import key as _key
from supervisor.config.values import Duration, Timeout
from supervisor.core.alert_flow import FlowRules
from supervisor.core.conditions import Kind, Rule, Rules
from supervisor.core.events import Severity

Urgency = Literal["warning", "critical", "off"]


def _urgency(default: Urgency) -> Any:  # noqa: ANN401 - as ``key``
    return _key(default, description="How urgent it is; `off`: nobody is told.")


def _after(default: str) -> Any:  # noqa: ANN401 - as ``key``
    return _key(default, description="How long it must last before it is told.")


class Condition(Table):
    """A state that people are told of once it lasts, and again when it is over."""

    severity: Urgency = _urgency("warning")
    after: Duration = _after("1m")


class WorkerDown(Condition):
    """A slot that waits to be started again, or was given up."""


class GroupDown(Condition):
    """A group of which no worker runs."""

    severity: Urgency = _urgency("critical")
    after: Duration = _after("10s")


class NoProgress(Condition):
    """Records wait for this host's workers and none is settled; not while the group is held: paused, breaker, flood."""

    severity: Urgency = _urgency("critical")
    after: Duration = _after("5m")


class Lag(Condition):
    """The group is far behind on the brokers."""

    above: OptionalCount = _key("off", description="Records behind, over all partitions, from which on it is told.")
    after: Duration = _after("5m")


class OldestRecord(Condition):
    """A record was delivered long ago and is not settled."""

    above: OptionalDuration = _key("15m", description="The age from which on it is told.")
    after: Duration = _after("0s")


class ManyDeadLetters(Condition):
    """Many records fail for good."""

    above: OptionalCount = _key(60, description="Dead letters within a minute from which on it is told.")
    after: Duration = _after("0s")


class CommitsFailing(Condition):
    """A worker's commits fail and none succeeds."""

    after: Duration = _after("2m")


class BrokerUnreachable(Condition):
    """A worker reaches no broker."""

    after: Duration = _after("2m")


class DependencyDown(Condition):
    """A group's breaker is open: handlers said that something they need is down."""

    severity: Urgency = _urgency("critical")
    after: Duration = _after("0s")


class Flood(Condition):
    """A group's flood guard tripped: very many of its records became dead letters."""

    severity: Urgency = _urgency("critical")
    after: Duration = _after("0s")


class Conditions(Table):
    """The conditions that are looked for, every few seconds; see `docs/alerts.md`."""

    worker_down: WorkerDown = _key(default_factory=WorkerDown, description="A slot stays down.")
    group_down: GroupDown = _key(default_factory=GroupDown, description="No worker of a group runs.")
    no_progress: NoProgress = _key(default_factory=NoProgress, description="Records wait and none is settled.")
    lag: Lag = _key(default_factory=Lag, description="A group is far behind.")
    oldest_record: OldestRecord = _key(default_factory=OldestRecord, description="A record is not settled for long.")
    dead_letters: ManyDeadLetters = _key(default_factory=ManyDeadLetters, description="Many dead letters a minute.")
    commits_failing: CommitsFailing = _key(default_factory=CommitsFailing, description="No commit succeeds.")
    broker_unreachable: BrokerUnreachable = _key(default_factory=BrokerUnreachable, description="No broker answers.")
    dependency_down: DependencyDown = _key(default_factory=DependencyDown, description="A group's breaker is open.")
    flood: Flood = _key(default_factory=Flood, description="A group's flood guard tripped.")


class Alerting(Table):
    """How soon and how often people are told; whom, is in `supervisor.alerts`."""

    group_wait: Duration = _key("5s", description="How long a warning waits for others of its kind, to be one message.")
    repeat: Timeout = _key("10m", description="How often the same kind of event of a group is told at most.")
    rate: int = _key(
        30,
        ge=1,
        le=10_000,
        description="Messages within a minute, of all kinds; what is held back is told as a number.",
    )
    runbook_url: str = _key(
        "",
        description="Where you keep the runbook; conditions link to their section there. Empty: they name the command.",
    )
    conditions: Conditions = _key(default_factory=Conditions, description="The conditions that are looked for.")


def flow_rules(alerting: Alerting) -> FlowRules:
    """Return how events become messages."""
    return FlowRules(group_wait=alerting.group_wait, repeat=alerting.repeat, rate=alerting.rate)


def condition_rules(alerting: Alerting) -> Rules:
    """Return when which condition is told; what is off is left out."""
    rules: dict[Kind, Rule] = {}
    for kind in Kind:
        condition: Condition = getattr(alerting.conditions, kind.value)
        if condition.severity != "off":
            above = getattr(condition, "above", None)
            rules[kind] = Rule(Severity(condition.severity), condition.after, None if above is None else float(above))
    return rules
