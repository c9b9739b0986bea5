"""What the host tells of its container."""

from switchboard.host.load import HostLoad
from switchboard_runtime.usage import Usage


def test_cpu_is_the_share_since_the_last_ping_and_memory_that_of_now() -> None:
    times = iter([0.0, 2.0, 3.0, 3.0])
    usages = iter([Usage(1.0, 2, 0.1), Usage(3.0, 2, 0.2), Usage(9.0, 2, 1.5), Usage(9.0, 2, 0.3)])
    load = HostLoad(lambda: next(times), lambda: next(usages))
    told = [load() for _ in range(3)]
    assert [(round(each.cpu, 3), round(each.memory, 3)) for each in told] == [(0.5, 0.2), (1.0, 1.0), (0.0, 0.3)]
