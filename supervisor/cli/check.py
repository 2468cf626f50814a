"""``supervisor check``: find out what is wrong before anything runs."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from supervisor.cli.errors import CommandError
from supervisor.cli.inspect import inspect
from supervisor.cli.output import print_json
from supervisor.config import Config, ConfigError, group_spec, load, plugins_request
from supervisor.core.autoscale import most_workers
from supervisor.core.exits import ExitCode
from supervisor.core.jsonable import to_json
from supervisor.parent.processes.delegation import HELP, delegation
from supervisor.parent.processes.validation import problem_text

PLUGINS_TIMEOUT = 60.0
BROKER_TIMEOUT = 90.0
STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``level`` is ok, warning or error; ``subject`` what it is about."""

    level: str
    about: str
    subject: str
    text: str
    help: str = ""


@click.command()
@click.option("--offline", is_flag=True, help="Configuration and plugins only; do not ask the broker.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_obj
def check(config_path: Path, *, offline: bool, as_json: bool) -> None:
    """Check configuration, plugins and broker; say what to do.

    \b
    1. The configuration: every problem at once.
    2. Handlers and plugins: loaded as a worker loads them, in a process of their own; librdkafka's keys:
       does it know them and take their values?
    3. The broker: is it reached, do the topics and dead-letter topics exist, may we read and write them,
       does a live group of that name speak another protocol (and how to migrate it)?
    Nothing is changed and no group is joined.

    \b
    Examples:
      supervisor check
      supervisor check --json | jq '.findings[] | select(.level == "error")'

    \b
    Exit codes: 0 nothing is wrong (warnings included), 1 something is wrong at the broker,
                78 wrong configuration or plugin.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    findings, code = _examine(config_path, offline=offline)
    if as_json:
        print_json({"ok": code == ExitCode.OK, "findings": [to_json(finding) for finding in findings]})
    else:
        for finding in findings:
            _print(finding)
    sys.exit(code)


def _examine(config_path: Path, *, offline: bool) -> tuple[list[Finding], ExitCode]:
    """Return all findings and the exit code; a step that fails makes those after it pointless."""
    try:
        config = load(config_path)
    except ConfigError as error:
        return [_of_problem("error", problem) for problem in error.problems], ExitCode.CONFIG
    findings = [
        Finding("ok", "configuration", str(config_path), f"groups: {', '.join(config.enabled) or 'none enabled'}"),
        *(_of_problem("warning", problem) for problem in config.warnings),
    ]
    findings += _cgroups(config)
    found = _plugins(config)
    findings += found
    if any(finding.level == "error" for finding in found):
        return findings, ExitCode.CONFIG
    if offline:
        return findings, ExitCode.OK
    found = _broker(config)
    findings += found
    return findings, ExitCode.FAILURE if any(finding.level == "error" for finding in found) else ExitCode.OK


def _of_problem(level: str, problem: Any) -> Finding:  # noqa: ANN401 - config.Problem
    where = f"{problem.file}:{problem.line}" if problem.line else problem.file
    key = f"{problem.key} = {problem.found}: " if problem.found else f"{problem.key}: " if problem.key else ""
    return Finding(level, "configuration", where, key + problem.text, problem.help)


def _cgroups(config: Config) -> list[Finding]:
    """Say what cgroup limits need; only a supervisor's own unit can tell whether it has it."""
    limited = [
        name
        for name in config.enabled
        if (limits := config.groups[name].limits).memory_max is not None or limits.cpu_quota is not None
    ]
    here = delegation()
    if not limited or here.base is not None:
        return []
    text = f"memory_max and cpu_quota need a delegated cgroup, and here {here.reason}; what counts is the service's"
    return [Finding("warning", "limits", name, text, HELP) for name in limited]


def _plugins(config: Config) -> list[Finding]:
    try:
        answer = inspect("plugins", plugins_request(config), timeout=PLUGINS_TIMEOUT)
    except CommandError as error:
        return [Finding("error", "plugins", "", str(error))]
    problems = [
        Finding("error", "plugins", _subject(one["group"]), problem_text(one), one["help"])
        for one in answer["problems"]
    ]
    if problems:
        return problems
    return [
        Finding(
            "ok", "plugins", group, ", ".join(f"{hook}: {' '.join(names)}" for hook, names in hooks.items() if names)
        )
        for group, hooks in answer["active"].items()
    ]


def _broker(config: Config) -> list[Finding]:
    request = [
        {**to_json(group_spec(config, name)), "workers": most_workers(config.groups[name].workers)}
        for name in config.enabled
    ]
    try:
        answer = inspect("broker", request, timeout=BROKER_TIMEOUT)
    except CommandError as error:
        return [Finding("error", "broker", "", str(error))]
    return [
        Finding(one["level"], "broker", _subject(one["group"]), one["text"], one.get("help", ""))
        for one in answer["findings"]
    ]


def _subject(group: str) -> str:
    return group or "alerts"


def _print(finding: Finding) -> None:
    level = click.style(f"{finding.level:<8}", fg=STYLES.get(finding.level))
    subject = f" {finding.subject}" if finding.subject else ""
    click.echo(f"{level} {finding.about}{subject}: {finding.text}")
    if finding.help:
        click.echo(f"         help: {finding.help}")
