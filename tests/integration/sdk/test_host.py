"""A host on its socket: agents are deployed, called, fail and go."""

import asyncio
import json
import sys
from typing import Any

import pytest

from switchboard_wire.calls import OutgoingCall, Payload, new_open
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.v1 import frames_pb2 as pb

pytestmark = pytest.mark.integration

AGENTS = """
import asyncio
import time
from dataclasses import dataclass
from switchboard import Context, Refusal, agent
from pydantic import BaseModel

class Order(BaseModel):
    item: str
    count: int

@dataclass
class Point:
    x: int
    y: int = 0

@agent
async def shout(text: str) -> str:
    return text.upper()

@agent
def total(order: Order) -> dict:
    return {"item": order.item, "total": order.count * 2}

@agent
def move(point: Point) -> Point:
    return Point(point.x + 1, point.y)

@agent
async def count(text: str, ctx: Context) -> dict:
    ctx.state["n"] = ctx.state.get("n", 0) + 1
    return {"key": ctx.key, "n": ctx.state["n"]}

@agent
async def words(text: str):
    for word in text.split():
        yield word + " "

@agent
def numbers(text: str):
    for number in range(int(text)):
        yield {"n": number}

@agent
async def broken(text: str) -> str:
    raise ValueError("no such luck")

@agent
async def picky(text: str) -> str:
    raise Refusal("too short", field="text")

@agent
async def wordy(text: str) -> str:
    raise Refusal("x" * 2_000_000, field="y" * 2_000_000)

@agent
async def odd(text: str) -> str:
    raise ValueError("half a character: \\ud83d")

@agent
async def quitter(text: str) -> str:
    raise SystemExit(2)

@agent
def quitter_sync(text: str) -> str:
    raise SystemExit(2)

@agent
def exhausted(text: str) -> str:
    return next(iter(()))

@agent
async def forever(text: str, ctx: Context) -> str:
    await asyncio.Event().wait()

@agent
async def relay(text: str, ctx: Context) -> str:
    answer = await ctx.request("shout", text + " " + str(ctx.message_id))
    return answer.text

@agent
def relay_sync(text: str, ctx: Context) -> str:
    return ctx.sync.request("shout", text).text

@agent
class Greeter:
    def __init__(self, config: dict) -> None:
        self.greeting = config["greeting"]
        self.log = []

    async def on_start(self) -> None:
        self.name = "started"

    async def handle(self, text: str) -> str:
        return f"{self.greeting}, {text} ({self.name})"
"""
ALL = [
    "shout", "total", "move", "count", "words", "numbers", "broken", "picky", "forever", "relay",
    "wordy", "odd", "quitter", "exhausted",
]  # fmt: skip


@pytest.fixture
async def deployed(pod: Any, assignment: Any) -> Any:
    pod.write("crew.py", AGENTS)
    await pod.assign(
        *(assignment(name, f"crew:{name}") for name in ALL),
        assignment("relay-sync", "crew:relay_sync"),
        assignment("quitter-sync", "crew:quitter_sync"),
        assignment("greeter", "crew:Greeter", json.dumps({"greeting": "Hello"})),
    )
    return pod


CALLS = [
    pytest.param("shout", b"hello", "text/plain", b"HELLO", "text/plain", id="text"),
    pytest.param("shout", b'"hello"', "application/json", b"HELLO", "text/plain", id="text from a JSON string"),
    pytest.param("total", b'{"item":"tea","count":2}', "application/json", b'{"item":"tea","total":4}',
                 "application/json", id="a pydantic model in a thread"),
    pytest.param("move", b'{"x":1}', "application/json", b'{"x":2,"y":0}', "application/json", id="a dataclass"),
    pytest.param("words", b"a b c", "text/plain", b"a b c ", "", id="a generator's pieces"),
    pytest.param("relay", b"a", "text/plain", b"A M-1", "text/plain", id="a call to another agent"),
    pytest.param("relay-sync", b"a", "text/plain", b"A", "text/plain", id="a blocking call from a thread"),
    pytest.param("greeter", b"Ada", "text/plain", b"Hello, Ada (started)", "text/plain", id="a class with config"),
]  # fmt: skip


@pytest.mark.parametrize(("agent", "data", "content_type", "expected", "answer_type"), CALLS)
async def test_an_agent_answers(
    deployed: Any, agent: str, data: bytes, content_type: str, expected: bytes, answer_type: str
) -> None:
    close = await deployed.request(agent, data, content_type)
    assert (close.data, close.content_type) == (expected, answer_type)


