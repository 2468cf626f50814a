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
        return tuple(_text(problem) for problem in problems)
    except TooSlowError as error:
        return (f"the check of plugins and handlers {error}: does an import wait?",)
    except NoAnswerError as error:
        return (f"the check of plugins and handlers {error}; see its output above",)
    except (KeyError, TypeError):
        return ("the check of plugins and handlers answered with what is no answer; see its output above",)


def _text(problem: dict[str, Any]) -> str:
    where = f"groups.{problem['group']}" if problem.get("group") else "notifier"
    plugin = f" {problem['plugin']}" if problem.get("plugin") else ""
    help_ = f"\n    help: {problem['help']}" if problem.get("help") else ""
    return f"{where}{plugin}: {problem['text']}{help_}"
