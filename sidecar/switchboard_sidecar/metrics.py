"""The sidecar's figures for Prometheus, read at scrape time: the message path only counts in plain integers.

(An `observe` of prometheus_client costs more than relaying the call that it measures.)
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from switchboard_sidecar.roster import Entry
from switchboard_wire.errors import name_of


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at everything that is exported."""

    entries: list[Entry]
    refused: dict[int, int]
    in_flight: int
    queued: int
    concurrency: int
    remembered: int
    outbound: int
    held: int
    links: int
    registries: int
    hosts: int
    draining: bool


def code_label(code: int) -> str:
    """`OK` or the error's name; as many values as the error table has rows."""
    return name_of(code) if code else "OK"


class SidecarCollector(Collector):
    """Exports `switchboard_sidecar_*`. Labels: agent (bounded by the assignments) and code; never a key."""

    def __init__(self, look: Callable[[], Figures]) -> None:
        self._look = look

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        figures = self._look()
        yield _calls(figures)
        yield _duplicates(figures.entries)
        yield _processing(figures.entries)
        yield from _gauges(figures)


def _calls(figures: Figures) -> Metric:
    calls = CounterMetricFamily(
        "switchboard_sidecar_calls", "Calls to agents of this instance that ended, by code.", labels=["agent", "code"]
    )
    for entry in figures.entries:
        for code, count in list(entry.codes.items()):
            calls.add_metric([entry.name, code_label(code)], count)
    for code, count in figures.refused.items():
        calls.add_metric(["", code_label(code)], count)
    return calls


def _duplicates(entries: Iterable[Entry]) -> Metric:
    found = CounterMetricFamily(
        "switchboard_sidecar_duplicates",
        "Calls that got the answer to another call with their idempotency key.",
        labels=["agent", "how"],
    )
    for entry in entries:
        for how, count in list(entry.duplicates.items()):
            found.add_metric([entry.name, how], count)
    return found


def _processing(entries: Iterable[Entry]) -> Metric:
    histogram = HistogramMetricFamily(
        "switchboard_sidecar_processing_seconds", "Time from handing a call to its host to its end.", labels=["agent"]
    )
    for entry in entries:
        histogram.add_metric([entry.name], entry.processing.buckets(), entry.processing.total)
    return histogram


def _gauges(figures: Figures) -> Iterator[Metric]:
    by_agent = GaugeMetricFamily(
        "switchboard_sidecar_agent_in_flight", "Calls inside each agent now.", labels=["agent"]
    )
    for entry in figures.entries:
        by_agent.add_metric([entry.name], entry.lane.in_flight)
    yield by_agent
    for name, text, value in (
        ("in_flight", "Calls inside the host now.", figures.in_flight),
        ("queued", "Calls that wait for a slot.", figures.queued),
        ("concurrency", "Calls that may be inside the host at once.", figures.concurrency),
        ("answers_remembered", "Answers kept for duplicates of their calls.", figures.remembered),
        ("outbound_in_flight", "Calls of this host under way to a gateway.", figures.outbound),
        ("outbound_held", "Calls of this host that wait for a gateway.", figures.held),
        ("links", "Gateway replicas linked now.", figures.links),
        ("registries", "Operator replicas that have registered this instance.", figures.registries),
        ("hosts", "Hosts connected to the socket.", figures.hosts),
        ("draining", "1 while the instance drains.", int(figures.draining)),
    ):
        yield GaugeMetricFamily(f"switchboard_sidecar_{name}", text, value=value)
