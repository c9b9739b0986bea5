"""Each example does what its text says, under `switchboard dev`, and type-checks as strictly as our own code."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ports import free_port

from switchboard import InvalidMessage, SwitchboardError, SyncClient, UnknownMessageType

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
WAIT_S = 180.0


@pytest.fixture
def dev() -> Iterator[Callable[..., SyncClient]]:
    """Starts `switchboard dev`, waits until it is ready, and gives a client."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> SyncClient:
            grpc_port = free_port()
            command = [sys.executable, "-m", "switchboard_cli.main", "dev", *arguments]
            command += ["--port", str(grpc_port), "--http-port", str(free_port())]
            process = stack.enter_context(
                subprocess.Popen(command, cwd=EXAMPLES, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            )
            stack.callback(process.terminate)
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("ready in"):
                    break
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return stack.enter_context(SyncClient(f"localhost:{grpc_port}", timeout_s=WAIT_S))

        yield start


def test_the_quickstart_is_the_code_of_its_manifest() -> None:
    documents = yaml.safe_load_all((EXAMPLES / "quickstart" / "summarizer.yaml").read_text())
    code = next(document for document in documents if document["kind"] == "ConfigMap")["data"]["app.py"]
    assert (EXAMPLES / "quickstart" / "app.py").read_text() == code


def test_the_quickstart_summarizes(dev: Callable[..., SyncClient]) -> None:
    client = dev("quickstart/app.py")
    assert client.request("summarize", "It rained. It rained more. Sun.").text == "It rained. (and 2 more)"


def test_the_summarizer_streams(dev: Callable[..., SyncClient]) -> None:
    client = dev("streaming/app.py")
    text = "It rained. It rained for days. Then the sun came out, and the snails went home."
    pieces = list(client.stream("summarizer", text))
    assert "".join(pieces) == "It rained. It rained for days. "
    assert len(pieces) == 6


def test_the_desk_asks_its_specialists(dev: Callable[..., SyncClient]) -> None:
    client = dev("router/app.py")
    reply = client.request("desk", {"question": "What is 6 times 7, and who wrote Emma?"}).value
    assert reply == {"answers": {"arithmetic": "42", "literature": "Jane Austen"}, "failed": {}}
    with pytest.raises(InvalidMessage, match="question"):
        client.request("desk", {"query": "?"})


def test_the_counter_counts_by_key(dev: Callable[..., SyncClient]) -> None:
    client = dev("counter/app.py")
    totals = [client.request(who, {"add": add}).value for who, add in [("counter/ada", 2), ("counter/bob", 5)]]
    assert totals == [{"key": "ada", "total": 2}, {"key": "bob", "total": 5}]
    assert client.request("counter/ada", {}).value == {"key": "ada", "total": 3}
    with pytest.raises(InvalidMessage, match="whose count"):
        client.request("counter", {})


@pytest.fixture
def translator() -> Iterator[int]:
    port = free_port()
    with serving([sys.executable, "http-agent/server.py"], port, PORT=str(port)) as found:
        yield found


def test_an_http_server_that_knows_nothing_of_us_is_an_agent(dev: Callable[..., SyncClient], translator: int) -> None:
    client = dev("--http", f"translator={translator}")
    assert client.request("translator", "good morning").text == "guten Morgen"


@contextlib.contextmanager
def serving(command: list[str], port: int, **environ: str) -> Iterator[int]:
    """A server of its own, once it answers on `port`."""
    process = subprocess.Popen(command, cwd=EXAMPLES, env=os.environ | environ, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, f"{command} ended with {process.returncode}"
            assert time.monotonic() < until, f"{command} does not listen on {port}"
        yield port
    finally:
        process.terminate()
        process.wait(WAIT_S)


def test_a_flask_app_is_an_agent(dev: Callable[..., SyncClient]) -> None:
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", "flask-agent/app.py", "run", "--port", str(port)]
    with serving(command, port):
        client = dev("--http", f"sentiment={port}")
        assert client.request("sentiment", "What a lovely, lovely day").text == "sentiment says: glad"
        with pytest.raises(SwitchboardError, match="a text is wanted"):
            client.request("sentiment", "")


@pytest.mark.skipif(shutil.which("node") is None, reason="this machine has no Node to run the example with")
def test_a_node_server_is_an_agent_that_answers_in_pieces(dev: Callable[..., SyncClient]) -> None:
    port = free_port()
    with serving(["node", "node-agent/server.mjs"], port, PORT=str(port)):
        client = dev("--http", f"countdown={port}")
        assert "".join(client.stream("countdown", "3")) == "3\n2\n1\nlift-off\n"
        with pytest.raises(SwitchboardError, match="a whole number from 1 to 100"):
            client.request("countdown", "many")


def test_orders_are_placed_and_counted_by_method(dev: Callable[..., SyncClient]) -> None:
    client = dev("methods/app.py")
    assert client.request("orders/ada", {"item": "tea", "count": 2}, method="place").value == {
        "number": 1,
        "item": "tea",
    }
    assert client.request("orders/ada", method="total").value == 2
    with pytest.raises(UnknownMessageType, match="there is place, total"):
        client.request("orders/ada", method="ship")


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_an_example_type_checks(file: Any) -> None:
    source = ROOT / "sdk"
    paths = os.pathsep.join([str(source), str(ROOT / "wire"), str(ROOT / "runtime")])
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
    command += ["--explicit-package-bases", "--namespace-packages", str(file)]
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "MYPYPATH": paths}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout


def test_the_cache_is_emptied_in_every_instance(dev: Callable[..., SyncClient]) -> None:
    client = dev("cache/app.py")
    assert client.request("lookup", "Emma").text == "Jane Austen"
    [answer] = client.request("refresh", "").value.values()
    assert answer == "1 forgotten"
    assert list(client.request("refresh", "").value.values()) == ["0 forgotten"]
