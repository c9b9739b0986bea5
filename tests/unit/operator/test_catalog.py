"""The registry as a table: found by every field of the query, with load, age and a score."""

from typing import Any

import pytest
from operator_objects import make_agent, make_meta, make_node, make_pod, make_record

from switchboard_operator.catalog import MAX_ROWS, Catalog, Pool, World, build_catalog
from switchboard_operator.load import fold_load
from switchboard_operator.registry import HostedState, Registry
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1.instances_pb2 import InstanceQuery

NOW = 100.0


def catalog(**load: Any) -> Catalog:
    """Two pools: `writers` with one instance up and one that has not spoken, `readers` with a degraded one."""
    registry = Registry(started=0.0)
    said = fold_load(None, pb.Load(**load), NOW)
    registry.put(make_record("writers-a", heard=99.5, load=said))
    registered = HostedState("scribble", "Ready", type="scribble", capabilities=("write",))
    registry.put(make_record("readers-a", heard=93.0, pool=("ns", "readers"), load=said, agents=(registered,)))
    writers = Pool(
        make_node(concurrency=2, queueLength=0),
        (make_pod("writers-a"), make_pod("writers-b", ready=False)),
        {"uid-writers-a": "zone-1"},
    )
    readers = Pool(make_node("readers"), (make_pod("readers-a", zone="zone-2"),), {})
    agent = make_agent(type="summary", capabilities=[{"name": "summarize"}])
    return build_catalog(World((writers, readers), {("ns", "summarizer"): agent}), registry, NOW)


def found(table: Catalog, **query: Any) -> list[str]:
    return [report.name for report in table.find(InstanceQuery(**query)).instances]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        pytest.param({}, ["readers-a", "writers-a", "writers-b"], id="everything"),
        pytest.param({"namespace": "ns"}, ["readers-a", "writers-a", "writers-b"], id="namespace"),
        pytest.param({"namespace": "other"}, [], id="another namespace"),
        pytest.param({"node": "writers"}, ["writers-a", "writers-b"], id="AgentNode"),
        pytest.param({"type": "summary"}, ["writers-a"], id="type of a declared Agent, not its name"),
        pytest.param({"type": "scribble"}, ["readers-a"], id="type that code registered"),
        pytest.param({"capability": "summarize"}, ["writers-a"], id="declared capability"),
        pytest.param({"capability": "write"}, ["readers-a"], id="registered capability"),
        pytest.param({"zone": "zone-1"}, ["writers-a"], id="zone by EndpointSlice"),
        pytest.param({"zone": "zone-2"}, ["readers-a"], id="zone by pod"),
        pytest.param({"state": "Starting"}, ["writers-b"], id="state"),
        pytest.param({"node": "writers", "state": "Up"}, ["writers-a"], id="two fields together"),
        pytest.param({"node": "readers", "state": "Up"}, [], id="two fields that exclude each other"),
    ],
)
def test_instances_are_found_by_every_field(query: dict[str, Any], names: list[str]) -> None:
    assert found(catalog(), **query) == names


def test_an_instance_tells_its_work_and_how_fresh_that_is() -> None:
    [report] = catalog(in_flight=1, queued=2, messages=40).find(InstanceQuery(state="Up")).instances
    assert (report.load.in_flight, report.load.queued, report.load.messages, report.age_ms) == (1, 2, 40, 500)
    assert (report.capacity.concurrency, report.zone) == (2, "zone-1")
    [silent] = catalog().find(InstanceQuery(state="Starting")).instances
    assert not silent.HasField("load")


def test_the_score_falls_with_load_and_is_nothing_for_what_serves_nothing() -> None:
    def score(state: str = "Up", **load: Any) -> float:
        [report] = catalog(**load).find(InstanceQuery(state=state)).instances
        return report.score

    assert score() == 1.0
    assert score(cpu=0.5) == 0.5
    assert score(in_flight=2) == 0.1, "it is full"
    assert score("Starting") == 0.0


def test_an_answer_is_bounded_and_says_how_many_there_are() -> None:
    registry = Registry(started=0.0)
    pods = tuple(make_pod(f"writers-{number:04}") for number in range(MAX_ROWS + 3))
    table = build_catalog(World((Pool(make_node(), pods, {}),), {}), registry, NOW)
    everything, few = table.find(InstanceQuery(limit=9999)), table.find(InstanceQuery(limit=2))
    assert (len(everything.instances), everything.total) == (MAX_ROWS, MAX_ROWS + 3)
    assert (len(few.instances), few.total) == (2, MAX_ROWS + 3)
    assert len(everything.SerializeToString()) < 1 << 20


def test_the_largest_answer_fits_one_grpc_message() -> None:
    registry = Registry(started=0.0)
    agents = tuple(HostedState(f"agent-{number:02}-{'x' * 40}", "Ready") for number in range(20))
    pods = tuple(make_pod(f"writers-{number:04}") for number in range(MAX_ROWS))
    for pod in pods:
        registry.put(make_record(pod.name, heard=NOW, agents=agents, load=fold_load(None, pb.Load(), NOW)))
    node = make_node(meta=make_meta("writers"))
    table = build_catalog(World((Pool(node, pods, {}),), {}), registry, NOW)
    assert len(table.find(InstanceQuery()).SerializeToString()) < 1 << 20
