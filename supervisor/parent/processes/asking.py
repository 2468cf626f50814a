"""Ask a throwaway child one question; it may hang or die, and the parent's loop goes on."""

import asyncio
import json
import signal
import subprocess
import tempfile
from typing import IO, Any

from supervisor.core.exits import describe, last_step
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.launcher import Child, send_signal

LONGEST_ANSWER = 16 << 20


class NoAnswerError(Exception):
    """The child gave no answer; the text says how it ended."""


class TooSlowError(NoAnswerError):
    """The child was killed at its deadline."""


async def ask(program: tuple[str, ...], request: dict[str, Any], exits: ExitWatch, *, deadline: float) -> Any:  # noqa: ANN401 - JSON
    """Return the last line that ``program`` prints, as JSON; raises ``NoAnswerError`` after ``deadline`` seconds.

    Where there is none, the error names the last step that the child told.

    Its answer and its question are files, not pipes: whatever user code starts in there cannot keep us waiting.
    Cancelled, it kills the child.
    """
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as answer:
        question.write(json.dumps(request).encode())
        question.seek(0)
        popen = subprocess.Popen(  # noqa: ASYNC220 - milliseconds
            program, stdin=question, stdout=answer, close_fds=True, start_new_session=True
        )
        try:
            status = await _end_of(popen, exits, deadline)
        except TooSlowError as error:
            message = f"{error}{last_step(_lines(answer))}"
            raise TooSlowError(message) from error
        lines = _lines(answer)
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError) as error:
        message = f"ended with {describe(status)} and no result{last_step(lines)}"
        raise NoAnswerError(message) from error


def _lines(answer: IO[bytes]) -> list[str]:
    answer.seek(0)
    return answer.read(LONGEST_ANSWER).decode(errors="replace").strip().splitlines()


async def _end_of(popen: subprocess.Popen[bytes], exits: ExitWatch, deadline: float) -> int:
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    child = Child(popen.pid, popen)
    exits.watch(child, ended.set_result)
    try:
        return await asyncio.wait_for(asyncio.shield(ended), deadline)
    except TimeoutError as error:
        message = f"did not end within {deadline:g} s"
        raise TooSlowError(message) from error
    finally:
        if not ended.done():
            send_signal(child, signal.SIGKILL, whole_group=True)
            await asyncio.wait({ended}, timeout=5)
