"""Answer one request and end; see the package for how."""

import argparse
import faulthandler
import json
import logging
import os
import sys
from typing import Any

from supervisor.core.exits import STEP, ExitCode
from supervisor.logs import set_up_logging


class _Steps(logging.Handler):
    """Writes each step before the answer, which is the last line: of a child that gives none, it is all there is."""

    def __init__(self, answer_to: int) -> None:
        super().__init__()
        self._answer_to = answer_to

    def emit(self, record: logging.LogRecord) -> None:
        os.write(self._answer_to, f"{STEP}{getattr(record, 'fields', {}).get('step')}\n".encode())


def main() -> ExitCode:
    """Read the request, answer it; a request that cannot be read is wrong usage."""
    parser = argparse.ArgumentParser(prog="supervisor.inspector", description="Internal; started by the supervisor.")
    parser.add_argument("subject", choices=["plugins", "broker", "offsets"])
    subject = parser.parse_args().subject
    try:
        request = json.load(sys.stdin)
    except ValueError as error:
        sys.stderr.write(f"supervisor.inspector: the request is no JSON: {error}\n")
        return ExitCode.USAGE
    answer_to = _keep_stdout()
    set_up_logging("text", "warning", {"process": "inspector"})
    faulthandler.enable()
    _tell_steps(answer_to)
    try:
        answer = _answer(subject, request)
    except (ValueError, KeyError) as error:
        sys.stderr.write(f"supervisor.inspector: the request is not understood: {error}\n")
        return ExitCode.USAGE
    _flush()
    with os.fdopen(answer_to, "w", encoding="utf-8") as stdout:
        stdout.write(json.dumps(answer) + "\n")
    return ExitCode.OK


def _answer(subject: str, request: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    # Not at the top: plugins are looked at without the Kafka client, the broker without user code.
    if subject == "plugins":
        from supervisor.inspector.plugins import inspect_plugins  # noqa: PLC0415

        answer = inspect_plugins(request)
        if any(group.get("kafka") for group in request.get("groups", {}).values()):
            from supervisor.inspector.settings import check_settings  # noqa: PLC0415

            answer["problems"] += check_settings(request)
        return answer
    if subject == "offsets":
        from supervisor.inspector.offsets import inspect_offsets  # noqa: PLC0415

        return inspect_offsets(request)
    from supervisor.inspector.broker import inspect_broker  # noqa: PLC0415

    return inspect_broker(request)


def _tell_steps(answer_to: int) -> None:
    steps = logging.getLogger("supervisor.plugin.importing")
    steps.setLevel(logging.DEBUG)
    steps.propagate = False
    steps.addHandler(_Steps(answer_to))


def _keep_stdout() -> int:
    """Return a private copy of stdout; what is printed from now on goes to stderr, and nothing is left to read."""
    kept = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    return kept


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # user code may have closed it
            continue


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    _flush()
    # Not sys.exit: threads that user code started must not keep the process.
    os._exit(code)