FAULTS = [
    pytest.param("broken", b"x", "PROCESSING_ERROR", "ValueError: no such luck", id="a handler that raises"),
    pytest.param("picky", b"x", "VALIDATION_FAILED", "too short", id="a handler that refuses"),
    pytest.param(
        "total", b'{"item":"tea","count":"many"}', "VALIDATION_FAILED", "count: ", id="a field of a wrong type"
    ),
    pytest.param("total", b"{", "VALIDATION_FAILED", "JSON", id="no JSON"),
    pytest.param("wordy", b"x", "VALIDATION_FAILED", "xxx…", id="a text that no frame holds"),
    pytest.param("odd", b"x", "PROCESSING_ERROR", "half a character: ?", id="a text that UTF-8 does not know"),
    pytest.param("quitter", b"x", "PROCESSING_ERROR", "SystemExit: 2", id="a handler that ends the process"),
    pytest.param("quitter-sync", b"x", "PROCESSING_ERROR", "SystemExit: 2", id="one in a thread"),
    pytest.param("exhausted", b"x", "PROCESSING_ERROR", "StopIteration", id="a handler whose iterator is empty"),
    pytest.param("nobody", b"", "AGENT_OFFLINE", "'nobody' is not hosted here", id="an agent that is not here"),
]


@pytest.mark.parametrize(("agent", "data", "code", "message"), FAULTS)
async def test_an_error_says_what_is_wrong(deployed: Any, agent: str, data: bytes, code: str, message: str) -> None:
    with pytest.raises(SwitchboardError) as caught:
        await deployed.request(agent, data, "application/json" if agent == "total" else "text/plain")
    assert caught.value.code == code
    assert message in caught.value.message


async def test_a_validation_error_names_the_field(deployed: Any) -> None:
    with pytest.raises(SwitchboardError) as caught:
        await deployed.request("total", b'{"item":"tea"}', "application/json")
    assert caught.value.error.details == {"field": "count"}


async def test_state_belongs_to_a_key(deployed: Any) -> None:
    keys = ["a", "b", "a", "a"]
    answers = [json.loads((await deployed.request("count", b"", key=key)).data) for key in keys]
    assert answers == [{"key": "a", "n": 1}, {"key": "b", "n": 1}, {"key": "a", "n": 2}, {"key": "a", "n": 3}]


async def test_a_cancelled_call_ends_its_handler(deployed: Any) -> None:
    call = deployed.open("forever", b"x")
    await deployed.request("shout", b"so that the call before has begun")
    call.cancel()
    deployed.stop.set()
    # The pod stops within the drain time only when nothing is in flight
    await deployed.sidecar.wait_for(lambda: not deployed.sidecar.peers)


async def test_an_import_error_fails_one_agent_and_no_other(pod: Any, assignment: Any) -> None:
    pod.write(
        "good.py", "from switchboard import agent\n\n@agent\nasync def hello(text: str) -> str:\n    return 'hi'\n"
    )
    pod.write("bad.py", "import os\nimport no_such_module\n")
    pod.write("worse.py", "def f(:\n")
    pod.write("odd.py", "def many(a, b, c):\n    pass\n\ndef vague(text: 'Missing') -> str:\n    return ''\n")
    await pod.assign(
        assignment("good", "good:hello"),
        assignment("bad", "bad:hello"),
        assignment("worse", "worse:hello"),
        assignment("lost", "good:helo"),
        assignment("gone", "gone:hello"),
        assignment("many", "odd:many"),
        assignment("vague", "odd:vague"),
        assignment("config", "good:hello", "{"),
    )
    states = pod.states()
    assert states["good"] == (pb.HOSTED_READY, "")
    assert states["bad"] == (
        pb.HOSTED_FAILED, "bad:hello: ModuleNotFoundError: No module named 'no_such_module' (bad.py:2)"
    )  # fmt: skip
    assert states["worse"][1].startswith("worse:hello: SyntaxError: ")
    assert states["worse"][1].endswith("(worse.py:1)")
    assert states["lost"] == (pb.HOSTED_FAILED, "good:helo: good has no 'helo'; there is agent, hello")
    assert states["gone"] == (pb.HOSTED_FAILED, "gone:hello: ModuleNotFoundError: No module named 'gone'")
    assert states["many"][1].startswith("odd:many: TypeError: many(a, b, c): a handler takes a payload and then")
    assert "'Missing' is not defined" in states["vague"][1]
    assert states["config"][1].startswith("handler.python.config is not JSON")
    assert (await pod.request("good", b"x")).data == b"hi"


