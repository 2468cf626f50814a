"""Ask the inspector: a throwaway child process that may load plugins and open Kafka clients, which we never do here."""

import json
import subprocess
import sys
import tempfile
from typing import IO, Any

from supervisor.cli.errors import CommandError
from supervisor.core.exits import describe, last_step

STDERR_LINES = 20


def inspect(what: str, request: Any, *, timeout: float) -> dict[str, Any]:  # noqa: ANN401 - a JSON value
    """Run ``python -m supervisor.inspector WHAT`` on ``request`` and return its answer.

    Blocks for at most ``timeout`` seconds. The request may hold secrets: it goes over standard input only.
    Raises ``CommandError`` when there is no answer.
    """
    # Files, not pipes: a process that user code left behind would keep a pipe open, and us waiting.
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        question.write(json.dumps(request).encode())
        question.seek(0)
        program = [sys.executable, "-P", "-m", "supervisor.inspector", what]
        try:
            ended = subprocess.run(program, stdin=question, stdout=out, stderr=err, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            message = f"the check of {what} gave no answer within {timeout:.0f} s{last_step(_lines(out))}"
            raise CommandError(message) from error
        lines, told = _lines(out), _lines(err)[-STDERR_LINES:]
    try:
        answer = json.loads(lines[-1])
    except (IndexError, ValueError) as error:
        how = f"ended with {describe(ended.returncode)} and no answer{last_step(lines)}"
        message = "\n".join([f"the check of {what} {how}", *told])
        raise CommandError(message) from error
    if not isinstance(answer, dict):
        message = f"the check of {what} answered with no object"
        raise CommandError(message)
    return answer


def _lines(file: IO[bytes]) -> list[str]:
    file.seek(0)
    return file.read().decode(errors="replace").strip().splitlines()
