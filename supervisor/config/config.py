"""A loaded config: everything validated, every reference resolved, every path absolute."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.config.alerting import Alerting
from supervisor.config.kafka_keys import KafkaValue
from supervisor.config.models import Group, Http, Supervisor
from supervisor.config.problems import KeyPath, Problem, key_text
from supervisor.config.references import masked
from supervisor.config.showing import toml_text


@dataclass(frozen=True, slots=True)
class Config:
    """What ``supervisor.toml`` says, with ``[defaults]`` already in each group.

    ``groups`` has the disabled ones too. ``kafka`` and ``plugins`` hold secrets in clear and stay out of
    ``repr``; ``describe`` is what may be shown. ``warnings`` stop nothing.
    """

    path: Path
    supervisor: Supervisor
    kafka: Mapping[str, KafkaValue] = field(repr=False)
    groups: Mapping[str, Group]
    plugins: Mapping[str, dict[str, Any]] = field(repr=False)
    alerting: Alerting = field(default_factory=Alerting)
    search_path: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    references: Mapping[KeyPath, str] = field(default_factory=dict, repr=False)
    http: Http = field(default_factory=Http)
    place: Callable[[KeyPath], str] = field(default=key_text, repr=False, compare=False)
    """Says where a key comes from: file, line, key."""

    @property
    def enabled(self) -> tuple[str, ...]:
        """The names of the groups that are run, in the file's order."""
        return tuple(name for name, group in self.groups.items() if group.enabled)

    def effective(self) -> dict[str, Any]:
        """Return everything as JSON values, defaults filled in, references as written and secrets as ``***``."""
        tree: dict[str, Any] = {
            "supervisor": self.supervisor.model_dump(),
            "alerting": self.alerting.model_dump(),
            "http": self.http.model_dump(),
            "kafka": dict(self.kafka),
            "groups": {name: group.model_dump(exclude_none=True) for name, group in self.groups.items()},
            "plugins": dict(self.plugins),
        }
        hidden: dict[str, Any] = masked(tree, (), self._spread_references())
        return hidden

    def describe(self) -> str:
        """Return ``effective`` as TOML."""
        return toml_text(self.effective())

    def _spread_references(self) -> dict[KeyPath, str]:
        """Return where references stand once ``[defaults]`` is part of each group."""
        spread = dict(self.references)
        for path, written in self.references.items():
            if path[0] == "defaults":
                for name in self.groups:
                    spread.setdefault(("groups", name, *path[1:]), written)
        return spread
