"""What became of calls, one by one, and the figures that follow from it. Pure."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

OK = "OK"
# The answer was another call's
WRONG = "WRONG_ANSWER"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One call that has ended. sent_s: on this machine's monotonic clock, which all its processes share.

    code: OK, a code of the error table, or WRONG_ANSWER. delivered: NO, MAYBE or YES of an error. late_s: how much
    later than planned it was sent; what is large there tells of this machine, not of the product.
    """

    sent_s: float
    latency_s: float
    late_s: float
    code: str
    delivered: str
    instance: str

    @property
    def ended_s(self) -> float:
        return self.sent_s + self.latency_s

    def to_line(self) -> str:
        return (
            f"{self.sent_s:.6f} {self.latency_s:.6f} {self.late_s:.6f} {self.code} {self.delivered or '-'} "
            f"{self.instance or '-'}\n"
        )


def parse_line(line: str) -> Outcome:
    """What `to_line` wrote."""
    sent, latency, late, code, delivered, instance = line.split()
    empty_or = {"-": ""}
    return Outcome(
        float(sent),
        float(latency),
        float(late),
        code,
        empty_or.get(delivered, delivered),
        empty_or.get(instance, instance),
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """Of some calls. gap_s: the longest time in which no call was answered. failed: by "CODE delivered=…"."""

    calls: int
    answered: int
    failed: Counter[str] = field(default_factory=Counter)
    by_instance: Counter[str] = field(default_factory=Counter)
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    gap_s: float = 0.0
    late_p99_ms: float = 0.0
    per_s: float = 0.0

    def share(self, instance: str) -> float:
        """The part of the answers that came from an instance."""
        return self.by_instance[instance] / self.answered if self.answered else 0.0


def figures_of(outcomes: Iterable[Outcome]) -> Figures:
    """The figures of these calls."""
    calls = sorted(outcomes, key=lambda outcome: outcome.sent_s)
    answered = [call for call in calls if call.code == OK]
    latencies = sorted(call.latency_s for call in answered)
    span_s = calls[-1].sent_s - calls[0].sent_s if len(calls) > 1 else 0.0
    return Figures(
        calls=len(calls),
        answered=len(answered),
        failed=Counter(f"{call.code} delivered={call.delivered}" for call in calls if call.code != OK),
        by_instance=Counter(call.instance for call in answered),
        p50_ms=percentile(latencies, 0.5) * 1000,
        p99_ms=percentile(latencies, 0.99) * 1000,
        max_ms=(latencies[-1] if latencies else 0.0) * 1000,
        gap_s=longest_gap(sorted(call.ended_s for call in answered)),
        late_p99_ms=percentile(sorted(call.late_s for call in calls), 0.99) * 1000,
        per_s=(len(calls) - 1) / span_s if span_s else 0.0,
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the ordered ones lies; 0 of nothing."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def longest_gap(ordered: Sequence[float]) -> float:
    """The longest distance of neighbours."""
    return max((after - before for before, after in itertools.pairwise(ordered)), default=0.0)
