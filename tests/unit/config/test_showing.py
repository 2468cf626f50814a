from pathlib import Path

import tomli
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config import load
from supervisor.config.values import duration_text, size_text
from supervisor.core.durations import parse_duration
from tests.unit.config.texts import GROUP, KAFKA, MINIMAL, Loader

FULL = (
    '[supervisor]\nalerts = []\nstop_timeout = "1m30s"\n'
    + KAFKA
    + '"sasl.username" = "a \\"b\\" \\\\ \\u0001 ü"\n"socket.nagle.disable" = false\n'
    + '[defaults]\nhandler_timeout = "1h30m"\nbatch.age = "1500ms"\n'
    + GROUP
    + 'queue_bytes = "1500B"\nplugins = ["p"]\nretry.factor = 1.5\n'
    + '[plugins.p]\nlist = [1, 2.5, true, "x"]\ntable = { "a b" = [] }\n'
)


def test_what_is_shown_is_toml_that_means_the_same(load_text: Loader, tmp_path: Path) -> None:
    config = load_text(FULL)
    (tmp_path / "shown.toml").write_text(config.describe())

    again = load(tmp_path / "shown.toml", environ={})

    assert again.supervisor == config.supervisor
    assert again.kafka == config.kafka
    assert again.groups == config.groups
    assert again.plugins == config.plugins


def test_what_is_shown_has_every_default(load_text: Loader) -> None:
    shown = tomli.loads(load_text(MINIMAL).describe())

    assert shown["groups"]["orders"]["retry"]["max"] == "30s"
    assert shown["supervisor"]["name"] == "web-1"


def test_what_is_shown_of_retry_rules_loads_again(load_text: Loader) -> None:
    text = MINIMAL + '[[groups.orders.retry.rules]]\nerror = "shop:Busy"\nmax = "1m"\n'

    shown = load_text(text).describe()

    assert tomli.loads(shown)["groups"]["orders"]["retry"]["rules"] == [{"error": "shop:Busy", "max": "1m"}]
    assert load_text(shown).groups == load_text(text).groups


@given(st.integers(0, 10**10))
def test_durations_are_written_exactly(milliseconds: int) -> None:
    assert round(parse_duration(duration_text(milliseconds / 1000)) * 1000) == milliseconds


@given(st.integers(0, 10**13))
def test_sizes_are_written_exactly(count: int) -> None:
    from supervisor.config.values import read_size  # noqa: PLC0415 - the reader of what size_text writes

    assert read_size(size_text(count)) == count
