"""What is fuzzed: functions that take any bytes and raise nothing but what their callers expect."""

import asyncio
import contextlib
from collections.abc import Callable

from prometheus_client import CollectorRegistry
from sidecar_ends import assignment
from sidecar_memory import Bench

from switchboard_gateway.core import Core
from switchboard_gateway.links import Link
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.peers import PeerLink, Peers, Self
from switchboard_gateway.rest.json_body import read_execution, read_object
from switchboard_gateway.rest.request_headers import apply_headers, read_metadata, wants_events
from switchboard_gateway.session_events import Session
from switchboard_routing.policy import AgentPolicy
from switchboard_routing.versions import parse_range, parse_version
from switchboard_wire.agent_id import parse_agent_id
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.peer import Peer, PeerEvents, ProtocolError
from switchboard_wire.sockets import receive_batches
from switchboard_wire.v1 import frames_pb2 as pb

Target = Callable[[bytes], None]


def _gateway() -> tuple[Core, Peers]:
    core = Core("default", GatewayMetrics.create(CollectorRegistry()))
    core.set_directory([AgentPolicy(namespace="default", name="echo", type="echo", nodes=frozenset({"pool"}))])
    pod = Peer(Link(core), dialled=False)
    hosted = pb.Hosted(agents=[pb.HostedAgent(name="echo", type="echo", state=pb.HOSTED_READY)])
    hello = pb.Hello(namespace="default", node="pool", instance="pod", pod_uid="pod", hosted=hosted)
    pod.dispatch(pb.Frame(kind=pb.HELLO, hello=hello))
    return core, Peers(core, Self("a"))


async def _feed(core: Core, events: PeerEvents, data: bytes) -> None:
    """Give a new stream some batches, each after its length, then lose it: no call may be left."""
    peer = Peer(events, dialled=False)
    with contextlib.suppress(ProtocolError):
        receive_batches(peer, data)
    peer.lose("the input is over")
    await asyncio.sleep(0)
    while core.active:  # a copy to many ends by its task
        await asyncio.sleep(0.001)
    assert not peer.calls


def session(data: bytes) -> None:
    """A client's session at the gateway."""

    async def run() -> None:
        core, _ = _gateway()
        await _feed(core, Session(core, "default"), data)

    asyncio.run(run())


def link(data: bytes) -> None:
    """A stranger's link at the gateway."""

    async def run() -> None:
        core, peers = _gateway()
        await _feed(core, Link(core, peers=peers), data)

    asyncio.run(run())


def gateway_link(data: bytes) -> None:
    """Another gateway's link."""

    async def run() -> None:
        core, peers = _gateway()
        await _feed(core, PeerLink(peers), data)

    asyncio.run(run())


def host(data: bytes) -> None:
    """A host's stream at the sidecar, with a call of the gateway's under way."""

    async def run() -> None:
        bench = Bench(assignment("a"))
        number = bench.open("a")
        with contextlib.suppress(ProtocolError):
            receive_batches(bench.host, data)
        bench.link.dispatch(pb.Frame(kind=pb.CANCEL, call=number))
        bench.host.lose("the input is over")
        bench.link.lose("the input is over")
        assert (bench.deliverer.busy, bench.outbound.in_flight, bench.outbound.held) == (0, 0, 0)

    asyncio.run(run())


def json_body(data: bytes) -> None:
    """The JSON body of a REST call."""
    for read in (read_execution, read_object):
        with contextlib.suppress(SwitchboardError):
            read(data)


def headers(data: bytes) -> None:
    """The headers of a REST call, one per line."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    pairs = [(name, value) for name, _, value in (line.partition(":") for line in lines)]
    with contextlib.suppress(SwitchboardError):
        apply_headers(dict(pairs), pb.Open())
    with contextlib.suppress(SwitchboardError):
        pb.Open(headers=read_metadata(pairs))
    wants_events(lines[0])


def names(data: bytes) -> None:
    """What a path or a query can name: an agent id, a version, a range of versions."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(SwitchboardError):
        parse_agent_id(text)
    parse_version(text)
    with contextlib.suppress(ValueError):
        parse_range(text)


TARGETS: dict[str, Target] = {
    found.__name__: found for found in (session, link, gateway_link, host, json_body, headers, names)
}


def batch(*frames: pb.Frame) -> bytes:
    data = pb.Batch(frames=frames).SerializeToString()
    return len(data).to_bytes(4, "big") + data


def seeds(target: str) -> list[bytes]:
    """Inputs from which the search begins: one of each kind that is well formed."""
    if target == "json_body":
        return [
            b'{"input": "x", "metadata": {"a": "b"}, "timeoutMs": 5}',
            b'{"input": [1.5e3, null, {"\\u00e9": true}]}',
        ]
    if target == "headers":
        return [
            b"Idempotency-Key: a\nSwitchboard-Timeout-Ms: 5\nSwitchboard-Strategy: Random\nSwitchboard-Metadata-X: y",
            b"traceparent:00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate:a=b",
        ]
    if target == "names":
        return [b"echo/key", b"1.2.3-rc.1+b", b">=1.2,<2 || ~3.1", b"^1.0"]
    opened = pb.Open(target=pb.Target(type="echo", key="k"), deadline_ms=50, headers={"a": "b"}, chain=["echo/k"])
    topic = pb.Open(target=pb.Target(topic="news", topic_source="s"), deadline_ms=50)
    everyone = pb.Open(target=pb.Target(type="echo", all_instances=True), deadline_ms=50)
    agent = pb.HostedAgent(name="a", type="a", state=pb.HOSTED_READY, capabilities=[pb.Capability(name="c")])
    hosted = pb.Hosted(generation=1, agents=[agent])
    hello = pb.Hello(gateway="b" if target == "gateway_link" else "", namespace="default", node="pool", hosted=hosted)
    first = pb.Frame(kind=pb.HELLO, hello=hello)
    return [
        batch(first, pb.Frame(kind=pb.OPEN, call=1, open=opened, data=b"x", end=True)),
        batch(first, *[pb.Frame(kind=k, call=c, data=b"x", credit=9) for k in range(1, 14) for c in (0, 1, 2)]),
        batch(first, pb.Frame(kind=pb.OPEN, call=1, open=opened), pb.Frame(kind=pb.DATA, call=1, data=b"x" * 500)),
        batch(first) + batch(pb.Frame(kind=pb.OPEN, call=3, open=topic, end=True)),
        batch(first) + batch(pb.Frame(kind=pb.OPEN, call=3, open=everyone, end=True)),
        batch(first, pb.Frame(kind=pb.HOSTED, hosted=hosted), pb.Frame(kind=pb.GOAWAY)),
        batch(first, pb.Frame(kind=pb.PING, ping=pb.Ping(load=pb.Load(cpu=1, latency_ms=5)))),
        batch(first, pb.Frame(kind=pb.PEERS, peers=pb.Peers(addresses=["10.0.0.1:7410"]))),
    ]