async def test_agents_come_and_go_without_a_restart(pod: Any, assignment: Any) -> None:
    stopped = pod.code / "stopped"
    pod.write(
        "one.py",
        "from pathlib import Path\nfrom switchboard import agent\n\ndef stop() -> None:\n"
        f"    Path({str(stopped)!r}).touch()\n\n"
        "@agent(on_stop=stop)\nasync def one(text: str) -> str:\n    return 'one'\n",
    )
    pod.write("two.py", "async def two(text: str) -> str:\n    return 'two'\n")
    await pod.assign(assignment("one", "one:one"))
    assert (await pod.request("one")).data == b"one"
    await pod.assign(assignment("two", "two:two"), generation=2)
    assert set(pod.states()) == {"two"}
    assert (await pod.request("two")).data == b"two"
    async with asyncio.timeout(60):
        await asyncio.to_thread(_wait_for_file, stopped)
    with pytest.raises(SwitchboardError, match="not hosted here"):
        await pod.request("one")


def _wait_for_file(path: Any) -> None:
    from watchfiles import watch

    if path.exists():
        return
    for _ in watch(path.parent, yield_on_timeout=True, rust_timeout=100):
        if path.exists():
            return


async def test_agents_registered_by_code_are_announced_when_the_pool_is_dynamic(pod: Any, assignment: Any) -> None:
    pod.write(
        "team.py",
        "from switchboard import agent\n\n@agent\nasync def lead(text: str) -> str:\n    return 'lead'\n\n"
        "@agent('extra', capabilities=['help@2.0.0'])\nasync def other(text: str) -> str:\n"
        '    """Helps out."""\n    return \'extra\'\n',
    )
    await pod.assign(assignment("lead", "team:lead"), dynamic=True)
    await pod.sidecar.wait_for(lambda: set(pod.states()) == {"lead", "extra"})
    found = next(agent for agent in pod.sidecar.hosted.agents if agent.name == "extra")
    assert [(c.name, c.version) for c in found.capabilities] == [("help", "2.0.0")]
    assert found.description == "Helps out."


COUNTER = """
from switchboard import agent

@agent
async def lead(text: str) -> str:
    return 'lead'

@agent
class Count:
    def __init__(self) -> None:
        self.calls = 0

    async def handle(self, text: str) -> int:
        self.calls += 1
        return self.calls

@agent
async def extra(text: str) -> str:
    return 'extra'
"""


async def test_a_type_of_another_agentnode_is_refused_in_words_and_the_other_agents_stay_as_they_are(
    pod: Any, assignment: Any
) -> None:
    pod.write("team.py", COUNTER)
    lead = assignment("lead", "team:lead")
    await pod.assign(lead, dynamic=True)
    await pod.sidecar.wait_for(
        lambda: {name for name, told in pod.states().items() if told[0] == pb.HOSTED_READY} >= {"count"}
    )
    assert (await pod.request("count")).data == b"1"

    await pod.assign(lead, dynamic=True, generation=2, reserved=["extra"])
    await pod.sidecar.wait_for(lambda: "register another type" in pod.states().get("extra", (0, ""))[1])
    assert (await pod.request("count")).data == b"2", "it was not started anew"


async def test_an_agent_without_entry_is_found_by_its_type(pod: Any, assignment: Any) -> None:
    pod.write("team.py", "from switchboard import agent\n\n@agent\nasync def a(t: str) -> str:\n    return 'a'\n\n"
              "@agent('b')\nasync def bee(t: str) -> str:\n    return 'bee'\n")  # fmt: skip
    await pod.assign(assignment("a", "team:a"), pb.Assignment(name="b", type="b"), pb.Assignment(name="c", type="c"))
    assert (await pod.request("b")).data == b"bee"
    assert pod.states()["c"][1].startswith("no code registers an agent of type 'c'")


