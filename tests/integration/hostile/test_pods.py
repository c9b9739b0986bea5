"""Hosts that lie to their sidecar, and sidecars that lie to the gateway: real processes on the honest side."""

import contextlib
import json
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile import PATIENCE_S, Wire, World, open_link, until
from processes import Program, start, wait_for

from switchboard import DeadlineExceeded, NodeUnavailable, SwitchboardError, SyncClient
from switchboard_wire import names
from switchboard_wire.sockets import PREFACE
from switchboard_wire.v1 import frames_pb2 as pb

READY = [pb.HostedAgent(name="trap", type="trap", version="1.0.0", state=pb.HOSTED_READY)]


@pytest.fixture
def host(world: World, tmp_path: Path) -> Iterator[Wire]:
    """A hostile host behind a real sidecar, which was given one agent, `trap`."""
    document = {"generation": 1, "concurrency": 4, "queueLength": 4, "drainMs": 1000}
    document["agents"] = [{"name": "trap", "type": "trap", "version": "1.0.0", "python": {"entry": "app:trap"}}]
    (tmp_path / "assignments.json").write_text(json.dumps(document))
    environment = {
        names.ENV_SOCKET: str(tmp_path / "host.sock"),
        names.ENV_NAMESPACE: "default",
        names.ENV_NODE: "traps",
        names.ENV_INSTANCE: "trap-1",
        names.ENV_POD_UID: tmp_path.name,
        names.ENV_GATEWAYS: world.gateway.links,
        names.ENV_ASSIGNMENTS: str(tmp_path / "assignments.json"),
    }
    log = tmp_path / "sidecar.log"
    sidecar = Program(start("switchboard_sidecar", environment, log), log)
    try:
        wait_for((tmp_path / "host.sock").exists, sidecar)
        raw = socket.socket(socket.AF_UNIX)

        def connects() -> bool:
            with contextlib.suppress(OSError):
                raw.connect(str(tmp_path / "host.sock"))
                return True
            return False

        wait_for(connects, sidecar)
        raw.sendall(PREFACE + names.ATTACH_SERVICE.encode() + b"\n")
        wire = Wire(raw)
        wire.say(pb.Frame(kind=pb.HELLO, hello=pb.Hello(protocol_min=1, protocol_max=1)))
        wire.say(pb.Frame(kind=pb.HOSTED, hosted=pb.Hosted(generation=1, agents=READY)))
        until(lambda: listed(world).get("trap") == 1)
        before = sidecar.rss_mib
        yield wire
        assert sidecar.is_alive, log.read_text()
        assert sidecar.rss_mib - before < 150
        wire.close()
    finally:
        sidecar.stop()


def listed(world: World) -> dict[str, int]:
    with urllib.request.urlopen(f"{world.gateway.url}/api/v1/agents", timeout=60) as response:
        return {agent["name"]: agent["instancesReady"] for agent in json.load(response)["agents"]}


def ask(world: World, timeout_s: float = 2.0) -> object:
    with SyncClient(world.gateway.address, timeout_s=timeout_s, connect_timeout_s=PATIENCE_S) as client:
        return client.request("trap", "x").value


def ask_in_vain(world: World, host: Wire) -> int:
    """Ask with a short deadline until a call was at the host before it; its number."""
    known = opened(host)
    while len(opened(host)) == len(known):
        with pytest.raises((DeadlineExceeded, NodeUnavailable)):  # the latter when there is no session in time
            ask(world, 0.5)
    return opened(host)[-1]


def opened(host: Wire) -> list[int]:
    """The numbers of the calls that the host was given."""
    return [frame.call for frame in list(host.frames) if frame.kind == pb.OPEN]


def answering(host: Wire, answer: Callable[[int], list[pb.Frame]]) -> Callable[[], None]:
    """Answer calls as they come, until told to stop."""
    stopped = threading.Event()

    def work() -> None:
        done = 0
        with contextlib.suppress(OSError):
            while not stopped.wait(0.005):
                opened = [frame for frame in list(host.frames) if frame.kind == pb.OPEN]
                for frame in opened[done:]:
                    host.say(*answer(frame.call))
                done = len(opened)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def stop() -> None:
        stopped.set()
        thread.join(PATIENCE_S)

    return stop


def closing(call: int, data: bytes) -> pb.Frame:
    return pb.Frame(kind=pb.CLOSE, call=call, data=data, content_type="text/plain")


def test_a_host_that_never_answers_costs_its_callers_their_deadline_alone(world: World, host: Wire) -> None:
    calls = {ask_in_vain(world, host) for _ in range(3)}
    assert len(calls) == 3
    for call in calls:
        host.await_kind(pb.CANCEL, call)


