"""Who is let in, and when a stream has to end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from identity_fakes import NOW, TokenOf, gateway_slice, key_set, pod_slice

from switchboard_identity import gatekeeper
from switchboard_identity.gatekeeper import CheckRules, Gatekeeper
from switchboard_identity.identities import Admission, Refused
from switchboard_identity.keys import KeyCache, KeyedTokens, KeysUnavailable
from switchboard_identity.membership import Membership, members_of
from switchboard_identity.tokens import KeySet
from switchboard_wire.v1 import frames_pb2 as pb

HOME = "switchboard-system"
POD, OTHER = ("writers-1", "uid-1", "10.0.0.1"), ("readers-1", "uid-2", "10.0.0.2")
PEER = "10.0.0.1"
GOOD = TokenOf()


@dataclass
class Gate:
    """A gatekeeper with what it asks."""

    keys: KeySet | None
    membership: Membership
    keeper: Gatekeeper
    now: float = NOW
    fetches: int = 0

    async def admit(self, token: TokenOf = GOOD, peer: str = PEER) -> Admission:
        return await self.keeper.admit(token.sign(), peer)


@pytest.fixture
async def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.setattr(gatekeeper, "LISTING_WAIT_S", 0.02)
    monkeypatch.setattr(gatekeeper, "GONE_S", 0.01)
    monkeypatch.setattr("switchboard_identity.keys.MIN_PAUSE_S", 0.0)

    async def fetch() -> KeySet:
        made.fetches += 1
        if made.keys is None:
            raise KeysUnavailable("no API server")
        return made.keys

    membership = Membership()
    slices = [pod_slice("writers", POD), pod_slice("readers", OTHER), gateway_slice(("g", "uid-g", "10.0.0.9"))]
    membership.update(members_of(slices, HOME))
    wall: Callable[[], float] = lambda: made.now  # noqa: E731
    keeper = Gatekeeper(KeyedTokens(KeyCache(fetch), wall), membership, CheckRules(), wall)
    made = Gate(key_set("key-1"), membership, keeper)
    return made


async def refusal(gate: Gate, token: TokenOf = GOOD, peer: str = PEER) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        await gate.admit(token, peer)
    return refused.value.code, refused.value.message


async def test_a_pod_of_an_agent_node_is_let_in_under_its_name(gate: Gate) -> None:
    admission = await gate.admit()
    assert admission.member is not None
    assert (admission.member.namespace, admission.member.node) == ("team", "writers")
    assert admission.spiffe_id == "spiffe://cluster.local/ns/team/sa/writers"
    assert not admission.revoked.done()


async def test_no_token_is_refused(gate: Gate) -> None:
    with pytest.raises(Refused, match="carries none") as refused:
        await gate.keeper.admit("", PEER)
    assert refused.value.code == pb.UNAUTHENTICATED


async def test_a_pod_of_no_agent_node_is_refused(gate: Gate) -> None:
    code, text = await refusal(gate, replace(GOOD, pod="debug", pod_uid="uid-9"))
    assert (code, "no EndpointSlice" in text) == (pb.PERMISSION_DENIED, True)


async def test_a_pod_listed_in_another_namespace_is_refused(gate: Gate) -> None:
    assert (await refusal(gate, replace(GOOD, namespace="other")))[0] == pb.PERMISSION_DENIED


async def test_a_stolen_token_is_refused_from_another_address(gate: Gate) -> None:
    code, text = await refusal(gate, peer="10.0.0.66")
    assert (code, "10.0.0.66" in text) == (pb.PERMISSION_DENIED, True)


async def test_addresses_are_not_looked_at_where_the_network_translates_them(gate: Gate) -> None:
    async def fetch() -> KeySet:
        return key_set("key-1")

    tokens = KeyedTokens(KeyCache(fetch), lambda: NOW)
    keeper = Gatekeeper(tokens, gate.membership, CheckRules(check_source=False), lambda: NOW)
    assert await keeper.admit(GOOD.sign(), "10.0.0.66")


async def test_a_second_stream_of_a_pod_is_refused_and_the_first_lives_on(gate: Gate) -> None:
    first = await gate.admit()
    code, text = await refusal(gate)
    assert (code, "already" in text) == (pb.PERMISSION_DENIED, True)
    assert not first.revoked.done()
    gate.keeper.release(first)
    assert await gate.admit()


async def test_a_stream_ends_when_its_pod_is_gone(gate: Gate) -> None:
    first = await gate.admit()
    second = await gate.admit(replace(GOOD, pod="readers-1", pod_uid="uid-2"), "10.0.0.2")
    gate.membership.update(members_of([pod_slice("readers", OTHER)], HOME))
    async with asyncio.timeout(60):
        assert "its pod" in await first.revoked
    assert not second.revoked.done()


async def test_a_pod_that_moves_from_slice_to_slice_keeps_its_stream(gate: Gate) -> None:
    first = await gate.admit()
    gone = await gate.admit(replace(GOOD, pod="readers-1", pod_uid="uid-2"), "10.0.0.2")
    gate.membership.update({})
    gate.membership.update(members_of([pod_slice("writers", POD)], HOME))
    async with asyncio.timeout(60):
        await gone.revoked  # by the same look at who is listed
    assert not first.revoked.done()


async def test_each_pod_has_the_whole_time_to_be_back(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatekeeper, "GONE_S", 0.2)
    gone = await gate.admit(replace(GOOD, pod="readers-1", pod_uid="uid-2"), "10.0.0.2")
    first = await gate.admit()
    gate.membership.update(members_of([pod_slice("writers", POD)], HOME))
    monkeypatch.setattr(gatekeeper, "GONE_S", 60.0)
    gate.membership.update({})  # the other moves between slices when the time of the first is over
    async with asyncio.timeout(60):
        await gone.revoked
    await asyncio.sleep(0)
    assert not first.revoked.done()
    gate.membership.update(members_of([pod_slice("writers", POD)], HOME))
    gate.keeper.release(gone)
    assert not gate.keeper._missing


async def test_a_pod_that_is_back_in_time_and_missing_again_has_the_whole_time_again(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gatekeeper, "GONE_S", 0.05)
    first = await gate.admit()
    gate.membership.update({})
    gate.membership.update(members_of([pod_slice("writers", POD)], HOME))
    monkeypatch.setattr(gatekeeper, "GONE_S", 60.0)
    gate.membership.update({})
    await asyncio.sleep(0.1)
    assert not first.revoked.done()
    gate.keeper.release(first)
    assert not gate.keeper._missing


async def test_a_stream_ends_with_its_token(gate: Gate) -> None:
    admission = await gate.admit(replace(GOOD, expires=NOW - 29.99))
    async with asyncio.timeout(60):
        assert "expired" in await admission.revoked


async def test_a_fresh_token_lets_a_stream_live_on(gate: Gate) -> None:
    admission = await gate.admit(replace(GOOD, expires=NOW - 20))
    await gate.keeper.renew(admission, GOOD.sign())
    assert admission.expiry is not None
    assert admission.expiry.when() - asyncio.get_running_loop().time() > 60, "it ends with the former token"


async def test_a_clock_that_jumps_ends_no_stream_and_admits_again_when_it_is_right(gate: Gate) -> None:
    first = await gate.admit()
    for wrong in (1e6, -1e6):
        gate.now = NOW + wrong
        code, _ = await refusal(gate, replace(GOOD, pod="readers-1", pod_uid="uid-2"), "10.0.0.2")
        assert code == pb.UNAUTHENTICATED
    gate.now = NOW
    await gate.admit(replace(GOOD, pod="readers-1", pod_uid="uid-2"), "10.0.0.2")
    assert not first.revoked.done()


async def test_a_fresh_token_must_be_the_same_pods(gate: Gate) -> None:
    admission = await gate.admit()
    with pytest.raises(Refused, match="another pod"):
        await gate.keeper.renew(admission, replace(GOOD, pod_uid="uid-2").sign())


async def test_new_keys_are_asked_for_when_a_token_names_one(gate: Gate) -> None:
    await gate.admit()
    gate.keys = key_set("key-1", "key-2")
    assert await gate.admit(replace(GOOD, key="key-2", pod="readers-1", pod_uid="uid-2"), "10.0.0.2")
    assert gate.fetches == 2


async def test_known_keys_count_while_no_api_server_answers(gate: Gate) -> None:
    first = await gate.admit()
    gate.keeper.release(first)
    gate.keys = None
    assert await gate.admit()
    code, _ = await refusal(gate, replace(GOOD, key="key-2"))
    assert code == pb.UNAUTHENTICATED


async def test_without_any_keys_the_other_end_is_to_try_again(gate: Gate) -> None:
    gate.keys = None
    assert (await refusal(gate))[0] == pb.NODE_UNAVAILABLE


@pytest.mark.parametrize(
    ("hello", "fault"),
    [
        (pb.Hello(namespace="team", node="writers", instance="writers-1", pod_uid="uid-1"), ""),
        (pb.Hello(), ""),
        (pb.Hello(node="readers"), "node is not its own"),
        (pb.Hello(namespace="other"), "namespace is not its own"),
        (pb.Hello(instance="writers-2"), "instance is not its own"),
        (pb.Hello(pod_uid="uid-2"), "pod_uid is not its own"),
    ],
)
async def test_a_hello_must_not_contradict_its_token(gate: Gate, hello: pb.Hello, fault: str) -> None:
    assert (await gate.admit()).fault_of(hello) == fault
