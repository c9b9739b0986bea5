"""Agents that only some may call: by type, key, capability and topic, and by other agents' pods."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from gateway_memory import FakeInstance, echo, make_core, opening, policy, turns

from switchboard_gateway.core import Core
from switchboard_routing.policy import Capability, Subscription
from switchboard_wire.calls import Payload, call_unary
from switchboard_wire.errors import PermissionDenied
from switchboard_wire.v1 import frames_pb2 as pb

BOT = "spiffe://cluster.local/ns/team/sa/bot"
OTHERS = "spiffe://cluster.local/ns/others/sa/*"


@dataclass
class Team:
    """Agents `open`, `ours` (the bot may call it) and `theirs` (it may not), all with one topic and one capability."""

    core: Core
    instance: FakeInstance
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def called(self) -> list[str]:
        return [frame.open.agent for frame in self.instance.opened]

    async def call(self, target: pb.Target, principal: str = BOT) -> pb.Frame:
        return await call_unary(
            self.core.attach_local("test"), pb.Open(target=target, principal=principal), Payload(b"x")
        )


@pytest.fixture
async def team() -> Team:
    return await make_team(open={}, ours={"allowed_callers": (BOT,)}, theirs={"allowed_callers": (OTHERS,)})


async def make_team(**agents: dict[str, Any]) -> Team:
    core = make_core()
    shared = {"capabilities": (Capability("sum", "1.0.0"),), "topics": (Subscription("news"),)}
    core.set_directory([policy(**({"name": name, "type": name} | shared | more)) for name, more in agents.items()])
    instance = FakeInstance(core, "pod", echo, agents=tuple(agents))
    await turns()
    return Team(core, instance, agents)


def refusals(core: Core) -> dict[tuple[str, ...], float]:
    return core.metrics.refusals.values


@pytest.mark.parametrize("key", ["", "user-1"], ids=["type", "type and key"])
async def test_a_caller_is_refused_by_an_agent_that_does_not_name_it(team: Team, key: str) -> None:
    for name in ("open", "ours"):
        await team.call(pb.Target(type=name, key=key))
    with pytest.raises(PermissionDenied) as caught:
        await team.call(pb.Target(type="theirs", key=key))
    assert str(caught.value).endswith(
        f"{BOT} may not call Agent 'theirs' in namespace 'default': its spec.allowedCallers has no such id"
    )
    assert team.called == ["open", "ours"]
    assert refusals(team.core) == {("policy", "PERMISSION_DENIED"): 1}


async def test_where_nothing_proves_who_calls_everybody_is_refused(team: Team) -> None:
    await team.call(pb.Target(type="open"), principal="")
    with pytest.raises(PermissionDenied, match=r"set gateway\.auth to kubernetes .* tls\.enabled"):
        await team.call(pb.Target(type="ours"), principal="")
    assert team.called == ["open"]


async def test_a_capability_is_answered_by_those_that_take_the_caller() -> None:
    team = await make_team(a={"allowed_callers": (OTHERS,), "weight": 1000}, b={"allowed_callers": (BOT,), "weight": 1})
    for _ in range(20):
        await team.call(pb.Target(capability="sum"))
    assert set(team.called) == {"b"}


async def test_of_a_types_versions_those_answer_that_take_the_caller() -> None:
    old = {"type": "echo", "version": "1.0.0", "weight": 1000, "allowed_callers": (OTHERS,)}
    team = await make_team(old=old, new={"type": "echo", "version": "2.0.0", "weight": 1})
    for _ in range(20):
        await team.call(pb.Target(type="echo"))
    assert set(team.called) == {"new"}


async def test_a_capability_is_refused_when_none_takes_the_caller() -> None:
    team = await make_team(a={"allowed_callers": (OTHERS,)}, b={"allowed_callers": (OTHERS,)})
    with pytest.raises(PermissionDenied, match="may not call Agent"):
        await team.call(pb.Target(capability="sum"))
    assert team.called == []


async def test_of_a_topics_receivers_those_that_do_not_take_the_caller_are_told(team: Team) -> None:
    close = await team.call(pb.Target(topic="news"))
    told = {entry["agent"]: entry.get("error", {}).get("code", "ok") for entry in json.loads(close.data)}
    assert told == {"open": "ok", "ours": "ok", "theirs": "PERMISSION_DENIED"}
    assert sorted(team.called) == ["open", "ours"]
    assert refusals(team.core) == {("policy", "PERMISSION_DENIED"): 1}


async def test_of_a_topics_versions_the_one_that_takes_the_caller_gets_the_copy() -> None:
    team = await make_team(
        old={"type": "echo", "version": "1.0.0", "weight": 1000, "allowed_callers": (OTHERS,)},
        new={"type": "echo", "version": "2.0.0", "weight": 1, "allowed_callers": (BOT,)},
    )
    for _ in range(10):
        await team.call(pb.Target(topic="news"))
    assert set(team.called) == {"new"}


async def test_all_instances_of_an_agent_refuse_a_caller_that_it_does_not_name(team: Team) -> None:
    close = await team.call(pb.Target(type="theirs", all_instances=True))
    (entry,) = json.loads(close.data)
    assert (entry["instance"], entry["error"]["code"]) == ("pod", "PERMISSION_DENIED")
    assert team.called == []


async def test_an_instance_is_held_to_the_list_under_the_name_that_its_link_has_proved(team: Team) -> None:
    caller = FakeInstance(team.core, "caller", echo, agents=("helper",), node="other")
    await turns()
    # What it says of itself counts for nothing: this link has shown no token
    with pytest.raises(PermissionDenied, match="nothing proves"):
        await call_unary(caller.peer, opening("ours", principal=BOT), Payload(b"x"))
    link = caller.far.events
    link.instance.principal = BOT  # type: ignore[attr-defined]
    await call_unary(caller.peer, opening("ours"), Payload(b"x"))
    with pytest.raises(PermissionDenied, match="may not call Agent 'theirs'"):
        await call_unary(caller.peer, opening("theirs"), Payload(b"x"))
    assert team.called == ["ours"]


async def test_a_list_that_changes_counts_for_the_next_call(team: Team) -> None:
    await team.call(pb.Target(type="ours"))
    team.core.set_directory([policy(name="ours", type="ours", allowed_callers=(OTHERS,))])
    with pytest.raises(PermissionDenied):
        await team.call(pb.Target(type="ours"))
