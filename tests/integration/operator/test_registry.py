"""The Registry over real gRPC: what sidecars say becomes status, what Agents say becomes assignments."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc.aio
import pytest
from fake_sidecar import Sidecar, pods_of
from faulty_api import faulty_api
from operator_process import OperatorProcess, StartOperator, agent, agent_node, condition, eventually

from switchboard_kube import AGENT_NODES, AGENTS, LEASES, Json, Kube, Selector
from switchboard_wire.names import REGISTRY_QUERY_METHOD
from switchboard_wire.v1.frames_pb2 import HOSTED_FAILED, HOSTED_READY, Hosted, HostedAgent, Load
from switchboard_wire.v1.instances_pb2 import InstanceList, InstanceQuery

pytestmark = pytest.mark.integration

PATIENT = {"intervalSeconds": 1, "missedUntilDegraded": 2, "missedUntilDown": 4}
DOWN_MS = 4000
Ask = Callable[[InstanceQuery], Awaitable[InstanceList]]


def states(node: Json) -> dict[str, str]:
    """State by instance."""
    return {item["name"]: item["state"] for item in (node.get("status") or {}).get("instances") or ()}


@contextlib.asynccontextmanager
async def asking(operator: OperatorProcess) -> AsyncIterator[Ask]:
    """Questions for instances, as a gateway asks them."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{operator.registry_port}") as channel:
        call = channel.unary_unary(REGISTRY_QUERY_METHOD, InstanceQuery.SerializeToString, InstanceList.FromString)

        async def ask(query: InstanceQuery) -> InstanceList:
            answer: InstanceList = await call(query, wait_for_ready=True)
            return answer

        yield ask


@pytest.fixture
async def sidecars(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> AsyncIterator[tuple[OperatorProcess, list[Sidecar]]]:
    """An operator, an AgentNode of four pods with an Agent, and who speaks for the pods."""
    operator = start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=4, heartbeat=PATIENT))
    await kube.create(AGENTS, agent(namespace, "summarizer", nodeRef={"name": "writers"}))
    speakers = [Sidecar(pod, "writers") for pod in await pods_of(kube, namespace, 4)]
    for speaker in speakers:
        speaker.speak(operator.registry_port)
    yield operator, speakers
    for speaker in speakers:
        await speaker.fall_silent()


async def test_instances_come_up_degrade_and_recover(
    kube: Kube, namespace: str, sidecars: tuple[OperatorProcess, list[Sidecar]]
) -> None:
    operator, speakers = sidecars
    node = await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace),
        lambda held: list(states(held).values()) == ["Up"] * 4,
        "four instances up",
    )
    assert node["status"]["counts"]["up"] == 4
    assert node["status"]["instances"][0]["version"] == "0.1.0"

    lost = speakers[0]
    await lost.fall_silent()
    await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace), lambda held: states(held)[lost.name] == "Down", "Down"
    )
    lost.speak(operator.registry_port)
    await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace), lambda held: states(held)[lost.name] == "Up", "Up again"
    )
    speakers[1].beat.draining = True
    await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace),
        lambda held: states(held)[speakers[1].name] == "Draining",
        "Draining",
    )


async def test_a_silence_of_most_is_taken_for_a_fault_of_this_side(
    kube: Kube, namespace: str, sidecars: tuple[OperatorProcess, list[Sidecar]]
) -> None:
    operator, speakers = sidecars
    await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace), lambda held: list(states(held).values()) == ["Up"] * 4
    )
    await asyncio.gather(*(speaker.fall_silent() for speaker in speakers))
    async with asking(operator) as ask:

        async def silence_ms() -> int:
            answer = await ask(InstanceQuery(namespace=namespace, node="writers"))
            return min(one.age_ms for one in answer.instances)

        await eventually(silence_ms, lambda least: least > DOWN_MS, "each to be silent for as long as makes one Down")
    # What it knows of them by now is in the status that it writes after an edit
    await kube.patch(AGENT_NODES, "writers", namespace, {"spec": {"concurrency": 3}})
    node = await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace),
        lambda held: held["status"]["observedGeneration"] == held["metadata"]["generation"],
        "a status after the edit",
    )
    assert list(states(node).values()) == ["Up"] * 4


async def test_no_question_is_answered_while_pods_are_listed_though_there_may_be_none(
    namespace: str, server: Path, tmp_path: Path, start_operator: StartOperator
) -> None:
    async with faulty_api(server, tmp_path) as api:
        api.held = (f"/api/v1/namespaces/{namespace}/pods",)
        operator = start_operator(KUBECONFIG=str(api.kubeconfig))

        async def waiting() -> int:
            return api.waiting

        async with asking(operator) as ask:

            async def refusal() -> str:
                try:
                    await ask(InstanceQuery(namespace=namespace))
                except grpc.aio.AioRpcError as error:
                    return f"{error.code().name}: {error.details()}"
                return ""

            await eventually(waiting, what="the listing of the pods")
            assert await refusal() == "UNAVAILABLE: the watches are listing"
            api.held = ()
            await eventually(refusal, lambda why: not why, "an answer")


