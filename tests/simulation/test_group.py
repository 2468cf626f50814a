"""P1, P2, P3 and liveness of a whole group, in simulated lives that a seed decides over to the last switch.

See ``docs/simulation.md`` for what is real in them and what is not.
"""

import json
import os
import random
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Scale
from tests.simulation.life import Life, live
from tests.simulation.shape import at_scale, draw

ROOT = Path(__file__).parents[2]
JOBS = 2
TIMEOUT = 1100.0


def _run(*commands: tuple[str, ...], hash_seeds: tuple[str, ...] = ("random", "random")) -> list[dict[str, Any]]:
    """Run ``python -m tests.simulation`` with each of these arguments at once; return what they print last."""
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.simulation", *arguments],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONHASHSEED": hash_seed},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for arguments, hash_seed in zip(commands, hash_seeds, strict=True)
        ]
        told = [process.communicate(timeout=TIMEOUT) for process in running]
    for (_, errors), process in zip(told, running, strict=True):
        assert process.returncode == 0, errors[:8000]
    return [json.loads(out.splitlines()[-1]) for out, _ in told]


@pytest.mark.timeout(1200)  # on a machine that has other things to do
def test_p1_p2_p3_no_life_of_a_group_loses_reorders_or_stalls_a_record(scale: Scale, rng: random.Random) -> None:
    lives = 10_000 if scale.is_long else 2_000 if os.environ.get("CI") == "true" else 500
    count = lives // JOBS
    first = rng.randrange(1_000_000)

    results = _run(*(("--seed", str(first + job * count), "--count", str(count)) for job in range(JOBS)))

    print(results)
    # Lives in which nothing happens prove nothing.
    for result in results:
        assert result["ends"]["killed"] > count
        assert result["repeated"] > count
        assert result["copied"] > count
        assert result["copied_again"] > 0
        assert result["floods"] > 0
        assert result["alone"] > 0
        assert result["ends"]["FENCED"] > 0


def test_p1_p2_p3_a_large_group_reaches_the_end(scale: Scale, rng: random.Random) -> None:
    workers, partitions = scale.pick((40, 400), (1000, 10_000))

    story = live(at_scale(rng.randrange(1_000_000), workers=workers, partitions=partitions))

    print(story)
    assert story.begun >= 5 * partitions
    assert story.ends["killed"] > 0


def test_a_seed_lives_the_same_life_again_to_the_last_switch(scale: Scale, rng: random.Random) -> None:
    for seed in [rng.randrange(1_000_000) for _ in range(scale.pick(10, 100))]:
        first, second = (Life(draw(seed), traced=True).run().trace for _ in range(2))
        assert first == second
        assert first.count("\n") > 100


def test_a_seed_lives_the_same_life_in_every_process(rng: random.Random) -> None:
    """What hashes of strings decide over must not show: a seed of one run is repeated in another."""
    seed = str(rng.randrange(1_000_000))

    first, second = _run(*[("--seed", seed, "--count", "20", "--trace")] * 2, hash_seeds=("1", "2"))

    assert first["trace"] == second["trace"]
    assert first["steps"] == second["steps"]
