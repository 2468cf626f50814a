import os
import resource

import pytest

from supervisor.config import slot_policy, worker_spec
from supervisor.core.limits import Allowance
from supervisor.core.spec import LimitsSpec, Mode
from tests.unit.config.texts import MINIMAL, Checker, Loader

LIMITS = MINIMAL + "[groups.orders.limits]\n"


def test_without_a_table_nothing_is_limited(load_text: Loader) -> None:
    config = load_text(MINIMAL)
    spec = worker_spec(config, "orders", slot=0, incarnation=1, mode=Mode.WORK, parent_pid=1)

    assert slot_policy(config, "orders").allowance == Allowance()
    assert spec.limits == LimitsSpec()


def test_limits_reach_the_parent_and_the_worker_in_bytes_seconds_and_counts(load_text: Loader) -> None:
    config = load_text(
        LIMITS
        + 'rss_soft = "100MB"\nrss_hard = "200MB"\nmax_records = 1000\nmax_age = "1d"\nvariance = 0.5\nnice = 5\n'
        + 'cpu_affinity = [0]\nmemory_max = "1GiB"\ncpu_quota = 1.5\n'
        + 'rlimits = { nofile = 64, core = "unlimited", as = "2GiB" }\n'
    )
    spec = worker_spec(config, "orders", slot=0, incarnation=1, mode=Mode.WORK, parent_pid=1)

    assert slot_policy(config, "orders").allowance == Allowance(100_000_000, 200_000_000, 1000, 86400.0, variance=0.5)
    assert spec.limits == LimitsSpec(
        nice=5, cpus=(0,), rlimits={"nofile": 64, "core": -1, "as": 2 << 30}, memory_max=1 << 30, cpu_quota=1.5
    )


def test_a_group_switches_off_what_the_defaults_switch_on(load_text: Loader) -> None:
    config = load_text(
        '[defaults.limits]\nrss_soft = "100MB"\nmax_age = "1d"\n' + LIMITS + 'rss_soft = "off"\nmax_records = 5\n'
    )

    allowance = slot_policy(config, "orders").allowance
    assert (allowance.rss_soft, allowance.max_age, allowance.max_records) == (None, 86400.0, 5)


def test_spread_counts_slots_over_all_groups(load_text: Loader) -> None:
    config = load_text(
        '[defaults.limits]\ncpu_affinity = "spread"\n' + MINIMAL + "workers = 3\n"
        '[groups.bills]\ntopics = ["bills"]\nhandler = "shop:x"\nworkers = 2\n'
    )

    places = [
        worker_spec(config, name, slot=slot, incarnation=1, mode=Mode.WORK, parent_pid=1).limits.spread
        for name, slot in (("orders", 0), ("orders", 2), ("bills", 0), ("bills", 1))
    ]
    assert places == [0, 2, 3, 4]


@pytest.mark.parametrize(
    ("line", "key", "text", "instead"),
    [
        ('rss_soft = "2"', "rss_soft", "not a size", "16MiB"),
        ("max_records = 0", "max_records", "less than 1", "1 or more"),
        ('max_age = "0s"', "max_age", "must be longer than nothing", "above zero"),
        ("nice = 20", "nice", "more than 19", "19 or less"),
        ('cpu_affinity = "spred"', "cpu_affinity", "neither processors", '"spread"'),
        ("cpu_affinity = [-1]", "cpu_affinity", "a number from 0", '"spread"'),
        ("cpu_affinity = [100000]", "cpu_affinity", "no processor 100000", "from 0 to"),
        ("cpu_quota = 0", "cpu_quota", "less than 0.01", "0.01 or more"),
        ("rlimits = { nofil = 1 }", "rlimits", "no resource is called 'nofil'", "nofile"),
        ("rlimits = { nofile = -1 }", "rlimits", "nofile is no limit", "unlimited"),
        ('rlimits = { as = "much" }', "rlimits", "not a size", "16MiB"),
        ('rss_soft = "1GB"\nrss_hard = "1GB"', "rss_soft", "not below rss_hard", "lower rss_soft"),
    ],
)
def test_a_wrong_limit_says_what_to_write(problems: Checker, line: str, key: str, text: str, instead: str) -> None:
    found = problems(LIMITS + line + "\n")

    assert list(found) == [f"groups.orders.limits.{key}"]
    problem = found[f"groups.orders.limits.{key}"]
    assert text in problem.text
    assert instead in problem.help


def test_a_wrong_limit_in_the_defaults_is_told_once(problems: Checker) -> None:
    found = problems('[defaults.limits]\nrss_soft = "1GB"\nrss_hard = "1MB"\n' + MINIMAL)

    assert list(found) == ["defaults.limits.rss_soft"]


def test_an_rlimit_nobody_could_raise_is_a_warning_that_names_the_hard_one(
    load_text: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 100))

    warnings = load_text(LIMITS + 'rlimits = { nofile = 101, core = "unlimited", data = 100 }\n').warnings

    assert [warning.key for warning in warnings] == [
        "groups.orders.limits.rlimits.nofile",
        "groups.orders.limits.rlimits.core",
    ]
    assert "above the hard limit here (100)" in warnings[0].text
    assert "LimitNOFILE=" in warnings[0].help


def test_what_is_shown_can_be_loaded_again(load_text: Loader) -> None:
    text = (
        LIMITS
        + 'rss_soft = "100MB"\nmax_age = "1d"\ncpu_affinity = [0]\nrlimits = { core = "unlimited", nofile = 9 }\n'
    )
    config = load_text(text)

    again = load_text(config.describe())

    assert again.groups == config.groups


@pytest.mark.parametrize("key", ["rss_soft", "max_records", "max_age", "memory_max", "cpu_quota"])
def test_off_is_a_value_like_others(load_text: Loader, key: str) -> None:
    assert getattr(load_text(LIMITS + f'{key} = "off"\n').groups["orders"].limits, key) is None
