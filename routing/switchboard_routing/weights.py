"""What an instance's load makes of its weight."""

from dataclasses import dataclass
from typing import Final

# A new instance gets its full share after this time: until then its caches are cold and its code is not warm
SLOW_START_S: Final = 10.0
# of its share, at the beginning: enough to warm up by
SLOW_START_FROM: Final = 0.1


@dataclass(frozen=True, slots=True)
class Report:
    """What an instance says of itself. cpu, memory: share of the limit, 0 to 1; error_rate: 0 to 1."""

    cpu: float = 0.0
    memory: float = 0.0
    latency_ms: float = 0.0
    error_rate: float = 0.0


def dynamic_weight(weight: int, report: Report | None, *, available: bool) -> int:
    """The weight by load, at least 1: max(1, int(weight × perf × health)). Without a report both are a half."""
    if report is None:
        return max(1, int(weight * 0.5 * 0.5))
    perf = max(0.1, 1 - report.cpu) * max(0.1, 1 - report.memory) * max(0.1, 1 / (1 + report.latency_ms / 1000))
    health = max(0.1, 1 - report.error_rate) * (1.0 if available else 0.1)
    return max(1, int(weight * perf * health))


def warmth(age_s: float) -> float:
    """Share of its load that an instance gets at this age: it grows from a tenth to all of it."""
    return min(1.0, SLOW_START_FROM + (1 - SLOW_START_FROM) * max(0.0, age_s) / SLOW_START_S)