SLOW = """
import asyncio
import threading
from collections.abc import AsyncIterator
from switchboard import Context, agent

gate = asyncio.Event()
opened = threading.Event()
most = now = 0
cancelled = threading.Event()
begun = threading.Event()

@agent
async def wait(text: str) -> str:
    await gate.wait()
    return "done"

@agent
async def open_gate(text: str) -> str:
    gate.set()
    return "open"

@agent(concurrency=2)
async def narrow(text: str) -> int:
    global most, now
    now += 1
    most = max(most, now)
    await asyncio.sleep(0.01)
    now -= 1
    return most

@agent(concurrency=1)
async def nested(depth: int, ctx: Context) -> int:
    return depth if depth == 0 else (await ctx.request("nested", depth - 1)).value + 1

@agent
async def join(lines: AsyncIterator[str]) -> str:
    return "|".join([line async for line in lines])

@agent
def blocking(text: str, ctx: Context) -> str:
    begun.set()
    while not ctx.cancelled:
        opened.wait(0.01)
    cancelled.set()
    return ""

@agent
async def has_begun(text: str) -> bool:
    return await asyncio.to_thread(begun.wait, 60)

@agent
async def was_cancelled(text: str) -> bool:
    return await asyncio.to_thread(cancelled.wait, 60)

@agent
async def about(text: str, ctx: Context) -> dict:
    inner = await ctx.request("tell", "x")
    return {"id": ctx.message_id, "left": 0 < ctx.remaining_s <= 60, "header": ctx.headers["h"], "inner": inner.value}

@agent
async def tell(text: str, ctx: Context) -> dict:
    return {"id": ctx.message_id, "from": str(ctx.sender), "conversation": ctx.conversation_id}

def fail() -> None:
    raise RuntimeError("no model")

@agent(on_start=fail)
async def unstarted(text: str) -> str:
    return ""
"""


@pytest.fixture
async def slow(pod: Any, assignment: Any) -> Any:
    pod.write("slow.py", SLOW)
    names = [
        "wait",
        "open-gate",
        "narrow",
        "nested",
        "join",
        "blocking",
        "has-begun",
        "was-cancelled",
        "about",
        "tell",
        "unstarted",
    ]
    await pod.assign(*(assignment(name, f"slow:{name.replace('-', '_')}") for name in names))
    return pod


async def test_a_host_that_stops_finishes_what_it_has(slow: Any) -> None:
    waiting = asyncio.create_task(slow.request("wait"))
    await slow.request("tell")  # the one before has begun
    slow.stop.set()
    assert (await slow.request("open-gate")).data == b"open"
    assert (await waiting).data == b"done"
    await slow.sidecar.wait_for(lambda: not slow.sidecar.peers)


async def test_a_call_that_crosses_the_goodbye_of_a_host_is_answered(slow: Any) -> None:
    """A sidecar may have written it before it reads that the host stops."""
    crossed: list[asyncio.Task[pb.Frame]] = []
    on_control = slow.sidecar.on_control

    def send_one_more(peer: Any, frame: pb.Frame) -> None:
        on_control(peer, frame)
        if frame.kind == pb.GOAWAY:
            crossed.append(asyncio.create_task(slow.request("narrow")))

    slow.sidecar.on_control = send_one_more
    slow.stop.set()
    await slow.sidecar.wait_for(lambda: bool(crossed) or not slow.sidecar.peers)
    assert json.loads((await crossed[0]).data) >= 1
    await slow.sidecar.wait_for(lambda: not slow.sidecar.peers)


STUCK = """
import threading
from switchboard import agent

begun, opened = threading.Event(), threading.Event()

@agent
def stuck(text: str) -> str:
    begun.set()
    opened.wait(60)
    return ""
"""


async def test_a_thread_that_does_not_end_keeps_no_host_beyond_its_drain_time(pod: Any, assignment: Any) -> None:
    pod.write("stuck.py", STUCK)
    await pod.assign(assignment("stuck", "stuck:stuck"), drain_ms=100)
    code, call = sys.modules["stuck"], pod.open("stuck")
    assert await asyncio.to_thread(code.begun.wait, 60)
    call.cancel()
    try:
        pod.stop.set()
        async with asyncio.timeout(30):
            await pod.host
    finally:
        code.opened.set()


async def test_an_agent_keeps_to_its_concurrency(slow: Any) -> None:
    answers = await asyncio.gather(*(slow.request("narrow") for _ in range(20)))
    assert max(json.loads(answer.data) for answer in answers) == 2


async def test_a_call_to_itself_passes_a_concurrency_of_one(slow: Any) -> None:
    async with asyncio.timeout(60):
        assert json.loads((await slow.request("nested", b"3", "application/json")).data) == 3


async def test_a_handler_can_take_pieces(slow: Any) -> None:
    call = OutgoingCall(
        slow.peer, new_open(pb.Open(target=pb.Target(type="join")), Payload(b"a", "text/plain"), end=False)
    )
    await call.send(b"b")
    await call.send(b"c", end=True)
    assert (await call.result()).data == b"a|b|c"


