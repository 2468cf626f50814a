"""Values that are JSON, as Python's own dicts, lists, strings and numbers."""

import json

from supervisor.plugin import Record, hookimpl
from supervisor_plugins.models import refuse_models


class JsonDecoder:
    """``record.data`` is what the JSON says; ``None`` for a tombstone."""

    @hookimpl
    def data_model(self, model: object) -> None:
        """Refuse classes: nothing here would make them."""
        refuse_models(model)

    @hookimpl
    def decode(self, record: Record) -> object:
        """Decode the value; UTF-8, UTF-16 and UTF-32 are told apart as RFC 4627 does."""
        value = record.value
        return None if value is None else json.loads(value)
