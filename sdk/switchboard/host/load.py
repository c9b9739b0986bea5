"""How busy the host's container is: only it can see its own cgroup, so it tells the sidecar with each ping."""

from collections.abc import Callable

from switchboard_runtime.usage import Usage, cpu_share, read_usage
from switchboard_wire.v1 import frames_pb2 as pb


class HostLoad:
    """Call it for each ping: CPU since the last call, memory now. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float], read: Callable[[], Usage] = read_usage) -> None:
        self._clock = clock
        self._read = read
        self._last = (clock(), read())

    def __call__(self) -> pb.Load:
        before, self._last = self._last, (self._clock(), self._read())
        elapsed_s = self._last[0] - before[0]
        cpu = cpu_share(before[1], self._last[1], elapsed_s) if elapsed_s > 0 else 0.0
        return pb.Load(cpu=cpu, memory=min(self._last[1].memory, 1.0))
