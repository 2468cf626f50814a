"""``python -m tests.simulation``: live one seed, a range of them, or one large group; the last line is JSON.

python -m tests.simulation --seed 42 --trace          # one life, told step by step
python -m tests.simulation --seed 0 --count 5000      # a range; the first broken ones are told
python -m tests.simulation --seed 1 --workers 1000 --partitions 10000
"""

import argparse
import json
import resource
import sys
import time
from collections import Counter
from hashlib import sha256

from tests.simulation.life import BrokenError, Life
from tests.simulation.shape import Shape, at_scale, draw

MOST_TOLD = 5


def main() -> int:
    """Live what was asked for; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1, help="live so many seeds, one after the other")
    parser.add_argument("--workers", type=int, default=0, help="one large group instead, in few troubles")
    parser.add_argument("--partitions", type=int, default=0)
    parser.add_argument("--trace", action="store_true", help="print every switch and every step of the first seed")
    options = parser.parse_args()
    shapes = (
        [at_scale(options.seed, workers=options.workers, partitions=options.partitions or 10 * options.workers)]
        if options.workers
        else [draw(seed) for seed in range(options.seed, options.seed + options.count)]
    )
    return _live_all(shapes, traced=options.trace)


def _live_all(shapes: list[Shape], *, traced: bool) -> int:
    began = time.perf_counter()
    broken: list[int] = []
    ends: Counter[str] = Counter()
    steps = begun = repeated = copied = copied_again = floods = alone = 0
    trace = ""
    for shape in shapes:
        life = Life(shape, traced=traced)
        try:
            story = life.run()
        except BrokenError as error:
            broken.append(shape.seed)
            if len(broken) <= MOST_TOLD:
                print(error, file=sys.stderr)
        else:
            steps, begun, repeated = steps + story.steps, begun + story.begun, repeated + story.repeated
            copied, copied_again = copied + story.copied, copied_again + story.copied_again
            floods, alone = floods + story.floods, alone + story.alone
            ends += story.ends
        if traced and not trace:
            trace = "\n".join(life.machine.trace or ())
            print(trace)
    result = {
        "lives": len(shapes),
        "broken": broken[:100],
        "steps": steps,
        "begun": begun,
        "repeated": repeated,
        "copied": copied,
        "copied_again": copied_again,
        "floods": floods,
        "alone": alone,
        "ends": dict(sorted(ends.items())),
        "seconds": round(time.perf_counter() - began, 2),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "trace": sha256(trace.encode()).hexdigest() if traced else None,
    }
    print(json.dumps(result))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
