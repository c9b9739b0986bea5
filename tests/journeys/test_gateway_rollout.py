"""Every gateway pod is replaced while clients call, over sessions and over new connections, and no call fails."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from journey import require_no_failure
from live.gateway import Rest
from live.release import NAMESPACE as SYSTEM
from live.traffic import Load
from pools import echo_pool

ROLLOUT_S = 240
JOIN_S = 90


def test_the_gateway_is_replaced_without_a_failed_message(journey):
    if journey.gateway.http.startswith("127.0.0.1:"):
        pytest.skip("a port-forward goes with the pod that it leads to")
    journey.apply(*echo_pool(journey.namespace, replicas=2))
    journey.await_ready(nodes=("echo",), agents=("echo",))

    with (
        journey.traffic(Load("echo", "hello", senders=4, per_second=40)) as tally,
        rest_traffic(journey.rest) as statuses,
    ):
        tally.wait_for(40)
        for words in (("restart",), ("status", f"--timeout={ROLLOUT_S}s")):
            command = ("rollout", words[0], "deployment/switchboard-gateway", "-n", SYSTEM, *words[1:])
            journey.kubectl(*command, timeout_s=ROLLOUT_S + 10)
        tally.wait_for(40)

    require_no_failure(tally)
    assert set(statuses) == {200}, f"REST answered {dict(statuses)}"
    assert journey.client.request("echo", "still there", namespace=journey.namespace).value == "still there"


@contextmanager
def rest_traffic(rest: Rest) -> Iterator[Counter[int]]:
    """POST while open, each call on a connection of its own; counts the statuses, an exception as 0."""
    statuses: Counter[int] = Counter()
    stopped = threading.Event()

    def send() -> None:
        while not stopped.wait(0.05):
            try:
                statuses[rest.execute("agents/echo", "hello").status] += 1
            except OSError:
                statuses[0] += 1

    thread = threading.Thread(target=send, name="rest", daemon=True)
    thread.start()
    try:
        yield statuses
    finally:
        stopped.set()
        thread.join(JOIN_S)
