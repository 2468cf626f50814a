"""Check plugins and handlers before any worker starts, in a throwaway child: the parent loads none of them (P5)."""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

from supervisor.parent.processes.asking import NoAnswerError, TooSlowError, ask
from supervisor.parent.processes.exits import ExitWatch

PROGRAM = (sys.executable, "-P", "-m", "supervisor.inspector", "plugins")
DEADLINE = 30.0

Validate = Callable[[dict[str, Any], ExitWatch], Awaitable[tuple[str, ...]]]
"""From the config's plugins to what is wrong with them, one text per problem."""


async def check_plugins(
    request: dict[str, Any], exits: ExitWatch, program: tuple[str, ...] = PROGRAM
) -> tuple[str, ...]:
    """Ask an inspector child; problems of its own (it hangs, it dies) are problems, too."""
    try:
        problems = (await ask(program, request, exits, deadline=DEADLINE))["problems"]
        return tuple(dict.fromkeys(_text(problem) for problem in problems))  # groups share what is of all
    except TooSlowError as error:
        return (f"the check of plugins and handlers {error}: does an import wait?",)
    except NoAnswerError as error:
        return (f"the check of plugins and handlers {error}; see its output above",)
    except (KeyError, TypeError):
        return ("the check of plugins and handlers answered with what is no answer; see its output above",)


def problem_text(problem: dict[str, Any]) -> str:
    """Return a child's problem as a line: where the config has it, what it is about, what is wrong."""
    return ": ".join(part for part in (problem.get("where"), problem.get("plugin"), problem["text"]) if part)


def _text(problem: dict[str, Any]) -> str:
    group = f"groups.{problem['group']}" if problem.get("group") else "notifier"
    where = "" if problem.get("where") else f"{group} " if problem.get("plugin") else f"{group}: "
    help_ = f"\n    help: {problem['help']}" if problem.get("help") else ""
    return f"{where}{problem_text(problem)}{help_}"
