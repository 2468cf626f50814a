"""Check plugins and handlers before any worker starts, in a throwaway child: the parent loads none of them (P5)."""

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

from supervisor.core.exits import describe
from supervisor.parent.exits import ExitWatch
from supervisor.parent.launcher import Child, send_signal

PROGRAM = (sys.executable, "-P", "-m", "supervisor.inspector", "plugins")
DEADLINE = 30.0
LONGEST_ANSWER = 16 << 20

Validate = Callable[[dict[str, Any], ExitWatch], Awaitable[tuple[str, ...]]]
"""From the config's plugins to what is wrong with them, one text per problem."""


async def check_plugins(
    request: dict[str, Any], exits: ExitWatch, program: tuple[str, ...] = PROGRAM
) -> tuple[str, ...]:
    """Ask an inspector child; problems of its own (it hangs, it dies) are problems, too.

    Its answer and its question are files, not pipes: whatever user code starts in there cannot keep us waiting.
    """
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as answer:
        question.write(json.dumps(request).encode())
        question.seek(0)
        popen = subprocess.Popen(  # noqa: ASYNC220 - milliseconds
            program, stdin=question, stdout=answer, close_fds=True, start_new_session=True
        )
        status = await _end_of(popen, exits)
        if status is None:
            return (f"the check of plugins and handlers did not end within {DEADLINE:g} s: does an import wait?",)
        answer.seek(0)
        lines = answer.read(LONGEST_ANSWER).decode(errors="replace").strip().splitlines()
    try:
        problems = json.loads(lines[-1])["problems"]
        return tuple(_text(problem) for problem in problems)
    except (IndexError, KeyError, TypeError, ValueError):
        return (f"the check of plugins and handlers ended with {describe(status)} and no result; see its output above",)


async def _end_of(popen: subprocess.Popen[bytes], exits: ExitWatch) -> int | None:
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    child = Child(popen.pid, popen)
    exits.watch(child, ended.set_result)
    try:
        return await asyncio.wait_for(asyncio.shield(ended), DEADLINE)
    except TimeoutError:
        return None
    finally:
        if not ended.done():
            send_signal(child, signal.SIGKILL, whole_group=True)
            await asyncio.wait({ended}, timeout=5)


def _text(problem: dict[str, Any]) -> str:
    where = f"groups.{problem['group']}" if problem.get("group") else "notifier"
    plugin = f" {problem['plugin']}" if problem.get("plugin") else ""
    help_ = f"\n    help: {problem['help']}" if problem.get("help") else ""
    return f"{where}{plugin}: {problem['text']}{help_}"
