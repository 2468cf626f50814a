"""The file that keeps silences over restarts: read once, written by a thread, so that the loop waits for no disk."""

import asyncio
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from supervisor.core.alert_flow import Silence
from supervisor.core.jsonable import from_json, to_json

FORMAT = 1
NAME = "silences.json"


class SilenceFile:
    """``<state_dir>/silences.json``; replaced as a whole, the newest state last."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / NAME
        self._writing: asyncio.Future[None] | None = None
        self._next: tuple[Silence, ...] | None = None

    def read(self) -> tuple[Silence, ...]:
        """Return what was kept; raises ``OSError`` or ``ValueError`` when the file is there and not right."""
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return ()
        if not isinstance(data, dict) or data.get("v") != FORMAT or not isinstance(data.get("silences"), list):
            message = f"not a list of silences of format {FORMAT}"
            raise ValueError(message)
        return tuple(from_json(Silence, one) for one in data["silences"])

    def write(self, silences: tuple[Silence, ...], *, on_trouble: Callable[[OSError], None]) -> None:
        """Have the file replaced soon; of states that come meanwhile only the newest is written. In the loop."""
        self._next = silences
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write(on_trouble))

    async def finished(self, patience: float) -> None:
        """Wait until all is written, at most so many seconds."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=patience)

    async def _write(self, on_trouble: Callable[[OSError], None]) -> None:
        while self._next is not None:
            silences, self._next = self._next, None
            try:
                await asyncio.to_thread(partial(_replace, self.path, silences))
            except OSError as error:
                on_trouble(error)


def _replace(path: Path, silences: tuple[Silence, ...]) -> None:
    text = json.dumps({"v": FORMAT, "silences": to_json(silences)}, indent=1)
    beside = path.with_suffix(".new")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as writer:
        writer.write(text)
        writer.flush()
        os.fsync(writer.fileno())
    beside.replace(path)
