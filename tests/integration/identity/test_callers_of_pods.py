"""An Agent of a real API server that names its callers, called by a pod over a link that its own token began."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from operator_process import eventually
from real_pods import gateway_on, own_address, token_of

from switchboard_kube import AGENTS, Json, Kube, connect
from switchboard_wire import names
from switchboard_wire.calls import Payload, call_unary
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.limits import PROTOCOL
from switchboard_wire.peer import Peer
from switchboard_wire.sockets import SocketPeer, dial_tcp, run_socket
from switchboard_wire.v1 import frames_pb2 as pb

pytestmark = pytest.mark.integration

AGENT = "summarizer"


class Pod:
    """The pod's end of its link: it hosts the agent, which says who called, and it calls."""

    def __init__(self) -> None:
        self.greeted = asyncio.Event()

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        peer.send(pb.Frame(kind=pb.CLOSE, call=frame.call, data=frame.open.principal.encode()))

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        if frame.kind == pb.HELLO:
            self.greeted.set()

    def on_lost(self, peer: Peer) -> None:
        pass


@contextlib.asynccontextmanager
async def linked(address: str, token: str) -> AsyncIterator[Peer]:
    """The link of the pod that the token is of, once the gateway has let it in."""
    pod = Pod()
    peer = SocketPeer(pod, dialled=True)
    hosted = pb.Hosted(agents=[pb.HostedAgent(name=AGENT, type=AGENT, state=pb.HOSTED_READY)])
    hello = pb.Hello(protocol_min=PROTOCOL, protocol_max=PROTOCOL, token=token, hosted=hosted)
    peer.send(pb.Frame(kind=pb.HELLO, hello=hello))
    await dial_tcp(address, names.LINK_SERVICE, peer, None)
    running = asyncio.create_task(run_socket(peer))
    try:
        async with asyncio.timeout(60):
            await pod.greeted.wait()
        yield peer
    finally:
        peer.end("done")
        await asyncio.gather(running, return_exceptions=True)


async def test_a_pod_is_held_to_the_list_by_its_token(
    kube: Kube, namespace: str, server: Path, pod: Json, tmp_path: Path
) -> None:
    own = f"spiffe://cluster.local/ns/{namespace}/sa/writers"

    async def allow(*callers: str) -> None:
        await kube.patch(AGENTS, AGENT, namespace, {"spec": {"allowedCallers": list(callers)}})

    async def call() -> str:
        opened = pb.Open(target=pb.Target(type=AGENT), principal="user:admin")
        try:
            return (await call_unary(peer, opened, Payload(b"x"))).data.decode()
        except SwitchboardError as error:
            return f"{error.code}: {error}"

    async with (
        connect(kubeconfig=str(server)) as api,
        gateway_on(api, namespace, own_address()) as gateway,
        linked(gateway.address, await token_of(kube, pod)) as peer,
    ):
        await eventually(call, lambda answer: answer == own, "an answer while everybody may call")
        await allow(f"spiffe://cluster.local/ns/{namespace}/sa/readers", "user:*")
        refused = await eventually(call, lambda answer: answer != own, "a refusal")
        assert refused.startswith("PERMISSION_DENIED")
        assert f"{own} may not call Agent '{AGENT}' in namespace '{namespace}'" in refused
        await allow("spiffe://cluster.local/ns/*/sa/writers")
        await eventually(call, lambda answer: answer == own, "an answer to who is named")
