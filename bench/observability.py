"""What being seen costs: a no-op handler's throughput with all metrics against none, and how a scrape delays the loop.

With: a ``supervisor run`` whose listener is scraped each second. Without: the same without a listener, and with a
worker whose meters are taken out (``unmetered``). A scrape of 64 workers and 1,000 partitions is one of the real
listener over a made-up supervisor (``picture``), in a loop that looks every other millisecond how late it is.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.picture import Picture
from bench.sides import Side, fill, in_turns
from bench.stage import Figures, Stage, progress, wait_for
from bench.windows import Shown, Windows, median, median_cpu, ratio, whole, words_of
from supervisor.config import load, paths
from supervisor.core.board import H_PID
from supervisor.core.exposition import Others
from supervisor.parent.metrics.listener import HttpListener
from supervisor.parent.metrics.rendering import Format, render
from supervisor.parent.metrics.scraping import KEPT, Scraping
from tests.broker.real import free_ports
from tests.broker.records import create_topic

PARTITIONS = 4
CELLS = 1
WORKERS, OF_THEM = 64, 1000
TICK = 0.002
_CONFIG = """
[supervisor]
name = "bench"
state_dir = "{folder}/state"
runtime_dir = "{folder}/run"
lag_interval = "{lag_interval}"

[http]
listen = "{listen}"

[kafka]
"bootstrap.servers" = "{bootstrap}"

[groups.{name}]
topics = ["{topic}"]
handler = "{handler}"
"""
_SCRAPER = """
import sys, time, urllib.request
url, every = sys.argv[1], float(sys.argv[2])
while True:
    began = time.monotonic()
    try:
        urllib.request.urlopen(urllib.request.Request(url, headers={"Accept-Encoding": "gzip"}), timeout=5).read()
        print(began, time.monotonic(), flush=True)
    except OSError:
        pass
    time.sleep(every)
"""


def run(stage: Stage) -> Figures:
    """Compare in rounds, then scrape; quick: fewer and shorter ones."""
    total, rounds, scrapes = (600_000, 4, 8) if stage.quick else (2_000_000, 11, 30)
    return measure(stage, total=total, rounds=rounds, scrapes=scrapes)


def measure(stage: Stage, *, total: int, rounds: int, scrapes: int) -> Figures:
    """Measure both sides once per round, in an order drawn anew, and ``scrapes`` scrapes."""
    topic = create_topic(stage.bootstrap, "observability", partitions=PARTITIONS)
    progress(f"topic: writing {total:,} records")
    fill(stage.bootstrap, topic, total, partitions=PARTITIONS)
    sides: dict[str, Side] = {
        "without": _supervised(stage, topic, is_seen=False),
        "with": _supervised(stage, topic, is_seen=True),
    }
    windows = in_turns(sides, rounds, lambda shown: whole(shown, total))
    figures = _figures(windows, total)
    progress(f"scraping {scrapes} times with {WORKERS} workers and {OF_THEM} partitions")
    return figures | asyncio.run(_scraped(scrapes))


def _supervised(stage: Stage, topic: str, *, is_seen: bool) -> Side:
    @contextmanager
    def start(name: str) -> Iterator[Shown]:
        folder = stage.folder / name
        folder.mkdir()
        (port,) = free_ports(1)
        config = folder / "supervisor.toml"
        text = _CONFIG.format(
            folder=folder,
            bootstrap=stage.bootstrap,
            topic=topic,
            name=name,
            handler="bench.handlers:process" if is_seen else "bench.unmetered:process",
            listen=f"127.0.0.1:{port}" if is_seen else "",
            lag_interval="5s" if is_seen else "0s",
        )
        config.write_text(text)
        command = [sys.executable, "-m", "supervisor", "--config", str(config), "run"]
        started = []
        try:
            with (folder / "log").open("wb") as log:
                started.append(subprocess.Popen(command, stdout=log, stderr=log, env=stage.environment, cwd=folder))
            if is_seen:
                started.append(_scraper(port, every=1.0))
            file = paths(load(config)).slot_file(name, 0)
            with words_of(Shown(file, CELLS, 0)) as words:
                wait_for(lambda: words[H_PID], "no worker writes its pid", every=0.001)
                pid = words[H_PID]
            yield Shown(file, CELLS, pid)
        finally:
            _end(started)

    return start


def _scraper(port: int, *, every: float) -> "subprocess.Popen[bytes]":
    url = f"http://127.0.0.1:{port}/metrics"
    return subprocess.Popen([sys.executable, "-c", _SCRAPER, url, str(every)], stdout=subprocess.PIPE)


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def _figures(windows: Windows, total: int) -> Figures:
    kept = ratio(windows["with"], windows["without"])
    return {
        "overhead_percent": round(100 * (1 - kept), 2),
        "cpu_overhead_percent": round(100 * (ratio(windows["with"], windows["without"], "cpu_us") - 1), 2),
        "per_s": {side: median(measured) for side, measured in windows.items()},
        "cpu_us": {side: median_cpu(measured) for side, measured in windows.items()},
        "records": total,
        "rounds": len(windows["with"]),
    }


class _Never:
    """Owes nothing."""

    def late(self, *, now: float) -> str:
        """Say nothing."""
        del now
        return ""


async def _scraped(scrapes: int) -> Figures:
    """Scrape the real listener over a made-up supervisor, and look how late its loop is meanwhile."""
    picture, loop = Picture(WORKERS, OF_THEM), asyncio.get_running_loop()
    scraping = Scraping(picture.supervisor, picture.tallies, lambda: Others({"inspector": True}))
    listener = HttpListener(picture.supervisor, scraping, _Never())
    (port,) = free_ports(1)
    listener.start(("127.0.0.1", port))
    late: list[tuple[float, float]] = []

    def look(due: float) -> None:
        now = loop.time()
        late.append((now, now - due))
        loop.call_at(now + TICK, look, now + TICK)

    look(loop.time())
    scraper = _scraper(port, every=1.5 * KEPT)
    assert scraper.stdout is not None  # noqa: S101 - it was asked for
    try:
        lines = [await asyncio.to_thread(scraper.stdout.readline) for _ in range(scrapes + 1)]
    finally:
        _end([scraper])
    taken = time.thread_time()
    scene = scraping.scene()
    rendered = time.thread_time()
    page = render(scene, Format.OPENMETRICS)
    ended = time.thread_time()
    await listener.stop()
    spans = [tuple(map(float, line.split())) for line in lines[1:]]  # the first brings what is loaded late
    during = [_latest(late, begin, end) for begin, end in spans]
    quiet = [_latest(late, end + 0.2, end + 0.2 + (end - begin)) for begin, end in spans]
    return {
        "loop_delay_ms": round(1000 * statistics.median(during), 2),
        "quiet_delay_ms": round(1000 * statistics.median(quiet), 2),
        "picture_ms": round(1000 * (rendered - taken), 2),
        "render_ms": round(1000 * (ended - rendered), 1),
        "page_kb": round(len(page.plain) / 1000),
        "gzip_kb": round(len(page.gzipped) / 1000),
        "series": sum(not line.startswith(b"#") for line in page.plain.splitlines()),
        "scrapes": len(spans),
    }


def _latest(late: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    """Return how late the loop was at most in a stretch of time."""
    return max((by for at, by in late if begin <= at <= end + TICK), default=0.0)
