"""What an instance says of its work, and the rate that follows from its counters. Pure."""

from dataclasses import dataclass
from typing import Final

from switchboard_wire.v1 import frames_pb2 as pb

# Long enough for several heartbeats at the default pace, short enough that an autoscaler sees a step at its next look
RATE_WINDOW_S: Final = 10.0
# A heartbeat also comes at once when something happens: a rate over less is noise, and samples must stay few
SAMPLE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """One instance at its last heartbeat.

    cpu, memory, error_rate: 0 to 1.  messages, failures: since its sidecar started.  messages_per_second: over the
    last RATE_WINDOW_S, or what the sidecar says itself as long as it has spoken only once.
    """

    in_flight: int
    queued: int
    cpu: float
    memory: float
    error_rate: float
    latency_ms: float
    messages: int
    failures: int
    messages_per_second: float
    samples: tuple[tuple[float, int], ...]  # (when, messages), the oldest first

    @property
    def work(self) -> int:
        """Messages that it has and has not answered."""
        return self.in_flight + self.queued


def fold_load(former: Load | None, said: pb.Load, now: float) -> Load:
    """The load after a heartbeat; a counter that went back is a sidecar that began anew."""
    samples = former.samples if former is not None and former.messages <= said.messages else ()
    while len(samples) > 1 and now - samples[1][0] >= RATE_WINDOW_S:
        samples = samples[1:]
    if not samples or now - samples[-1][0] >= SAMPLE_S:
        samples = (*samples, (now, said.messages))
    since, messages = samples[0]
    rate = (said.messages - messages) / (now - since) if now - since >= SAMPLE_S else said.messages_per_second
    return Load(
        in_flight=said.in_flight,
        queued=said.queued,
        cpu=said.cpu,
        memory=said.memory,
        error_rate=said.error_rate,
        latency_ms=said.latency_ms,
        messages=said.messages,
        failures=said.failures,
        messages_per_second=rate,
        samples=samples,
    )
