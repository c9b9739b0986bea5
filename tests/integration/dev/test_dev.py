"""`switchboard dev` as a user runs it: real processes, real ports, changes on disk, Ctrl-C."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ports import free_port

from switchboard import AgentNotFound, ProcessingError, SyncClient, ValidationFailed
from switchboard_cli.dev_target import DevError, choose_ports
from switchboard_wire import names

pytestmark = pytest.mark.integration

WAIT_S = 180.0
APP = """
from switchboard import agent

@agent(capabilities=["shout"])
async def shout(text: str) -> str:
    return text.upper()

@agent
def divide(numbers: list[int]) -> float:
    return numbers[0] / numbers[1]
"""


class Dev:
    """One `switchboard dev`, with all that it printed."""

    def __init__(self, folder: Path, target: str, scratch: str) -> None:
        self.grpc, self.http = free_port(), free_port()  # not the usual ones, so that two tests never meet
        self.lines: list[str] = []
        self._changed = threading.Condition()
        command = [sys.executable, "-m", "switchboard_cli.main", "dev", target]
        command += ["--port", str(self.grpc), "--http-port", str(self.http)]
        self.process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, "TMPDIR": scratch}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def wait_for(self, pattern: str, after: int = 0) -> str:
        """The first line from `after` on that matches."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [line for line in self.lines[after:] if re.search(pattern, line)]
            return bool(found)

        with self._changed:
            assert self._changed.wait_for(look, WAIT_S), f"no line matches {pattern!r}: {self.lines}"
        return found[0]

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(number) for number in path.read_text().split()]

    def run(self, *arguments: str, text: str = "", gateway: str = "") -> tuple[int, str, str]:
        """One command beside it: its status, stdout and stderr."""
        command = [sys.executable, "-m", "switchboard_cli.main", *arguments]
        command += ["--gateway", gateway or f"localhost:{self.grpc}"]
        env = {names.ENV_CONNECT_TIMEOUT: "60", **os.environ}
        ended = subprocess.run(
            command, env=env, input=text, capture_output=True, text=True, timeout=WAIT_S, check=False
        )
        return ended.returncode, ended.stdout, ended.stderr

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(WAIT_S)


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Callable[..., Dev]]:
    started: list[Dev] = []
    scratch = tempfile.TemporaryDirectory()  # what `kill -9` leaves behind goes with it

    def start(text: str = APP, target: str = "app.py") -> Dev:
        (tmp_path / "app.py").write_text(text)
        started.append(Dev(tmp_path, target, scratch.name))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.process.send_signal(signal.SIGTERM)
        one.process.wait(WAIT_S)
        assert one.process.stdout is not None
        one.process.stdout.close()
    scratch.cleanup()


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_agents_answer_over_every_api_and_what_happens_is_shown(dev: Callable[..., Dev]) -> None:
    running = dev()
    assert "shout" in running.wait_for("^ready in ")
    with SyncClient(f"localhost:{running.grpc}") as client:
        assert client.request("shout", "hello").text == "HELLO"
        assert client.request("capability:shout", "hello").text == "HELLO"
        assert client.request("divide", [6, 4]).value == 1.5
        with pytest.raises(ProcessingError, match="ZeroDivisionError"):
            client.request("divide", [1, 0])
        with pytest.raises(ValidationFailed):
            client.request("divide", ["one"])
        with pytest.raises(AgentNotFound, match="shout"):
            client.request("shuot", "x")
        assert [(agent.type, agent.instances_ready) for agent in client.agents()] == [("divide", 1), ("shout", 1)]
    running.wait_for(r"shout ok [\d.]+ ms")
    running.wait_for("shuot AGENT_NOT_FOUND  no Agent of type 'shuot'")
    running.wait_for("divide PROCESSING_ERROR .*ZeroDivisionError")
    running.wait_for(r"app\.py.*line 10")
    request = urllib.request.Request(
        f"http://localhost:{running.http}/api/v1/agents/shout/execute",
        json.dumps({"input": "rest"}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=WAIT_S) as response:
        assert json.load(response)["output"] == "REST"


LISTENERS = """
from switchboard import Context, agent

@agent(topics=["news"])
async def reader(text: str, ctx: Context) -> str:
    return f"{ctx.key} read {text}"

@agent(topics=["news*"])
async def archivist(text: str) -> str:
    raise ValueError("no room")
"""


def test_what_is_published_reaches_the_agents_that_code_subscribes(dev: Callable[..., Dev]) -> None:
    running = dev(LISTENERS)
    running.wait_for("^ready in .*archivist, reader")
    with SyncClient(f"localhost:{running.grpc}") as client:
        deliveries = client.publish("news", "It rained.", source="ada")
        assert [(str(one.agent), one.value) for one in deliveries] == [
            ("archivist/ada", None),
            ("reader/ada", "ada read It rained."),
        ]
        assert [str(one.agent) for one in client.publish("news.local", "x")] == ["archivist"]
        assert client.publish("weather", "x") == []
    status, table, _ = running.run("publish", "news", "It rained.", "--source", "ada")
    assert status == 1, "a receiver failed"
    assert [line.split("  ")[0] for line in table.splitlines()] == ["AGENT", "archivist/ada", "reader/ada"]
    assert "PROCESSING_ERROR: ValueError: no room" in table
    assert "ada read It rained." in table
    assert running.run("publish", "weather", "x") == (0, "", "Nobody is subscribed to weather.\n")
    status, table, _ = running.run("broadcast", "reader", "all")
    assert (status, table.splitlines()[1].split()) == (0, ["reader", "dev-0", "read", "all"])
    assert "Topics:       news" in running.run("describe", "reader")[1]


FAULTS = [
    pytest.param("def broken(:\n" + APP, r"SyntaxError: invalid syntax \(app.py:1\)", id="a syntax error"),
    pytest.param("import no_such_module\n" + APP, r"No module named 'no_such_module' \(app.py:1\)", id="an import"),
    pytest.param(
        APP + "\n@agent\ndef f(a: str, b: str) -> str: ...\n", r"f\(a, b\): a handler takes", id="a signature"
    ),
    pytest.param("", "no agent in app: decorate a function with @agent", id="an empty file"),
]


@pytest.mark.parametrize(("text", "shown"), FAULTS)
def test_code_with_an_error_is_shown_and_the_code_from_before_serves_on(
    dev: Callable[..., Dev], tmp_path: Path, text: str, shown: str
) -> None:
    running = dev()
    running.wait_for("^ready in ")
    with SyncClient(f"localhost:{running.grpc}") as client:
        (tmp_path / "app.py").write_text(text)
        running.wait_for(shown)
        running.wait_for("^not reloaded: app.py has an error, the code from before serves on")
        assert client.request("shout", "a").text == "A"
        (tmp_path / "app.py").write_text(APP.replace("text.upper()", "text.upper() + '!'"))
        running.wait_for("^reloaded in .*shout")
        answer_becomes("A!", client, {"A"})


def test_a_change_takes_over_without_a_call_lost(dev: Callable[..., Dev], tmp_path: Path) -> None:
    running = dev()
    running.wait_for("^ready in ")
    with SyncClient(f"localhost:{running.grpc}", timeout_s=WAIT_S) as client:
        for number in range(3):
            seen = len(running.lines)
            (tmp_path / "app.py").write_text(APP.replace("text.upper()", f"text.upper() + '{number}'"))
            answer_becomes(f"A{number}", client, {"A", f"A{number - 1}"})
            running.wait_for("^reloaded in ", after=seen)


def answer_becomes(wanted: str, client: SyncClient, before: set[str]) -> None:
    """Call until the new code answers; until then the one from before does, every time."""
    ends = time.monotonic() + WAIT_S
    while (found := client.request("shout", "a").text) != wanted:
        assert found in before
        assert time.monotonic() < ends


def test_code_that_never_ran_is_loaded_once_it_is_mended(dev: Callable[..., Dev], tmp_path: Path) -> None:
    running = dev("import no_such_module\n" + APP)
    running.wait_for(r"No module named 'no_such_module' \(app.py:1\)")
    running.wait_for("^no agent of the code runs yet: mend it, it is loaded as it is saved")
    (tmp_path / "app.py").write_text(APP)
    running.wait_for("^ready in .*shout")
    with SyncClient(f"localhost:{running.grpc}") as client:
        assert client.request("shout", "a").text == "A"


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        pytest.param("app.py", "No module named 'no_such_module' (app.py:1)", id="an import error"),
        pytest.param("other:missing", "other has no 'missing'; there is f", id="an attribute that is not there"),
    ],
)
def test_without_reload_code_that_does_not_load_ends_it(tmp_path: Path, target: str, shown: str) -> None:
    (tmp_path / "app.py").write_text("import no_such_module\n" + APP)
    (tmp_path / "other.py").write_text("def f(text: str) -> str:\n    return text\n")
    command = [sys.executable, "-m", "switchboard_cli.main", "dev", target, "--no-reload"]
    command += ["--port", str(free_port()), "--http-port", str(free_port())]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert shown in ended.stdout


