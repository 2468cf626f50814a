"""From a ``Scene`` to what a scraper reads, by prometheus_client. For a thread of its own: it takes milliseconds."""

import gc
import gzip
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from prometheus_client import ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.exposition import generate_latest as plain
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from supervisor.core import histogram as core
from supervisor.core import metrics_catalog as catalog
from supervisor.core.exposition import Sample, Scene, samples
from supervisor.core.histogram import Histogram
from supervisor.core.metrics_catalog import CATALOG, Kind

SWITCH = 0.0005
"""Seconds after which the loop, when it wants to run, gets the interpreter back from this thread."""
FAST = 1
"""gzip's level: text that is scraped each few seconds is not worth more."""


class Format(StrEnum):
    """What a scraper may ask for; the values are content types."""

    PLAIN = CONTENT_TYPE_PLAIN_0_0_4
    OPENMETRICS = CONTENT_TYPE_LATEST


_ENCODERS: Mapping[Format, Callable[[Collector], bytes]] = {Format.PLAIN: plain, Format.OPENMETRICS: openmetrics}


@dataclass(frozen=True, slots=True)
class Page:
    """One rendered scrape, as it is and compressed."""

    plain: bytes
    gzipped: bytes


def wanted(accept: str) -> Format:
    """Return the format that an ``Accept`` header prefers, of the two there are."""
    return Format.OPENMETRICS if "application/openmetrics-text" in accept else Format.PLAIN


def render(scene: Scene, wanted: Format) -> Page:
    """Return the page of a scene; blocks for as long as it takes, but leaves the interpreter to others soon."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    gc.disable()  # a page is tens of thousands of objects without a cycle: the collector would double its time
    try:
        collector = _Scraped(scene)
        body: bytes = _ENCODERS[wanted](collector)
        return Page(body, gzip.compress(body, FAST))
    finally:
        gc.enable()
        sys.setswitchinterval(before)


class _Scraped(Collector):
    """A scene as prometheus_client wants to see it."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def collect(self) -> Iterator[Metric]:
        """Yield the families in the catalogue's order, each whole; then those of our own process."""
        found: dict[str, list[Sample]] = {}
        for sample in samples(self._scene):
            found.setdefault(sample.metric, []).append(sample)
        for name in CATALOG:
            if name in found:
                yield _family(CATALOG[name], found.pop(name))
        yield from ProcessCollector(registry=None).collect()


def _family(metric: catalog.Metric, found: list[Sample]) -> Metric:
    match metric.kind:
        case Kind.COUNTER:
            counter = CounterMetricFamily(metric.family, metric.help, labels=metric.labels, unit=metric.unit)
            for one in found:
                counter.add_metric(one.labels, _number(one.value))
            return counter
        case Kind.GAUGE:
            gauge = GaugeMetricFamily(metric.family, metric.help, labels=metric.labels, unit=metric.unit)
            for one in found:
                gauge.add_metric(one.labels, _number(one.value))
            return gauge
        case Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(metric.family, metric.help, labels=metric.labels, unit=metric.unit)
            for one in found:
                if isinstance(one.value, Histogram):
                    histogram.add_metric(one.labels, _buckets(metric, one), one.value.total)
            return histogram
        case Kind.INFO:
            info = InfoMetricFamily(metric.family, metric.help)
            for one in found:
                info.add_metric((), dict(zip(metric.labels, one.labels, strict=True)))
            return info


def _number(value: float | Histogram) -> float:
    return 0.0 if isinstance(value, Histogram) else float(value)


def _buckets(metric: catalog.Metric, sample: Sample) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
    """Return cumulative counts with their bounds and exemplars; counted with other bounds, it shows nothing.

    Only OpenMetrics shows exemplars, the text format has none.
    """
    assert isinstance(sample.value, Histogram)  # noqa: S101 - only histograms come here
    names = [*(f"{bound:g}" for bound in metric.bounds), "+Inf"]
    if len(sample.value.counts) != len(names):
        return [(name, 0.0) for name in names]
    traced = {bisect_left(metric.bounds, one.value): one for one in sample.exemplars}
    buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
    for at, (name, count) in enumerate(zip(names, map(float, accumulate(sample.value.counts)), strict=True)):
        one = traced.get(at)
        buckets.append((name, count) if one is None else (name, count, _shown(one)))
    return buckets


def _shown(one: core.Exemplar) -> Exemplar:
    return Exemplar({"trace_id": one.trace_id}, one.value, one.at)
