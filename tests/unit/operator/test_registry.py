"""The registry by a clock that the test moves."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from operator_objects import NOW, make_pod, make_record

from switchboard_operator.demand import Demands
from switchboard_operator.instances import (
    LISTED_AGENTS,
    MAX_AGENT_MESSAGE,
    MAX_INSTANCES,
    MESSAGE_BUDGET,
    count_instances,
    observe_instances,
    tell_instances,
)
from switchboard_operator.objects import Pod
from switchboard_operator.registry import (
    DOUBT_HOLDS_S,
    DOUBT_LINGERS_S,
    HostedState,
    Patience,
    Pool,
    Record,
    Registry,
    fold,
    introduce,
    state_of,
)
from switchboard_operator.registry_server import Board, RegistryService
from switchboard_wire.internal_v1.registry_pb2 import Heartbeat, Report
from switchboard_wire.v1.frames_pb2 import HOSTED_FAILED, HOSTED_READY, Capacity, Hello, Hosted, HostedAgent, Load

POOL = ("ns", "writers")
HELLO = Hello(namespace="ns", node="writers", instance="a", pod_uid="u", capacity=Capacity(concurrency=16))
PATIENCE = Patience(degraded_s=6.0, down_s=10.0)


@pytest.mark.parametrize(
    ("record", "age", "state"),
    [
        pytest.param(make_record(ready=False), 0, "Starting", id="not ready yet"),
        pytest.param(make_record(), 5, "Up", id="ready"),
        pytest.param(make_record(draining=True), 0, "Draining", id="draining"),
        pytest.param(make_record(), 7, "Degraded", id="late"),
        pytest.param(make_record(draining=True), 7, "Draining", id="late while draining"),
        pytest.param(make_record(), 11, "Down", id="silent"),
        pytest.param(make_record(draining=True), 11, "Down", id="silent while draining"),
    ],
)
def test_a_record_ages(record: Record, age: float, state: str) -> None:
    assert state_of(record, PATIENCE, record.heard + age) == state


def test_a_heartbeat_replaces_what_was_said_before() -> None:
    record = introduce(Hello(namespace="ns", node="writers", instance="a", pod_uid="u", version="0.1.0"), 1.0)
    hosted = Hosted(
        generation=4,
        agents=[
            HostedAgent(name="b", type="t", state=HOSTED_FAILED, message="boom"),
            HostedAgent(type="a", state=HOSTED_READY),
        ],
    )
    record = fold(record, Heartbeat(ready=True, hosted=hosted, generation=3), 2.0)
    assert (record.ready, record.heard, record.generation) == (True, 2.0, 4)
    assert record.agents == (HostedState("a", "Ready", type="a"), HostedState("b", "Failed", "boom", "t"))
    assert fold(record, Heartbeat(ready=True), 3.0).agents == record.agents


def test_an_activity_is_told_only_once_it_has_lasted() -> None:
    record = make_record(heard=0.0)
    busy, idle = Heartbeat(load=Load(in_flight=1)), Heartbeat()
    for now in range(0, 29, 2):
        record = fold(record, busy, float(now))
    assert record.activity == "Idle"
    record = fold(fold(record, idle, 29.0), busy, 31.0)
    assert fold(record, busy, 60.0).activity == "Idle"
    assert fold(record, busy, 61.0).activity == "Busy"


def test_an_instance_is_saturated_by_the_concurrency_that_its_agentnode_says_now() -> None:
    registry = make_registry(introduce(HELLO, 0.0))

    def activity(in_flight: int, since: int) -> str:
        for now in range(since, since + 40, 2):
            record = registry.of(POOL)["u"]
            beat = Heartbeat(ready=True, load=Load(in_flight=in_flight))
            registry.put(fold(record, beat, float(now), registry.concurrency_of(record)))
        return registry.of(POOL)["u"].activity

    assert activity(16, 0) == "Saturated", "as it was introduced"
    registry.set_concurrency(POOL, 32)
    assert activity(16, 100) == "Busy"
    registry.set_concurrency(POOL, 2)
    assert activity(2, 200) == "Saturated"
    registry.set_concurrency(POOL, None)
    assert activity(2, 300) == "Busy", "of one that is gone nothing is kept"


async def test_a_heartbeat_is_judged_by_the_concurrency_that_its_agentnode_says_now() -> None:
    registry = make_registry(introduce(HELLO, 0.0))
    registry.set_concurrency(POOL, 2)

    async def reports() -> AsyncIterator[Report]:
        yield Report(heartbeat=Heartbeat(ready=True, load=Load(in_flight=2)))

    service = RegistryService(registry, Board(), Demands(), lambda _pool: None, "operator-a")
    await service._hear("u", reports())
    assert registry.of(POOL)["u"].next_activity == "Saturated"


def make_registry(*records: Record, started: float = -1000.0) -> Registry:
    registry = Registry(started=started)
    for record in records:
        registry.put(record)
    return registry


@pytest.mark.parametrize(
    ("silent", "talking", "doubtful"),
    [
        pytest.param(1, 3, False, id="one of four is lost"),
        pytest.param(2, 2, False, id="half are lost"),
        pytest.param(3, 1, True, id="most are lost"),
        pytest.param(2, 0, False, id="of two both may be lost"),
    ],
)
def test_the_brake(silent: int, talking: int, doubtful: bool) -> None:
    records = [make_record(f"s{number}", heard=0.0) for number in range(silent)]
    records += [make_record(f"t{number}", heard=100.0) for number in range(talking)]
    assert make_registry(*records).is_doubtful(101.0) == doubtful


def told(name: str = "writers-a", state: str = "Up", **fields: Any) -> dict[str, Any]:
    item = {"name": name, "podUID": f"uid-{name}", "state": state, "since": "earlier", "agents": [], **fields}
    return {"instances": [item]}


@pytest.mark.parametrize(
    ("pod", "before", "started", "state"),
    [
        pytest.param(make_pod(), {}, 0.0, "Starting", id="a new pod starts"),
        pytest.param(make_pod(deleting=True), {}, 0.0, "Draining", id="a pod that is deleted drains"),
        pytest.param(make_pod(), told(), 90.0, "Up", id="after a restart the former state holds"),
        pytest.param(make_pod(), told(), 0.0, "Down", id="who does not come back in time is lost"),
        pytest.param(make_pod(uid="another"), told(), 0.0, "Starting", id="another pod of the same name starts"),
    ],
)
def test_an_instance_that_was_not_heard(pod: Pod, before: dict[str, Any], started: float, state: str) -> None:
    [instance] = observe_instances([pod], {}, before, make_registry(started=started), 100.0)
    assert instance.state == state


def test_a_doubtful_silence_leaves_the_states_as_they_were() -> None:
    names = [f"w{number}" for number in range(4)]
    registry = make_registry(*(make_record(name, heard=0.0) for name in names))
    before = {"instances": [told(name)["instances"][0] for name in names]}
    instances = observe_instances([make_pod(name) for name in names], {}, before, registry, 60.0)
    assert {instance.state for instance in instances} == {"Up"}


class CountingRegistry(Registry):
    """Counts how often an instance is looked at."""

    looks = 0

    def patience(self, pool: Pool) -> Patience:
        self.looks += 1
        return super().patience(pool)


def test_a_look_at_silent_instances_looks_at_all_others_once_and_not_once_for_each() -> None:
    registry, silent = CountingRegistry(started=-1000.0), 50
    for number in range(1000):
        registry.put(make_record(f"w{number}", heard=0.0))
    observe_instances([make_pod(f"w{number}") for number in range(silent)], {}, {}, registry, 60.0)
    assert registry.looks <= 1000 + 3 * silent


def test_who_is_still_silent_when_most_are_heard_again_has_time_to_come_back() -> None:
    names = [f"w{number}" for number in range(4)]
    registry = make_registry(*(make_record(name, heard=0.0) for name in names))
    assert registry.is_doubtful(60.0)
    for name in names[1:]:
        registry.put(make_record(name, heard=60.0))

    def state_of_the_silent(now: float) -> str:
        return observe_instances([make_pod("w0")], {}, told("w0"), registry, now)[0].state

    assert state_of_the_silent(60.0 + DOUBT_HOLDS_S) == "Up"
    assert state_of_the_silent(60.0 + DOUBT_LINGERS_S) == "Down"


def test_the_unhealthy_and_the_newest_come_first_and_the_list_is_bounded() -> None:
    pods = [make_pod(f"w{n:03}", created=f"2026-11-01T00:{n // 60:02}:{n % 60:02}Z") for n in range(MAX_INSTANCES + 50)]
    registry = make_registry(*(make_record(pod.name, heard=100.0) for pod in pods))
    registry.put(make_record("w000", heard=89.0))
    instances = observe_instances(pods, {}, {}, registry, 100.0)
    listed = tell_instances(instances, {}, NOW)
    assert [item["name"] for item in listed[:2]] == ["w000", f"w{MAX_INSTANCES + 49:03}"]
    assert len(listed) == MAX_INSTANCES
    assert count_instances(instances) == {"up": 249, "starting": 0, "draining": 0, "degraded": 0, "down": 1}


def test_since_stays_while_the_state_does() -> None:
    registry = make_registry(make_record(heard=100.0))
    same = observe_instances([make_pod()], {}, told(), registry, 100.0)
    assert tell_instances(same, told(), NOW)[0]["since"] == "earlier"
    other = observe_instances([make_pod()], {}, told(state="Starting"), registry, 100.0)
    assert tell_instances(other, told(state="Starting"), NOW)[0]["since"] == NOW


def test_one_that_is_down_for_long_is_counted_but_not_listed() -> None:
    registry = make_registry(make_record(heard=0.0))
    instances = observe_instances([make_pod()], {}, told(), registry, 71.0)
    assert tell_instances(instances, told(), NOW) == []
    assert count_instances(instances)["down"] == 1


def test_messages_of_failed_agents_are_bounded_one_by_one_and_together() -> None:
    failed = tuple(HostedState(f"agent-{n}", "Failed", "x" * 5000) for n in range(64))
    names = [f"w{n}" for n in range(40)]
    registry = make_registry(*(make_record(name, heard=100.0, agents=failed) for name in names))
    listed = tell_instances(observe_instances([make_pod(n) for n in names], {}, {}, registry, 100.0), {}, NOW)
    messages = [agent.get("message", "") for item in listed for agent in item["agents"]]
    assert max(map(len, messages)) == MAX_AGENT_MESSAGE
    assert sum(map(len, messages)) <= MESSAGE_BUDGET


def test_a_large_pool_lists_a_share_of_its_agents_those_that_failed_first() -> None:
    agents = (*(HostedState(f"agent-{n:02}", "Ready") for n in range(60)), HostedState("late", "Failed", "boom"))
    names = [f"w{n}" for n in range(50)]
    registry = make_registry(*(make_record(name, heard=100.0, agents=agents) for name in names))
    listed = tell_instances(observe_instances([make_pod(n) for n in names], {}, {}, registry, 100.0), {}, NOW)
    assert {item["truncated"] for item in listed} == {True}
    assert {item["agents"][0]["name"] for item in listed} == {"late"}
    assert sum(len(item["agents"]) for item in listed) == LISTED_AGENTS


def test_an_instance_whose_agents_fit_lists_them_all() -> None:
    agents = tuple(HostedState(f"agent-{n:02}", "Ready") for n in range(60))
    registry = make_registry(make_record(heard=100.0, agents=agents))
    [entry] = tell_instances(observe_instances([make_pod()], {}, {}, registry, 100.0), {}, NOW)
    assert (len(entry["agents"]), entry["truncated"]) == (60, False)


def test_an_instance_not_heard_since_a_restart_is_known_to_host_more_than_was_listed() -> None:
    before = told(agents=[{"name": "a", "state": "Ready"}], truncated=True)
    instances = observe_instances([make_pod()], {}, before, make_registry(started=90.0), 100.0)
    assert instances[0].is_cut
    assert tell_instances(instances, before, NOW)[0]["truncated"]
    heard = make_registry(make_record(heard=100.0, agents=(HostedState("a", "Ready"),)), started=90.0)
    assert not observe_instances([make_pod()], {}, before, heard, 100.0)[0].is_cut


def test_zones_come_from_endpoints_before_labels() -> None:
    registry = make_registry()
    pod = make_pod(zone="by-label")
    assert observe_instances([pod], {pod.uid: "by-slice"}, {}, registry, 0.0)[0].zone == "by-slice"
    assert observe_instances([pod], {}, {}, registry, 0.0)[0].zone == "by-label"


def test_what_is_no_pod_any_more_is_forgotten_once_it_is_silent() -> None:
    registry = make_registry(make_record("kept", heard=0.0), make_record("gone", heard=0.0))
    registry.put(make_record("leaving", heard=99.0))
    assert registry.forget(100.0, ["uid-kept"]) == []  # with most silent, nothing is known for certain
    registry.put(make_record("leaving", heard=109.0))
    registry.put(make_record("another", heard=109.0))
    assert registry.forget(110.0, ["uid-kept"]) == ["uid-gone"]
    assert set(registry.of(("ns", "writers"))) == {"uid-kept", "uid-leaving", "uid-another"}


def test_signatures_change_with_what_status_would_tell_and_not_with_each_heartbeat() -> None:
    registry = make_registry(make_record(heard=100.0))
    [(_, _, before)] = registry.signatures(101.0)
    registry.put(make_record(heard=103.0))
    [(_, _, after)] = registry.signatures(103.0)
    assert before == after
    registry.put(dataclasses.replace(make_record(heard=104.0), draining=True))
    [(_, _, drained)] = registry.signatures(104.0)
    assert drained != after