def test_a_host_that_answers_twice_is_heard_once(world: World, host: Wire) -> None:
    stop = answering(host, lambda call: [closing(call, b"first"), closing(call, b"second"), closing(call, b"third")])
    assert [ask(world, 30) for _ in range(5)] == ["first"] * 5
    stop()


def test_a_host_that_answers_late_is_not_heard(world: World, host: Wire) -> None:
    late = ask_in_vain(world, host)
    host.await_kind(pb.CANCEL, late)
    host.say(closing(late, b"late"))
    stop = answering(host, lambda call: [] if call <= late else [closing(call, b"in time")])
    assert ask(world, 30) == "in time"
    stop()


def test_a_host_that_lies_about_numbers_answers_nobody_elses_call(world: World, host: Wire) -> None:
    def lie(call: int) -> list[pb.Frame]:
        wrong = [closing(number, b"a lie") for number in (call + 2, call + 4, call + 1000, 2**32 - 2)]
        return [*wrong, closing(call, b"the truth")]

    stop = answering(host, lie)
    assert [ask(world, 30) for _ in range(5)] == ["the truth"] * 5
    stop()


def test_a_host_that_sends_more_than_it_was_granted_ends_the_call(world: World, host: Wire) -> None:
    flood = [pb.Frame(kind=pb.DATA, data=b"x" * 100_000) for _ in range(8)]

    def overdraw(call: int) -> list[pb.Frame]:
        for frame in flood:
            frame.call = call
        return flood

    stop = answering(host, overdraw)
    with pytest.raises(SwitchboardError):
        ask(world, 10)
    stop()


@pytest.mark.parametrize(
    "said", [b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f"], ids=["garbage", "a length that overflows"]
)
def test_a_host_that_speaks_garbage_loses_its_connection_and_its_calls_end(
    world: World, host: Wire, said: bytes
) -> None:
    failed: list[SwitchboardError] = []

    def call() -> None:
        try:
            ask(world, 60)
        except SwitchboardError as error:
            failed.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    host.await_kind(pb.OPEN)
    host.write(said)
    assert host.closed.wait(PATIENCE_S)
    caller.join(PATIENCE_S)
    assert [(type(error), error.error.delivered) for error in failed] == [(NodeUnavailable, pb.DELIVERED_MAYBE)]


def test_a_host_cannot_announce_agents_that_were_not_assigned(world: World, host: Wire) -> None:
    claimed = [pb.HostedAgent(name=n, type=n, state=pb.HOSTED_READY) for n in ("echo", "admin", "x" * 100_000)]
    host.say(pb.Frame(kind=pb.HOSTED, hosted=pb.Hosted(generation=1, agents=[*READY, *claimed])))
    stop = answering(host, lambda call: [closing(call, b"stolen")])
    assert ask(world, 30) == "stolen"  # its own agent it may answer for
    assert set(listed(world)) >= {"trap", "echo"}
    assert listed(world)["echo"] == 1
    assert "admin" not in listed(world)
    stop()


def test_a_link_that_calls_before_its_hello_is_refused(world: World) -> None:
    wire = Wire(open_link(world.gateway))
    wire.say(pb.Frame(kind=pb.OPEN, call=1, end=True, open=pb.Open(target=pb.Target(type="echo"))))
    assert wire.answer_to(1).error.code == pb.UNAUTHENTICATED
    wire.close()


def test_a_link_with_a_list_without_end_is_cut_off(world: World) -> None:
    wire = Wire(open_link(world.gateway))
    wire.say(
        pb.Frame(kind=pb.HELLO, hello=pb.Hello(namespace="elsewhere", node="liar", instance="liar", pod_uid="liar"))
    )
    agents = [pb.HostedAgent(name=f"a{n}", type=f"a{n}", state=pb.HOSTED_READY) for n in range(20_000)]
    with contextlib.suppress(OSError):
        for _ in range(5):
            wire.say(pb.Frame(kind=pb.HOSTED, hosted=pb.Hosted(agents=agents)))
    wire.close()


def test_a_stranger_that_says_it_is_a_gateway_cannot_take_agents_that_are_there(world: World) -> None:
    wire = Wire(open_link(world.gateway))
    hosted = pb.Hosted(agents=[pb.HostedAgent(type="echo", state=pb.HOSTED_READY)])
    wire.say(
        pb.Frame(kind=pb.HELLO, hello=pb.Hello(gateway="liar", pod_uid="liar")), pb.Frame(kind=pb.HOSTED, hosted=hosted)
    )
    wire.await_kind(pb.HOSTED)
    with SyncClient(world.gateway.address, connect_timeout_s=PATIENCE_S) as client:
        assert [client.request("echo", "mine", idempotent=True).value for _ in range(20)] == ["mine"] * 20
    assert not any(frame.kind == pb.OPEN for frame in wire.frames)
    wire.close()
