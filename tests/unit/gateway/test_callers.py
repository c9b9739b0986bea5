"""Who calls, as an instance is told: what was proved, and nothing that the caller says of itself."""

from gateway_memory import FakeInstance, echo, make_core, opening, turns

from switchboard_gateway.core import Core
from switchboard_gateway.session_events import Session
from switchboard_wire.calls import Payload, call_unary
from switchboard_wire.peer import Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb

ADMIN = "spiffe://cluster.local/ns/default/sa/admin"


class _Client:
    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        raise AssertionError("nobody calls a client")

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        pass

    def on_lost(self, peer: Peer) -> None:
        pass


async def told(core: Core, caller: Peer) -> tuple[str, str]:
    """The principal and the tenant that an instance hears of a call that claims both."""
    instance = FakeInstance(core, "callee", echo)
    await turns()
    await call_unary(caller, opening(principal=ADMIN, tenant="acme"), Payload(b"x"))
    return instance.opened[-1].open.principal, instance.opened[-1].open.tenant


async def test_a_client_on_a_session_is_nobody_whatever_it_says() -> None:
    core = make_core()
    near, _ = local_pair(_Client(), Session(core, "default"), "a client")
    assert await told(core, near) == ("", "")


async def test_an_instance_that_showed_no_token_is_nobody_whatever_it_says() -> None:
    core = make_core(nodes=frozenset({"pool"}))
    caller = FakeInstance(core, "caller", echo, node="other")
    await turns()
    assert await told(core, caller.peer) == ("", "")
