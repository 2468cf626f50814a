"""Check plugins and handlers before any worker starts, in a throwaway child: the parent loads none of them (P5)."""

import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from supervisor.config.problems import key_text
from supervisor.parent.processes.asking import NoAnswerError, TooSlowError, ask
from supervisor.parent.processes.exits import ExitWatch

PROGRAM = (sys.executable, "-P", "-m", "supervisor.inspector", "plugins")
DEADLINE = 30.0
NAMED = 10
"""Groups that are named of those that have one problem."""

Validate = Callable[[dict[str, Any], ExitWatch], Awaitable[tuple[str, ...]]]
"""From the config's plugins to what is wrong with them, one text per problem."""


async def check_plugins(
    request: dict[str, Any], exits: ExitWatch, program: tuple[str, ...] = PROGRAM
) -> tuple[str, ...]:
    """Ask an inspector child; problems of its own (it hangs, it dies) are problems, too."""
    try:
        return _texts((await ask(program, request, exits, deadline=DEADLINE))["problems"])
    except TooSlowError as error:
        return (f"the check of plugins and handlers {error}: does an import wait?",)
    except NoAnswerError as error:
        return (f"the check of plugins and handlers {error}; see its output above",)
    except (KeyError, TypeError):
        return ("the check of plugins and handlers answered with what is no answer; see its output above",)


def problem_text(problem: dict[str, Any]) -> str:
    """Return a child's problem as a line: where the config has it, what it is about, what is wrong."""
    return ": ".join(part for part in (problem.get("where"), problem.get("plugin"), problem["text"]) if part)


def _texts(problems: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Return a text per problem; one in a place that groups share is told once, with those that it concerns."""
    concerned: dict[tuple[str, str], dict[str, None]] = {}
    for problem in problems:
        group, where, line = problem.get("group"), problem.get("where"), problem_text(problem)
        owner = key_text(("groups", group)) if group else "notifier"
        if not where:
            line = f"{owner}{' ' if problem.get('plugin') else ': '}{line}"
        groups = concerned.setdefault((line, problem.get("help") or ""), {})
        if group and where and f" {owner}." not in where:
            groups[owner] = None
    return tuple(
        line + (f" ({_listed(tuple(groups))})" if groups else "") + (f"\n    help: {help_}" if help_ else "")
        for (line, help_), groups in concerned.items()
    )


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
