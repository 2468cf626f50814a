"""``supervisor.toml``: loading, checking, and what other processes are told of it.

For the command line and the parent process. Workers get ``core.spec`` values and never import this
package: pydantic alone would cost them 100 ms on their way back to work.
"""

from supervisor.config.alerting import condition_rules, flow_rules
from supervisor.config.config import Config
from supervisor.config.loading import control_socket, load, state_dir
from supervisor.config.paths import Paths, paths
from supervisor.config.problems import ConfigError, Problem
from supervisor.config.reference import defaults_table, json_schema
from supervisor.config.specs import (
    SlotPolicy,
    flood_spec,
    group_spec,
    inspector_spec,
    notifier_spec,
    plugins_request,
    scaling_rules,
    slot_policy,
    worker_spec,
)

__all__ = [
    "Config",
    "ConfigError",
    "Paths",
    "Problem",
    "SlotPolicy",
    "condition_rules",
    "control_socket",
    "defaults_table",
    "flood_spec",
    "flow_rules",
    "group_spec",
    "inspector_spec",
    "json_schema",
    "load",
    "notifier_spec",
    "paths",
    "plugins_request",
    "scaling_rules",
    "slot_policy",
    "state_dir",
    "worker_spec",
]
