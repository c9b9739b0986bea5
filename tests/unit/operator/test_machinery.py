"""The queue, the lease and the writer, without a server."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any, cast

import pytest
from operator_objects import CONTEXT, NOW, make_meta, make_node, make_snapshot

from switchboard_kube import AGENT_NODES, LEASES, SERVICE_ACCOUNTS, Conflict, Json, Unavailable
from switchboard_kube import Resource as KubeResource
from switchboard_kube.testing import FakeKube
from switchboard_operator.executing import Executor, Later
from switchboard_operator.lease import DURATION_S, RENEW_DEADLINE_S, Elector, NotLeading, Sighting, may_take, sight
from switchboard_operator.objects import Resource
from switchboard_operator.pacing import Key
from switchboard_operator.plan import Apply, plan_node
from switchboard_operator.posting import event_of, is_beginning, is_news
from switchboard_operator.reconciling import Reconciler
from switchboard_operator.registry import Registry
from switchboard_operator.working import Working
from switchboard_operator.workqueue import FEW, LONGEST_REST_S, LOOKS_PER_S, Lanes, WorkQueue
from switchboard_operator.writing import REMEMBERED_S, Writer
from switchboard_wire import names


def lease(holder: str, renewed: str = "r1") -> Json:
    return {"spec": {"holderIdentity": holder, "renewTime": renewed, "leaseTransitions": 3}}


def test_a_renewal_is_dated_by_when_it_was_seen_first() -> None:
    first = sight(lease("b"), None, 10.0)
    assert sight(lease("b"), first, 20.0).seen == 10.0
    assert sight(lease("b", "r2"), first, 20.0).seen == 20.0
    assert sight(lease("c"), first, 20.0).seen == 20.0


@pytest.mark.parametrize(
    ("holder", "age", "takes"),
    [
        pytest.param("", 0.0, True, id="nobody holds it"),
        pytest.param("me", 0.0, True, id="it is ours"),
        pytest.param("other", DURATION_S, False, id="its holder has time"),
        pytest.param("other", DURATION_S + 0.1, True, id="its holder is late"),
    ],
)
def test_who_may_take_the_lease(holder: str, age: float, takes: bool) -> None:
    assert may_take(Sighting(holder, "r", 0, seen=100.0), "me", 100.0 + age) == takes


async def test_of_two_replicas_one_leads_and_its_end_lets_the_other() -> None:
    kube, told = FakeKube(), list[tuple[str, bool]]()
    electors = [
        Elector(kube, "ns", name, lambda leads, name=name: told.append((name, leads)))  # type: ignore[misc]
        for name in ("a", "b")
    ]
    tasks = []
    for elector in electors:
        tasks.append(asyncio.create_task(elector.run(random.Random(1), lambda: NOW)))
        await asyncio.sleep(0)
    async with asyncio.timeout(60):
        while not any(elector.leads for elector in electors):
            await asyncio.sleep(0.01)
        leader = next(elector for elector in electors if elector.leads)
        other = next(elector for elector in electors if elector is not leader)
        with pytest.raises(NotLeading):
            other.check()
        task = tasks[electors.index(leader)]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not leader.leads
        while not other.leads:
            await asyncio.sleep(0.01)
    tasks[electors.index(other)].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    held = await kube.get(LEASES, "switchboard-operator", "ns")
    assert held["spec"]["holderIdentity"] == ""
    assert [leads for _, leads in told] == [True, False, True, False]


async def test_an_api_server_that_does_not_answer_makes_no_leader() -> None:
    kube = FakeKube()
    kube.failures += [Unavailable(503, "", "down")]
    elector = Elector(kube, "ns", "a", lambda leads: None)
    task = asyncio.create_task(elector.run(random.Random(1), lambda: NOW))
    while kube.failures:
        await asyncio.sleep(0)
    assert not elector.leads
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_leader_whose_own_late_renewal_makes_the_next_one_conflict_leads_on() -> None:
    kube, told = FakeKube(), list[bool]()
    elector = Elector(kube, "ns", "a", told.append)
    await elector._try_once("r1")
    update = kube.update

    async def overtaken(resource: KubeResource, manifest: Mapping[str, Any]) -> Json:
        kube.update = update  # type: ignore[method-assign]
        await update(resource, {**manifest, "spec": {**manifest["spec"], "renewTime": "late"}})
        return await update(resource, manifest)

    kube.update = overtaken  # type: ignore[method-assign]
    await elector._try_once("r2")
    await elector._try_once("r3")
    assert told == [True]
    held = await kube.get(LEASES, "switchboard-operator", "ns")
    await kube.update(LEASES, {**held, "spec": {**held["spec"], "holderIdentity": "b"}})
    await elector._try_once("r4")
    assert told == [True, False], "somebody else holds it"


async def test_a_leader_beyond_its_deadline_ends_at_a_conflict() -> None:
    kube, told = FakeKube(), list[bool]()
    elector = Elector(kube, "ns", "a", told.append)
    await elector._try_once("r1")
    elector._renewed -= RENEW_DEADLINE_S
    kube.failures += [Conflict(409, "Conflict", "the object has been modified")]
    await elector._try_once("r2")
    assert told == [True, False]


@pytest.fixture
def queue() -> WorkQueue[str]:
    made: WorkQueue[str] = WorkQueue(random.Random(1))
    made.release()
    return made


async def test_a_key_is_handed_out_once_however_often_it_was_added(queue: WorkQueue[str]) -> None:
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_that_is_worked_on_waits_until_it_is_done(queue: WorkQueue[str]) -> None:
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    queue.add("b")
    assert await queue.get() == "b", "which was added later"
    queue.done(key)
    assert await queue.get() == "a"


async def test_an_earlier_time_wins(queue: WorkQueue[str]) -> None:
    queue.add("a", 3600)
    queue.add("a", 0.01)
    queue.add("a", 3600)
    assert await asyncio.wait_for(queue.get(), 60) == "a"
    assert len(queue) == 0


async def test_a_thousand_keys_of_one_kind_keep_none_of_another_waiting() -> None:
    lanes: Lanes[str] = Lanes(("a", "b"), lambda key: key[0], random.Random(1))
    for number in range(1000):
        lanes.add(f"a{number}")
    lanes.add("b0")
    lanes.release()
    _, other = lanes.lanes()
    assert await other.get() == "b0"
    assert len(lanes) == 1000


async def test_few_keys_never_rest(queue: WorkQueue[str]) -> None:
    for key in [*map(str, range(FEW))] * 3:
        queue.add_gently(key)
        assert await asyncio.wait_for(queue.get(), 60) == key
        queue.done(key)


async def test_of_many_keys_one_looked_at_just_now_rests_unless_it_must_not(queue: WorkQueue[str]) -> None:
    many = FEW + int(LOOKS_PER_S * LONGEST_REST_S)
    for number in range(many):
        queue.add(str(number))
        queue.done(await queue.get())
    queue.add_gently("0")
    queue.add_gently("another")
    assert await asyncio.wait_for(queue.get(), 60) == "another", "it was not looked at"
    assert len(queue) == 1
    queue.add("0")
    assert await asyncio.wait_for(queue.get(), 60) == "0"


async def test_a_held_queue_hands_out_nothing(queue: WorkQueue[str]) -> None:
    queue.hold()
    queue.add("a")
    getting = asyncio.create_task(queue.get())
    for _ in range(3):  # of all that there is to do in the loop
        await asyncio.sleep(0)
    assert not getting.done()
    queue.release()
    assert await asyncio.wait_for(getting, 60) == "a"


@pytest.mark.parametrize("leads", [True, False])
async def test_a_standby_forgets_what_was_named_and_the_leader_names_everything(leads: bool) -> None:
    lanes: Lanes[Key] = Lanes((names.AGENT_NODE, names.AGENT), lambda key: key[0], random.Random(1))
    lanes.add((names.AGENT, "default", "gone"))

    class OneNode:
        async def look(self, _: object) -> list[Key]:
            return [(names.AGENT_NODE, "default", "there")]

    working = Working(lanes, cast(Reconciler, None), Registry(0.0), OneNode(), random.Random(1), lambda: leads)  # type: ignore[arg-type]
    await working.resync()
    assert len(lanes) == (2 if leads else 0)


async def test_failures_wait_longer_each_time_until_one_succeeds(queue: WorkQueue[str]) -> None:
    pauses = [queue.retry("a") for _ in range(12)]
    assert pauses[0] <= 0.25
    assert 30 <= pauses[-1] <= 60
    queue.succeeded("a")
    assert queue.retry("a") <= 0.25


def make_writer(kube: FakeKube, now: list[float]) -> Writer:
    return Writer(kube, lambda: None, lambda: now[0])


async def test_a_write_is_unseen_until_the_watch_shows_it_or_too_long_has_passed() -> None:
    kube, now = FakeKube((AGENT_NODES, {"metadata": {"name": "writers", "namespace": "ns"}, "spec": {}})), [0.0]
    writer = make_writer(kube, now)
    await writer.patch_status("AgentNode", "ns", "writers", {"replicas": 1})
    newest = kube.objects[(AGENT_NODES, "ns", "writers")]["metadata"]["resourceVersion"]
    assert writer.is_unseen("AgentNode", "ns", "writers", str(int(newest) - 1))
    assert not writer.is_unseen("AgentNode", "ns", "writers", newest)
    assert not writer.is_unseen("AgentNode", "ns", "writers", str(int(newest) - 1)), "it has been seen"
    await writer.patch_status("AgentNode", "ns", "writers", {"replicas": 2})
    now[0] += REMEMBERED_S + 1
    assert not writer.is_unseen("AgentNode", "ns", "writers", "1")


async def test_an_echo_is_known_unless_somebody_waits_for_it() -> None:
    node, now = ("AgentNode", "ns", "writers"), [0.0]
    kube = FakeKube((AGENT_NODES, {"metadata": {"name": "writers", "namespace": "ns"}, "spec": {}}))
    writer = make_writer(kube, now)
    assert writer.is_echo(node, "1") is False, "nothing was written"
    await writer.patch_status(*node, {"replicas": 1})
    newest = kube.objects[(AGENT_NODES, "ns", "writers")]["metadata"]["resourceVersion"]
    assert writer.is_echo(node, str(int(newest) + 1)) is False, "somebody has written since"
    assert writer.is_echo(node, newest) is True
    assert writer.is_echo(node, newest) is False, "what was shown is forgotten"
    await writer.patch_status(*node, {"replicas": 2})
    newest = kube.objects[(AGENT_NODES, "ns", "writers")]["metadata"]["resourceVersion"]
    assert writer.is_unseen(*node, "0"), "a look that has to wait"
    assert writer.is_echo(node, newest) is False


async def test_a_deployments_event_is_nobodys_echo_as_an_apply_may_have_changed_nothing() -> None:
    kube = FakeKube()
    writer = make_writer(kube, [0.0])
    answer = await writer.apply({"kind": "Deployment", "metadata": {"name": "writers", "namespace": "ns"}, "spec": {}})
    assert writer.is_echo(("Deployment", "ns", "writers"), answer["metadata"]["resourceVersion"]) is False


async def test_while_a_write_is_under_way_nobody_can_say_whose_an_event_is() -> None:
    node, seen = ("AgentNode", "ns", "writers"), []
    kube = FakeKube((AGENT_NODES, {"metadata": {"name": "writers", "namespace": "ns"}, "spec": {}}))
    writer = make_writer(kube, [0.0])
    patch_status = kube.patch_status

    async def slow(*given: Any) -> Any:
        seen.append(writer.is_echo(node, "2"))
        return await patch_status(*given)

    kube.patch_status = slow  # type: ignore[method-assign]
    await writer.patch_status(*node, {"replicas": 1})
    assert seen == [None]
    assert writer.is_echo(node, "0") is False


async def test_a_replica_that_does_not_lead_writes_nothing() -> None:
    def refuse() -> None:
        raise NotLeading

    kube = FakeKube()
    writer = Writer(kube, refuse, lambda: 0.0)
    with pytest.raises(NotLeading):
        await writer.apply({"kind": "Service", "metadata": {"name": "a", "namespace": "ns"}})
    assert kube.writes == []


async def test_a_child_that_exists_unseen_is_asked_for_before_it_is_applied() -> None:
    kube = FakeKube((SERVICE_ACCOUNTS, {"metadata": {"name": "writers", "namespace": "ns"}}))
    executor = Executor(make_writer(kube, [0.0]))
    plan = plan_node(make_snapshot(), CONTEXT)
    fault = await executor.run(plan, make_node(), 0.0)
    assert fault is not None
    assert fault.reason == "NameConflict"
    assert kube.writes == []


async def test_what_a_former_one_left_behind_is_waited_for() -> None:
    owner = {"kind": "AgentNode", "name": "writers", "uid": "uid-former", "controller": True}
    metadata = {"name": "writers", "namespace": "ns", "ownerReferences": [owner]}
    kube = FakeKube((SERVICE_ACCOUNTS, {"metadata": metadata}))
    action = plan_node(make_snapshot(), CONTEXT)[0]
    assert isinstance(action, Apply)
    with pytest.raises(Later):
        await Executor(make_writer(kube, [0.0])).run([action], make_node(), 0.0)


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        pytest.param("True", "Accepted", "Normal", id="good news"),
        pytest.param("False", "InvalidTemplate", "Warning", id="trouble"),
        pytest.param("False", "Creating", "Normal", id="a beginning"),
    ],
)
def test_events(status: str, reason: str, kind: str) -> None:
    condition = {"type": "Ready", "status": status, "reason": reason, "message": "x" * 3000}
    event = event_of(make_node(), condition, NOW, "operator-a")
    assert event["type"] == kind
    assert len(event["note"]) <= 1024
    assert event["regarding"]["uid"] == "uid-writers"


def told(kind: str, status: str, reason: str) -> Json:
    return {"type": kind, "status": status, "reason": reason}


@pytest.mark.parametrize(
    ("before", "after", "news"),
    [
        pytest.param(None, told("Accepted", "True", "Accepted"), False, id="acceptance is expected"),
        pytest.param(None, told("Ready", "False", "Creating"), False, id="a beginning"),
        pytest.param(None, told("Ready", "True", "Serving"), True, id="ready for the first time"),
        pytest.param(None, told("Accepted", "False", "NameConflict"), True, id="trouble from the start"),
        pytest.param(told("Ready", "True", "Serving"), told("Ready", "False", "NoReadyInstance"), True, id="a flip"),
        pytest.param(told("Ready", "True", "X"), told("Ready", "True", "Y"), False, id="another good reason"),
        pytest.param(
            told("Progressing", "True", "RollingOut"), told("Progressing", "False", "Complete"), False, id="an end"
        ),
        pytest.param(
            told("Progressing", "True", "RollingOut"), told("Progressing", "False", "Stalled"), True, id="a stall"
        ),
        pytest.param(
            told("Accepted", "False", "NameConflict"),
            told("Accepted", "False", "InvalidSpec"),
            True,
            id="other trouble",
        ),
        pytest.param(
            told("Accepted", "False", "NameConflict"), told("Accepted", "False", "NameConflict"), False, id="no news"
        ),
    ],
)
def test_what_is_news(before: Json | None, after: Json, news: bool) -> None:
    assert is_news(before, after) == news


@pytest.mark.parametrize(
    ("kind", "reason", "since", "beginning"),
    [
        pytest.param("Agent", "NoReadyInstance", "2026-11-01T00:00:01Z", True, id="an Agent that has just been made"),
        pytest.param("Agent", "NoReadyInstance", "2026-11-02T00:00:00Z", False, id="one that was ready before"),
        pytest.param("Agent", "HandlerFailed", "2026-11-01T00:00:01Z", False, id="one that was in trouble"),
        pytest.param("Agent", "NoReadyInstance", "", False, id="one whose times are unreadable"),
        pytest.param("AgentNode", "Creating", "2026-11-01T00:00:01Z", False, id="pools are few enough to be told of"),
    ],
)
def test_of_an_agent_s_first_readiness_no_event_tells(kind: str, reason: str, since: str, beginning: bool) -> None:
    made = Resource(kind, make_meta("a"), {}, {}, {})
    before = {"type": "Ready", "status": "False", "reason": reason, "lastTransitionTime": since}
    assert is_beginning(made, before, {"type": "Ready", "status": "True", "reason": "Serving"}) is beginning
    first = is_beginning(made, None, {"type": "Ready", "status": "True", "reason": "Serving"})
    assert first is (kind == "Agent"), "its first status says that it is ready"
    assert not is_beginning(made, before, before)


async def test_a_cancellation_that_comes_with_a_change_is_not_lost(queue: WorkQueue[str]) -> None:
    queue.add("a", 3600)
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0.01)  # it waits by now
    queue.release()
    getting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(getting, 60)
