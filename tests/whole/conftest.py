"""What the tests of the whole supervisor share: a ledger, a webhook, and supervisors that end with the test."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.broker.real import RealBroker
from tests.whole.hook import Hook
from tests.whole.ledger import Ledger
from tests.whole.program import CONFIG, Program

Supervise = Callable[..., Program]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Give the ledger that all handlers of this test write to."""
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def supervise(tmp_path: Path, ledger: Ledger, name: str) -> Iterator[Supervise]:
    """Start supervisors: ``supervise(broker, 'workers = 2')``; group and topic are called as the test's ``name``."""
    with ExitStack() as stack:

        def starter(
            broker: RealBroker,
            options: str = "",
            *,
            supervisor: str = "",
            folder: str = "a",
            called: str = "a",
            handler: str = "Work",
            kafka: str = '"heartbeat.interval.ms" = 300',
            more: str = "",
            arguments: tuple[str, ...] = (),
        ) -> Program:
            text = CONFIG.format(
                name=called,
                supervisor=supervisor,
                bootstrap=broker.bootstrap,
                group=name,
                topic=name,
                options=options,
                handler=handler,
                kafka=kafka,
            )
            program = Program(tmp_path / folder, text + more, ledger)
            stack.callback(program.close)
            return program.start(*arguments)

        yield starter


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Give a webhook that listens."""
    hook = Hook()
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.05}, name="hook")
    thread.start()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()
    thread.join()
