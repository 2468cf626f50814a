"""Files that keep silences, and what people were told, over restarts: a thread writes, the loop waits for no disk."""

import asyncio
import json
import os
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from supervisor.core.jsonable import from_json, to_json

FORMAT = 1
MOST = 1e15
"""Above every number that is right; those of JSON may be infinite, or none."""
T = TypeVar("T")


class KeptFile(Generic[T]):
    """A list of values of one kind; replaced as a whole, the newest state last."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self.path = path
        self._kind = kind
        self._writing: asyncio.Future[None] | None = None
        self._next: tuple[T, ...] | None = None

    def read(self) -> tuple[T, ...]:
        """Return what was kept; raises ``OSError`` or ``ValueError`` when the file is there and not right."""
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return ()
        except RecursionError as error:
            message = "values within values, too deep to read"
            raise ValueError(message) from error
        if not isinstance(data, dict) or data.get("v") != FORMAT or not isinstance(data.get(self.path.stem), list):
            message = f"not a list of {self.path.stem} of format {FORMAT}"
            raise ValueError(message)
        return tuple(_right(from_json(self._kind, one)) for one in data[self.path.stem])

    def write(self, values: tuple[T, ...], *, on_trouble: Callable[[OSError], None]) -> None:
        """Have the file replaced soon; of states that come meanwhile only the newest is written. In the loop."""
        self._next = values
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write(on_trouble))

    async def finished(self, patience: float) -> None:
        """Wait until all is written, at most so many seconds."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=patience)

    async def _write(self, on_trouble: Callable[[OSError], None]) -> None:
        while self._next is not None:
            values, self._next = self._next, None
            try:
                await asyncio.to_thread(partial(_replace, self.path, values))
            except OSError as error:
                on_trouble(error)


def _right(value: T) -> T:
    """Return a value if its members are of their kinds; raises ``ValueError`` for another version's, or a hand's."""
    for name, hint in typing.get_type_hints(type(value)).items():
        found, kind = getattr(value, name), int | float if hint is float else hint
        is_number = isinstance(found, int | float)
        if not isinstance(found, kind) or (is_number and (isinstance(found, bool) or not abs(found) < MOST)):
            message = f"a value of {type(value).__name__.lower()} has no {name} that makes sense"
            raise ValueError(message)
    return value


def _replace(path: Path, values: tuple[Any, ...]) -> None:
    text = json.dumps({"v": FORMAT, path.stem: to_json(values)}, indent=1)
    beside = path.with_suffix(".new")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as writer:
        writer.write(text)
        writer.flush()
        os.fsync(writer.fileno())
    beside.replace(path)
