"""How busy this instance is: CPU and memory as a share of their limit, messages, errors, latency.

The host's own figures count when it sends them (each container sees only its own cgroup); else this container's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from switchboard_runtime.usage import Usage, cpu_share
from switchboard_wire.v1 import frames_pb2 as pb

SAMPLE_S: Final = 1.0
# Weight of the newest second in the rates: about the last five seconds count
_RATE_WEIGHT: Final = 0.2


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages and failures since the start, processing time of the messages in seconds."""

    messages: int
    failures: int
    seconds: float


class LoadMeter:
    """Turns counts and usage into a `Load`. Call `sample` about once a second, `host_said` with each ping's load."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: tuple[float, Counts, Usage] | None = None
        self._host: tuple[float, float, float] | None = None  # (when, cpu, memory)
        self._load = pb.Load()

    def host_said(self, load: pb.Load) -> None:
        if load.cpu or load.memory:
            self._host = (self._clock(), load.cpu, load.memory)

    def sample(self, counts: Counts, usage: Usage) -> None:
        """Fold in one more second."""
        now = self._clock()
        last, self._last = self._last, (now, counts, usage)
        load = self._load
        load.messages, load.failures = counts.messages, counts.failures
        load.cpu, load.memory = 0.0, min(usage.memory, 1.0)
        if last is not None and now > last[0]:
            elapsed = now - last[0]
            load.cpu = cpu_share(last[2], usage, elapsed)
            self._fold(elapsed, counts, last[1])
        if self._host is not None and now - self._host[0] < 5 * SAMPLE_S:
            load.cpu, load.memory = self._host[1:]

    def _fold(self, elapsed: float, counts: Counts, before: Counts) -> None:
        load = self._load
        messages = counts.messages - before.messages
        load.messages_per_second += (messages / elapsed - load.messages_per_second) * _RATE_WEIGHT
        if messages > 0:
            rate = min((counts.failures - before.failures) / messages, 1.0)
            load.error_rate += (rate - load.error_rate) * _RATE_WEIGHT
            latency = (counts.seconds - before.seconds) / messages * 1000
            load.latency_ms += (latency - load.latency_ms) * _RATE_WEIGHT

    def load(self, in_flight: int, queued: int) -> pb.Load:
        """The latest sample with these counts of this moment."""
        load = pb.Load()
        load.CopyFrom(self._load)
        load.in_flight, load.queued = in_flight, queued
        return load