async def test_a_handler_in_a_thread_sees_that_it_was_cancelled(slow: Any) -> None:
    call = slow.open("blocking")
    assert (await slow.request("has-begun")).data == b"true"  # a call cancelled before its thread runs never runs
    call.cancel()
    assert (await slow.request("was-cancelled")).data == b"true"


async def test_the_context_tells_of_the_message_and_goes_on_with_it(slow: Any) -> None:
    close = await slow.request("about", deadline_ms=60_000, headers={"h": "v"}, conversation_id="talk")
    assert json.loads(close.data) == {
        "id": "m-1", "left": True, "header": "v",
        "inner": {"id": "m-1.1", "from": "about", "conversation": "talk"},
    }  # fmt: skip
    outbound = slow.sidecar.opens[-1]
    assert (list(outbound.chain), outbound.causation_id) == (["about"], "m-1")
    assert 0 < outbound.deadline_ms <= 60_000


async def test_a_hook_that_fails_fails_its_agent(slow: Any) -> None:
    assert slow.states()["unstarted"] == (
        pb.HOSTED_FAILED, "unstarted: on_start: RuntimeError: no model (slow.py:66)"
    )  # fmt: skip


async def test_a_file_that_comes_late_heals_its_agent(pod: Any, assignment: Any) -> None:
    await pod.assign(assignment("late", "late:late"))
    assert pod.states()["late"][0] == pb.HOSTED_FAILED
    pod.write("late.py", "async def late(text: str) -> str:\n    return 'better'\n")
    await pod.sidecar.wait_for(lambda: pod.states()["late"][0] == pb.HOSTED_READY)
    assert (await pod.request("late")).data == b"better"


async def test_agents_survive_a_sidecar_that_restarts(deployed: Any) -> None:
    await deployed.request("count", b"", key="k")
    deployed.peer.lose("test")
    await deployed.sidecar.wait_for(lambda: bool(deployed.sidecar.peers))
    assert json.loads((await deployed.request("count", b"", key="k")).data)["n"] == 2


async def test_a_large_answer_and_a_large_request_arrive_whole(deployed: Any) -> None:
    data = b"x" * (3 * 1024 * 1024 + 7)
    assert (await deployed.request("shout", data)).data == data.upper()


ORDERS = """
from dataclasses import dataclass
from switchboard import Context, agent, method

@dataclass
class Order:
    item: str

@agent
class Orders:
    def __init__(self):
        self.placed = []

    @method
    async def place(self, order: Order) -> dict:
        self.placed.append(order.item)
        return {"number": len(self.placed)}

    @method("list-all")
    async def everything(self):
        for item in self.placed:
            yield item

    @method
    def cancel(self, number: int) -> None:
        del self.placed[number - 1]

    async def handle(self, text: str) -> str:
        return f"{len(self.placed)} orders"
"""


async def test_a_class_answers_by_method_each_with_types_of_its_own(pod: Any, assignment: Any) -> None:
    pod.write("orders.py", ORDERS)
    await pod.assign(assignment("orders", "orders:Orders"))
    placed = [
        (await pod.request("orders", data, "application/json", method="place")).data
        for data in (b'{"item": "tea"}', b'{"item": "milk"}')
    ]
    assert placed == [b'{"number":1}', b'{"number":2}']
    await pod.request("orders", b"1", "application/json", method="cancel")
    listed = OutgoingCall(
        pod.peer, new_open(pb.Open(target=pb.Target(type="orders"), method="list-all"), Payload(), end=True)
    )
    assert [piece.data async for piece in listed.pieces()] == [b"milk"]
    assert (await pod.request("orders")).data == b"1 orders"


async def test_a_method_that_is_not_there_is_refused_with_those_that_are(pod: Any, assignment: Any) -> None:
    pod.write("orders.py", ORDERS)
    await pod.assign(assignment("orders", "orders:Orders"))
    with pytest.raises(SwitchboardError, match="no method 'ship': there is cancel, list-all, place") as caught:
        await pod.request("orders", method="ship")
    assert caught.value.error.code == pb.UNKNOWN_MESSAGE_TYPE


async def test_an_agent_without_handle_wants_a_method(pod: Any, assignment: Any) -> None:
    pod.write("orders.py", ORDERS.replace("handle(", "unused("))
    await pod.assign(assignment("orders", "orders:Orders"))
    with pytest.raises(SwitchboardError, match="orders wants a method: there is cancel, list-all, place"):
        await pod.request("orders")