def test_ctrl_c_ends_every_process(dev: Callable[..., Dev]) -> None:
    running = dev()
    running.wait_for("^ready in ")
    children = running.children()
    assert len(children) == 4, "gateway, sidecar, host, and the spare host for the next change"
    assert running.interrupt() == 0
    assert not [pid for pid in children if _is_running(pid)]
    running.wait_for("^stopped")


def test_not_even_kill_leaves_processes_behind(dev: Callable[..., Dev]) -> None:
    running = dev()
    running.wait_for("^ready in ")
    children = running.children()
    running.process.kill()
    running.process.wait(WAIT_S)
    until = time.monotonic() + WAIT_S
    while alive := [pid for pid in children if _is_running(pid)]:
        assert time.monotonic() < until, f"still running: {alive}"
        threading.Event().wait(0.05)


def test_one_function_by_name_needs_no_decorator(dev: Callable[..., Dev]) -> None:
    running = dev("def plain_words(text: str) -> list:\n    return text.split()\n", "app:plain_words")
    assert "plain-words" in running.wait_for("^ready in ")
    with SyncClient(f"localhost:{running.grpc}") as client:
        assert client.request("plain-words", "a b").value == ["a", "b"]


BAD = [
    pytest.param("missing.py", "missing.py does not exist", id="a file that is not there"),
    pytest.param("plain.py", "plain.py has no agent: decorate a function with @agent", id="a file without agents"),
    pytest.param("my-app.py", "my-app.py cannot be imported", id="a file that is no module"),
    pytest.param("missing:agent", "missing.py does not exist", id="a module that is not there"),
    pytest.param(".", ". is a folder: name a Python file", id="a folder"),
]


