"""Counters and histograms for the message path, exported to Prometheus when it asks.

prometheus_client's own `labels().observe()` takes a lock and over a microsecond; a call may cost ten in all. These are
plain integers, owned by one event loop, and read by the exporter's thread, for which a torn read is harmless.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

# Agents answer in a millisecond or in minutes
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

Labels = tuple[str, ...]


class Histogram:
    """Counts of values per bucket; `SECONDS` are the upper bounds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(SECONDS, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts, as the exposition format has them."""
        bounds = [str(bound) for bound in SECONDS] + ["+Inf"]
        running = 0
        found: list[tuple[str, float]] = []
        for bound, count in zip(bounds, self.counts, strict=True):
            running += count
            found.append((bound, float(running)))
        return found


class Counters:
    """One metric with labels: label values → a number that only grows (or, as a gauge, is set)."""

    __slots__ = ("help", "labels", "name", "values")

    def __init__(self, name: str, help_: str, labels: Labels) -> None:
        self.name, self.help, self.labels = name, help_, labels
        self.values: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1) -> None:
        self.values[labels] = self.values.get(labels, 0) + amount

    def set(self, labels: Labels, value: float) -> None:
        self.values[labels] = value


class MessageMetrics(Collector):
    """What a component exports of its message path.

    counters and gauges: by name; histograms: (name, help, label names) with a histogram per label values.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._counters: list[Counters] = []
        self._gauges: list[Counters] = []
        self._histograms: list[tuple[str, str, Labels, dict[Labels, Histogram]]] = []
        registry.register(self)

    def counter(self, name: str, help_: str, *labels: str) -> Counters:
        made = Counters(name, help_, labels)
        self._counters.append(made)
        return made

    def gauge(self, name: str, help_: str, *labels: str) -> Counters:
        made = Counters(name, help_, labels)
        self._gauges.append(made)
        return made

    def histogram(self, name: str, help_: str, *labels: str) -> dict[Labels, Histogram]:
        """A mapping that the owner fills: label values → Histogram."""
        made: dict[Labels, Histogram] = {}
        self._histograms.append((name, help_, labels, made))
        return made

    def collect(self) -> Iterable[Metric]:
        yield from self._simple(self._counters, CounterMetricFamily)
        yield from self._simple(self._gauges, GaugeMetricFamily)
        for name, help_, labels, found in self._histograms:
            family = HistogramMetricFamily(name, help_, labels=labels)
            for values, histogram in list(found.items()):
                family.add_metric(values, histogram.buckets(), histogram.total)
            yield family

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are known only when something was counted."""
        return ()

    @staticmethod
    def _simple(
        found: list[Counters], family_of: type[CounterMetricFamily] | type[GaugeMetricFamily]
    ) -> Iterator[Metric]:
        for counters in found:
            family = family_of(counters.name, counters.help, labels=counters.labels)
            for values, value in list(counters.values.items()):
                family.add_metric(values, value)
            yield family
