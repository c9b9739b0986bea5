"""What lists say of Agents, and what a watcher is told."""

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from switchboard_gateway.changes import Changes
from switchboard_gateway.core import Core
from switchboard_gateway.instances import Instance
from switchboard_gateway.listing import Listing, describe_type
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.rest.reads import describe_agent
from switchboard_gateway.watching import MAX_PART, MAX_WATCHERS, Teller, Watches
from switchboard_routing.policy import AgentPolicy, HedgingPolicy, Subscription
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.peer import Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1 import gateway_pb2 as api

Key = tuple[str, str]


class Silence:
    """Both ends of a link on which nothing happens."""

    def on_open(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_control(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_lost(self, peer: Peer) -> None: ...


@pytest.fixture
async def core() -> Core:
    made = Core("default", GatewayMetrics.create(CollectorRegistry()))
    made.set_directory([AgentPolicy("default", "echo", "echo", nodes=frozenset({"pool"}))])
    return made


def join(core: Core, name: str, state: int, *, node: str = "pool", zone: str = "a", draining: bool = False) -> Instance:
    near, _ = local_pair(Silence(), Silence())
    hosted = pb.HostedAgent(name="echo", type="echo", state=pb.HostedState.ValueType(state), message="why")
    instance = Instance(peer=near, namespace="default", node=node, name=name, zone=zone, draining=draining)
    instance.all_hosted = (hosted,)
    instance.hosted = frozenset({"echo"} if state == pb.HOSTED_READY else ())
    core.add_instance(instance)
    return instance


def state_of(core: Core) -> str:
    [summary] = Listing(core.table).find(api.ListAgentsRequest(), "default").values()
    return summary.state


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], "Offline"),
        ([pb.HOSTED_FAILED], "Failed"),
        ([pb.HOSTED_FAILED, pb.HOSTED_LOADING], "Loading"),
        ([pb.HOSTED_FAILED, pb.HOSTED_LOADING, pb.HOSTED_READY], "Ready"),
    ],
)
async def test_an_agent_is_in_the_best_state_of_its_instances(core: Core, states: list[int], expected: str) -> None:
    for number, state in enumerate(states):
        join(core, f"pod-{number}", state)
    assert state_of(core) == expected


async def test_an_instance_that_drains_answers_for_nobody_and_is_told_as_draining(core: Core) -> None:
    join(core, "pod", pb.HOSTED_READY, draining=True)
    assert state_of(core) == "Draining"
    [agent] = describe_type(core, "default", "echo").agents
    assert [(one.name, one.state) for one in agent.instances] == [("pod", "Draining")]


async def test_an_instance_of_a_pool_to_which_the_agent_is_not_bound_is_not_told(core: Core) -> None:
    join(core, "stranger", pb.HOSTED_READY, node="other")
    assert state_of(core) == "Offline"
    assert [list(agent.instances) for agent in describe_type(core, "default", "echo").agents] == [[]]


async def test_an_agent_is_told_with_its_topics_its_attempts_and_its_hedging(core: Core) -> None:
    topics = (Subscription("news"), Subscription("orders.", prefix=True))
    hedged = AgentPolicy("default", "echo", "echo", topics=topics, hedging=HedgingPolicy(0.08, 3))
    core.set_directory([hedged, AgentPolicy("default", "plain", "plain")])
    [agent] = describe_type(core, "default", "echo").agents
    assert [(one.topic, one.prefix) for one in agent.topics] == [("news", False), ("orders.", True)]
    assert (agent.attempts, agent.hedging.delay_ms, agent.hedging.attempts) == (3, 80, 3)
    [plain] = describe_type(core, "default", "plain").agents
    assert not plain.HasField("hedging")
    assert (describe_agent(agent)["hedging"], "hedging" in describe_agent(plain)) == (
        {"delayMs": 80, "attempts": 3},
        False,
    )
    assert describe_agent(agent)["topics"] == [
        {"type": "news", "match": "Exact"},
        {"type": "orders.", "match": "Prefix"},
    ]


async def test_a_list_is_made_anew_only_when_something_has_changed(core: Core) -> None:
    listing, request = Listing(core.table), api.ListAgentsRequest()
    [before] = listing.find(request, "default").values()
    [again] = listing.find(request, "default").values()
    join(core, "pod", pb.HOSTED_READY)
    [after] = listing.find(request, "default").values()
    assert again is before
    assert (before.instances_ready, after.instances_ready) == (0, 1)


async def test_a_waiter_hears_of_a_change_that_came_before_it_waited() -> None:
    changes = Changes()
    seen = changes.version
    changes.note()
    async with asyncio.timeout(60):
        assert await changes.wait(seen) == seen + 1


async def test_watches_are_bounded_and_an_ended_one_makes_room(core: Core) -> None:
    watches = Watches(core, Listing(core.table))
    opened = [watches.updates(api.ListAgentsRequest()) for _ in range(MAX_WATCHERS)]
    for one in opened:
        await anext(one)
    with pytest.raises(SwitchboardError, match="watches are open"):
        await anext(watches.updates(api.ListAgentsRequest()))
    await opened[0].aclose()
    assert (await anext(watches.updates(api.ListAgentsRequest()))).complete
    for one in opened:
        await one.aclose()


_names = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 3))


@given(st.lists(_names, min_size=1))
def test_what_a_watcher_makes_of_its_updates_is_the_list(states: list[dict[str, int]]) -> None:
    teller, known = Teller(), dict[Key, api.AgentSummary]()
    for number, state in enumerate(states):
        newest = {
            ("ns", name): api.AgentSummary(name=name, namespace="ns", instances_ready=n) for name, n in state.items()
        }
        updates = teller.tell(newest)
        assert bool(updates) == (number == 0 or known != newest), "only news is told, and the first list always"
        assert [update.complete for update in updates] == [False] * (len(updates) - 1) + [True] * bool(updates)
        for update in updates:
            apply(known, update)
        assert known == newest


def apply(known: dict[Key, api.AgentSummary], update: api.AgentsUpdate) -> None:
    known.update({(agent.namespace, agent.name): agent for agent in update.changed})
    for gone in update.removed:
        del known[gone.namespace, gone.name]


def test_a_long_list_comes_in_parts_of_which_the_last_is_complete() -> None:
    many: Mapping[Key, api.AgentSummary] = {
        ("ns", str(n)): api.AgentSummary(name=str(n)) for n in range(2 * MAX_PART + 1)
    }
    parts = Teller().tell(many)
    assert [len(part.changed) for part in parts] == [MAX_PART, MAX_PART, 1]
    assert [part.complete for part in parts] == [False, False, True]


async def test_an_agent_is_told_with_the_callers_that_it_takes(core: Core) -> None:
    bots = "spiffe://cluster.local/ns/web/sa/*"
    core.set_directory([AgentPolicy("default", "echo", "echo", allowed_callers=(bots, "user:jane"))])
    [agent] = describe_type(core, "default", "echo").agents
    assert describe_agent(agent)["allowedCallers"] == [bots, "user:jane"]