@pytest.mark.parametrize(("target", "message"), BAD)
def test_a_bad_target_is_refused_in_one_line(tmp_path: Path, target: str, message: str) -> None:
    (tmp_path / "plain.py").write_text("def f() -> None:\n    pass\n")
    (tmp_path / "my-app.py").write_text(APP)
    ended = subprocess.run(
        [sys.executable, "-m", "switchboard_cli.main", "dev", target],
        cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert message in ended.stderr


def test_a_taken_port_is_named(dev: Callable[..., Dev], tmp_path: Path) -> None:
    running = dev()
    running.wait_for("^ready in ")
    ended = subprocess.run(
        [sys.executable, "-m", "switchboard_cli.main", "dev", "app.py", "--port", str(running.grpc)],
        cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr == (
        f"switchboard dev: port {running.grpc} is taken: stop what listens there, or give another one with --port\n"
    )


def test_ports_asked_for_are_kept_or_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DevError, match=f"port {port} is taken.*--port"):
            choose_ports(port, None)
    free = choose_ports(None, None)
    assert len({free.grpc, free.http, free.links, free.gateway_ops, free.sidecar_ops}) == 5
    with pytest.raises(DevError, match="say two ports"):
        choose_ports(free.links, free.links)


def test_send_and_agents_print_what_scripts_need(dev: Callable[..., Dev]) -> None:
    running = dev()
    running.wait_for("^ready in ")
    run = running.run
    assert run("send", "shout", "hello") == (0, "HELLO\n", "")
    assert run("send", "shout", text="from stdin") == (0, "FROM STDIN\n", "")
    assert run("send", "divide", "--json", "[3, 2]") == (0, "1.5\n", "")
    assert run("send", "shout", "--stream", "hello") == (0, "HELLO\n", "")
    assert run("send", "divide", "--json", "[3") == (
        1, "", "TEXT is not JSON: Expecting ',' delimiter: line 1 column 3 (char 2)\n"
    )  # fmt: skip
    status, _, error = run("send", "nobody", "x")
    assert (status, error.count("\n")) == (1, 1)
    assert error.startswith("AGENT_NOT_FOUND: ")
    status, table, _ = run("agents")
    assert status == 0
    assert table.splitlines()[0].split()[:4] == ["NAME", "TYPE", "VERSION", "READY"]
    assert [json.loads(line)["type"] for line in run("agents", "--json")[1].splitlines()] == ["divide", "shout"]
    status, _, error = run("agents", "--connect-timeout", "1", gateway="127.0.0.1:1")
    assert (status, error.count("\n")) == (1, 1)
    assert "127.0.0.1:1 cannot be reached" in error
