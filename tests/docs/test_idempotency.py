"""The example of docs/idempotency.md that writes its offset in its own transaction, on a real PostgreSQL."""

import re
from pathlib import Path
from typing import Any

import pytest

from supervisor.plugin import DependencyDownError, Record
from tests.plugins.conftest import FakeMessage
from tests.servers.processes import PostgresqlServer

DOC = (Path(__file__).parents[2] / "docs" / "idempotency.md").read_text()


def booking() -> Any:
    (block,) = re.findall(r"^```python\n(# shop/booking\.py\n.*?)^```$", DOC, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/idempotency.md", "exec"), names)  # noqa: S102 - our own documentation
    return names["Book"]()


class Order(FakeMessage):
    def value(self) -> bytes:
        return b'{"id": 7, "amount": 12.5}'


def test_an_offset_in_the_handlers_own_transaction_makes_a_repetition_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    with PostgresqlServer() as server:
        monkeypatch.setenv("SHOP_DATABASE", server.dsn)
        handler = booking()
        handler.open()

        for _ in range(3):
            handler.process(Record(Order()))
        server.stop()
        for _ in range(2):
            with pytest.raises(DependencyDownError):
                handler.process(Record(Order()))
        server.start()
        handler.process(Record(Order()))

        rows = handler.database.execute("select id, amount from bookings").fetchall()
        handler.close()
    assert [(row[0], float(row[1])) for row in rows] == [(7, 12.5)]
