"""``python -m bench``: list the benchmarks; ``python -m bench NAME``: run one."""

import argparse
import importlib
import sys

from bench.stage import BenchError, report, stage

BENCHMARKS = {
    "throughput": "no-op handlers in a worker against a raw consume(500) loop: records per second, as a ratio",
    "io": "handlers that wait 5 ms: many records in flight in threads and on an event loop, against bare pools",
    "latency": "from produce() to the handler at 100 records/s, against a raw poll() loop",
    "retries": "one record in a hundred failing once against none: records per second, as a ratio",
    "exactly_once": "one output per record in transactions of 100 ms, against at least once: outputs per second",
    "takeover": "a 0.3 s handler that makes the worker hold back: bytes received against bytes of records used",
    "memory": "eight partitions of 1 MB/s each and stuck handlers: resident memory against what the bounds add up to",
    "scaling": "processor time per record and memory with more workers, more partitions, more in flight: the curves",
    "failover": "kill -9 of one of three workers: seconds until its partitions move again, and what the others notice",
    "rolling": "rolling restart of 16 workers under load: seconds each slot stands still, and what others notice",
    "observability": "a no-op handler with all metrics, scraped, against none; and how a scrape delays the parent",
    "footprint": "memory per idle worker, the parent's processor time, and what it keeps over 1,000 restarts",
}

WITH_PEERS = ("failover", "io", "throughput")


def main() -> int:
    """Run what was asked for; 1 when a run did not do what is measured, with no figures."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, help="the benchmark; without it they are listed")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under 50 seconds")
    parser.add_argument("--json", action="store_true", help="nothing on stdout but the last line, the JSON object")
    parser.add_argument("--peers", action="store_true", help="other frameworks too, each in an environment of its own")
    arguments = parser.parse_args()
    if arguments.name is None:
        for name, text in BENCHMARKS.items():
            print(f"{name:12} {text}")
        return 0
    if arguments.peers and arguments.name not in WITH_PEERS:
        parser.error(f"--peers is for {', '.join(WITH_PEERS)}")
    try:
        with stage(quick=arguments.quick, peers=arguments.peers) as here:
            figures = importlib.import_module(f"bench.{arguments.name}").run(here)
    except BenchError as error:
        print(f"bench {arguments.name}: {error}", file=sys.stderr)
        return 1
    report(arguments.name, {"quick": arguments.quick, **figures}, only_json=arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
