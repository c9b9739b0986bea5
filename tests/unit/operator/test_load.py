"""Rates from the counters that sidecars send."""

import pytest

from switchboard_operator.load import RATE_WINDOW_S, Load, fold_load
from switchboard_operator.registry import fold, introduce
from switchboard_wire.internal_v1.registry_pb2 import Heartbeat
from switchboard_wire.v1 import frames_pb2 as pb


def heard(*said: tuple[float, int], own_rate: float = 0.0) -> Load:
    """The load after heartbeats at these times with these counters."""
    load: Load | None = None
    for now, messages in said:
        load = fold_load(load, pb.Load(messages=messages, messages_per_second=own_rate), now)
    assert load is not None
    return load


@pytest.mark.parametrize(
    ("said", "rate"),
    [
        pytest.param([(0.0, 100)], 7.0, id="one heartbeat: what the sidecar says itself"),
        pytest.param([(0.0, 0), (0.2, 50)], 7.0, id="too short a time to tell"),
        pytest.param([(0.0, 100), (2.0, 120)], 10.0, id="two heartbeats"),
        pytest.param([(t * 2.0, t * 20) for t in range(20)], 10.0, id="steady"),
        pytest.param([(t * 2.0, 0) for t in range(20)] + [(40.0, 100)], 10.0, id="a step spreads over the window"),
        pytest.param([(0.0, 900), (2.0, 5)], 7.0, id="a sidecar that began anew"),
        pytest.param([(0.0, 0), (60.0, 600)], 10.0, id="silent for longer than the window"),
    ],
)
def test_the_rate_is_that_of_the_window(said: list[tuple[float, int]], rate: float) -> None:
    assert heard(*said, own_rate=7.0).messages_per_second == pytest.approx(rate, rel=0.25)


def test_heartbeats_in_quick_succession_need_no_more_memory() -> None:
    load = heard(*((number / 100, number) for number in range(5000)))
    assert len(load.samples) <= RATE_WINDOW_S + 2
    assert load.messages_per_second == pytest.approx(100, rel=0.01)


def test_a_heartbeat_carries_the_load_into_the_record() -> None:
    record = introduce(pb.Hello(namespace="ns", node="writers", instance="a", pod_uid="u"), 1.0)
    assert record.load is None
    record = fold(record, Heartbeat(load=pb.Load(in_flight=3, queued=2)), 2.0)
    assert record.load is not None
    assert (record.load.in_flight, record.load.queued) == (3, 2)


def test_what_is_hosted_is_read_anew_only_when_it_is_said_anew() -> None:
    record = introduce(pb.Hello(namespace="ns", node="writers", instance="a", pod_uid="u"), 1.0)
    loading = pb.Hosted(generation=1, agents=[pb.HostedAgent(name="a", state=pb.HOSTED_LOADING)])
    ready = pb.Hosted(generation=1, agents=[pb.HostedAgent(name="a", state=pb.HOSTED_READY)])
    first = fold(record, Heartbeat(hosted=loading), 2.0)
    same = fold(first, Heartbeat(hosted=pb.Hosted.FromString(loading.SerializeToString())), 3.0)
    assert same.agents is first.agents
    assert fold(same, Heartbeat(), 4.0).agents is first.agents
    assert [agent.state for agent in fold(same, Heartbeat(hosted=ready), 5.0).agents] == ["Ready"]