async def test_assignments_arrive_and_the_agents_state_is_told(
    kube: Kube, namespace: str, sidecars: tuple[OperatorProcess, list[Sidecar]]
) -> None:
    _, speakers = sidecars

    async def told() -> list[str]:
        found = [d.assignments for d in speakers[0].heard if d.HasField("assignments")]
        return [assignment.name for assignment in found[-1].agents] if found else []

    await eventually(told, lambda names: names == ["summarizer"], "the assignment")
    assert speakers[0].heard[0].registered.heartbeat_interval_ms == 1000
    for speaker in speakers[:3]:
        speaker.beat.hosted.CopyFrom(Hosted(agents=[HostedAgent(name="summarizer", state=HOSTED_READY)]))
    failure = HostedAgent(name="summarizer", state=HOSTED_FAILED, message="ImportError: no module named app")
    speakers[3].beat.hosted.CopyFrom(Hosted(agents=[failure]))
    summarizer = await eventually(
        lambda: kube.get(AGENTS, "summarizer", namespace),
        lambda held: (held.get("status") or {}).get("readyInstances") == 3,
        "three ready instances",
    )
    assert condition(summarizer, "Ready")["status"] == "True"
    assert "ImportError" in condition(summarizer, "Ready")["message"]
    for speaker in speakers:
        speaker.beat.hosted.CopyFrom(Hosted(agents=[failure]))
    summarizer = await eventually(
        lambda: kube.get(AGENTS, "summarizer", namespace),
        lambda held: condition(held, "Ready").get("reason") == "HandlerFailed",
        "the failure",
    )
    assert "ImportError" in condition(summarizer, "Ready")["message"]

    await kube.create(AGENTS, agent(namespace, "translator", nodeRef={"name": "writers"}))
    await eventually(told, lambda names: names == ["summarizer", "translator"], "the second assignment")


async def test_a_new_leader_tells_no_transition_that_did_not_happen(
    kube: Kube, namespace: str, start_operator: StartOperator, sidecars: tuple[OperatorProcess, list[Sidecar]]
) -> None:
    leader, speakers = sidecars
    await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace), lambda held: list(states(held).values()) == ["Up"] * 4
    )
    seen: set[str] = set()
    watcher = asyncio.create_task(_note_states(kube, namespace, seen))
    leader.kill()
    restarted = start_operator("operator-b")
    for speaker in speakers:  # a sidecar has a stream to each replica, whether or not it leads
        await speaker.fall_silent()
        speaker.speak(restarted.registry_port)
    await eventually(
        lambda: kube.get(LEASES, "switchboard-operator", namespace),
        lambda lease: lease["spec"].get("holderIdentity") == "operator-b",
        "the new leader",
    )
    await kube.patch(AGENT_NODES, "writers", namespace, {"spec": {"weight": 50}})
    await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace),
        lambda held: held["status"]["observedGeneration"] == held["metadata"]["generation"],
        "the work of the new leader",
    )
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    assert seen == {"Up"}


async def _note_states(kube: Kube, namespace: str, seen: set[str]) -> None:
    async for event in kube.watch(AGENT_NODES, Selector(namespace)):
        seen.update(states(event.object).values())


async def test_a_report_without_an_identity_is_refused(start_operator: StartOperator) -> None:
    operator = start_operator()
    nameless = Sidecar({"metadata": {"name": "", "namespace": "x", "uid": "u"}}, "writers")
    nameless.speak(operator.registry_port)

    async def refusal() -> str:
        return nameless.heard[0].refused.message if nameless.heard else ""

    assert "instance" in await eventually(refusal)
    await nameless.fall_silent()


async def test_the_query_api_tells_live_load_by_any_field(
    kube: Kube, namespace: str, sidecars: tuple[OperatorProcess, list[Sidecar]]
) -> None:
    operator, speakers = sidecars
    busy = speakers[2]
    busy.beat.load.CopyFrom(Load(in_flight=3, queued=1, messages=10, cpu=0.5))
    busy.beat.hosted.CopyFrom(Hosted(agents=[HostedAgent(name="summarizer", type="summarizer", state=HOSTED_READY)]))
    async with asking(operator) as ask:
        of_type = InstanceQuery(namespace=namespace, type="summarizer", state="Up")
        found = await eventually(
            lambda: ask(of_type), lambda answer: answer.total == 1 and answer.instances[0].HasField("load")
        )
        [report] = found.instances
        assert (report.name, report.node, report.load.in_flight, report.load.queued) == (busy.name, "writers", 3, 1)
        assert (report.score, found.operator) == (0.5, "operator-a")
        assert report.age_ms < 60_000

        of_pool = InstanceQuery(namespace=namespace, node="writers")
        await eventually(lambda: ask(of_pool), lambda answer: answer.total == 4, "all of the pool")
