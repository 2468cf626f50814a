import os
from collections.abc import Iterator

import pytest

from tests.systemd import machine as machines
from tests.systemd.machine import Machine
from tests.systemd.unit import InstalledUnit


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """Give the session's one booted systemd."""
    lack = machines.missing()
    if lack is not None:
        # What is not installed CI can have; namespaces that its own container forbids it cannot.
        if os.environ.get("CI") == "true" and os.geteuid() == 0 and not lack.startswith(machines.FORBIDDEN):
            pytest.fail(f"CI as root must have a systemd: {lack}", pytrace=False)
        pytest.skip(lack)
    with Machine() as booted:
        yield booted


@pytest.fixture
def unit(machine: Machine) -> Iterator[InstalledUnit]:
    """Give ``deploy/kafka-supervisor.service``, installed and not started; afterwards all of it is gone."""
    installed = InstalledUnit(machine)
    installed.install()
    try:
        yield installed
    finally:
        installed.remove()
