"""Values that are text."""

from dataclasses import dataclass
from typing import Any

from supervisor.plugin import Record, hookimpl
from supervisor_plugins.models import name_of


class TextDecoder:
    """``record.data`` is the value as ``str``; ``None`` for a tombstone."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``encoding`` is a codec of Python's; what it cannot read is undecodable."""

        encoding: str = "utf-8"

        def __post_init__(self) -> None:
            """Refuse a codec that does not exist."""
            "".encode(self.encoding)

    def __init__(self, options: Options) -> None:
        self._encoding = options.encoding

    @hookimpl
    def data_model(self, model: object) -> None:
        """Refuse what is no text."""
        if model not in (None, Any, object, str, str | None):
            text = f"the handler takes Record[{name_of(model)}], but this makes str"
            raise ValueError(text)

    @hookimpl
    def decode(self, record: Record) -> str | None:
        """Decode the value."""
        value = record.value
        return None if value is None else value.decode(self._encoding)
