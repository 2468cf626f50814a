"""Import what workers need before they are forked, and see that nothing came along that a fork would break."""

import importlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from supervisor.kafka import beforehand
from supervisor.plugin.errors import PluginError
from supervisor.plugin.importing import extend_path, import_module
from supervisor.zygote.immortal import make_immortal
from supervisor.zygote.rehearsal import rehearse

ENGINE = (
    "asyncio",
    "concurrent.futures.thread",
    "confluent_kafka.admin",
    "difflib",
    "hashlib",
    "importlib.metadata",
    "supervisor.kafka.holes",
    "supervisor.worker.life",
    "supervisor.worker.tasks",
    "supervisor.worker.transactions",
    "supervisor_plugins.dlq_file",
    "supervisor_plugins.dlq_kafka",
    "supervisor_plugins.retry_exponential",
)
"""All that a worker imports by itself, at its start or later; what exec'd workers leave for later is free here."""


class Unfit(Exception):  # noqa: N818 - a finding, not an error
    """Why this process must not be forked; names the module."""


def preload(modules: Sequence[str], search_path: Sequence[str]) -> None:
    """Import the engine, then ``modules`` in their order; raise ``Unfit``.

    A fork copies one thread only: locks that others hold stay locked for ever. And an open file would be one file,
    with one position, for all workers.
    """
    folder, before = Path.cwd(), _descriptors()
    for name in ENGINE:
        importlib.import_module(name)
        _check(f"importing {name!r}", before)
    beforehand.set_up()
    rehearse()
    _check("setting librdkafka up", before)
    make_immortal()  # not the user's modules: what they hold may have an end that somebody waits for
    extend_path(search_path)
    for name in modules:
        try:
            import_module("preload", name)
        except PluginError as error:
            raise Unfit("; ".join(problem.text for problem in error.problems)) from error
        _check(f"importing {name!r}", before)
    os.chdir(folder)


def _check(step: str, before: dict[int, str]) -> None:
    threads = max(threading.active_count(), len(list(Path("/proc/self/task").iterdir())))
    if threads > 1:
        names = ", ".join(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
        message = f"{step} started threads ({threads - 1}{': ' + names if names else ''})"
        raise Unfit(message)
    opened = sorted(set(_descriptors().items()) - set(before.items()))
    if opened:
        message = f"{step} left open: {', '.join(target for _, target in opened)}"
        raise Unfit(message)


def _descriptors() -> dict[int, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except OSError:  # the listing's own
            continue
    return found
