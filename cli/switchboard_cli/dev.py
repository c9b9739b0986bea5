"""`switchboard dev`: gateway, sidecar and host of this machine as plain processes on the same wire as in a cluster."""

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from switchboard_cli.dev_feed import Feed
from switchboard_cli.dev_hosts import HostPlan, Hosts, saved_at
from switchboard_cli.dev_process import Child
from switchboard_cli.dev_target import (
    CodeTarget,
    DevError,
    HttpTarget,
    Ports,
    choose_ports,
    find_target,
    read_http_target,
)
from switchboard_wire import names
from switchboard_wire.v1 import frames_pb2 as pb

NODE = "dev"
# As long as the files of one save take to come, far below what a person notices
SETTLE_MS = 50
# Agents that come answer within moments of each other; one that does not keeps nobody waiting for longer
ALL_REACHABLE_S = 5.0
# Of many files that change at once the first few are told
MAX_SHOWN = 3


@dataclass(frozen=True, slots=True)
class DevOptions:
    """The command line of `switchboard dev`."""

    target: str | None
    http: tuple[str, ...]
    cwd: Path
    port: int | None
    http_port: int | None
    reload: bool
    verbose: bool


def run_dev(options: DevOptions) -> int:
    """Run until Ctrl-C; returns the exit status."""
    try:
        work = _read_work(options)
        ports = choose_ports(options.port, options.http_port)
        with tempfile.TemporaryDirectory(prefix="switchboard-") as folder:
            return asyncio.run(_run(options, work, ports, Path(folder)))
    except DevError as error:
        sys.stderr.write(f"switchboard dev: {error}\n")
        return 2


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to run: Python code, HTTP servers, or both."""

    code: CodeTarget | None
    http: tuple[HttpTarget, ...]


def _read_work(options: DevOptions) -> _Work:
    if not options.target and not options.http:
        raise DevError("name a Python file, for example app.py, or an HTTP server with --http TYPE=PORT")
    code = find_target(options.target, options.cwd) if options.target else None
    return _Work(code, tuple(read_http_target(text) for text in options.http))


async def _run(options: DevOptions, work: _Work, ports: Ports, folder: Path) -> int:
    return await _Dev(options, work, ports, folder).run()


class _Dev:
    """One run. folder: for the socket and the assignments; gone afterwards."""

    def __init__(self, options: DevOptions, work: _Work, ports: Ports, folder: Path) -> None:
        self._options = options
        self._work = work
        self._ports = ports
        self._folder = folder
        self._feed = Feed(work.code.folder if work.code else options.cwd, verbose=options.verbose)
        self._stop = asyncio.Event()
        self._gateway = self._child("gateway", "switchboard_gateway", self._gateway_env())
        self._sidecar = self._child("sidecar", "switchboard_sidecar", self._sidecar_env())
        self._failed = False  # there is nothing to run, and nothing will come
        self._hosts: Hosts | None = None
        if work.code is not None:
            successor = {names.ENV_LOAD_FIRST: str(self._assignments)} if options.reload else None
            plan = HostPlan(self._host_env(work.code), successor, self._reachable_agents)
            self._hosts = Hosts(plan, self._feed, self._stop)

    async def run(self) -> int:
        """Start, watch, end. Returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        started = time.monotonic()
        self._write_assignments()
        try:
            for child in (self._gateway, self._sidecar):
                await child.start()
            return await self._until_stopped(started)
        finally:
            if self._hosts is not None:
                await self._hosts.stop()
            await self._sidecar.stop()
            await self._gateway.stop()
            if self._stop.is_set():
                self._feed.say("stopped")

    @property
    def _reloads(self) -> bool:
        return self._options.reload and self._hosts is not None

    async def _until_stopped(self, started: float) -> int:
        work: list[asyncio.Task[None]] = [asyncio.create_task(self._announce(started))]
        if self._options.reload and self._hosts is not None and self._work.code is not None:
            work.append(asyncio.create_task(self._reload_on_change(self._hosts, self._work.code.folder)))
        ends = [asyncio.create_task(self._end_of(child)) for child in (self._gateway, self._sidecar)]
        stopping = asyncio.create_task(self._stop.wait())
        work[0].add_done_callback(self._end_if_failed)
        try:
            await asyncio.wait({stopping, *ends, *work[1:]}, return_when=asyncio.FIRST_COMPLETED)
            for done in (*work, *ends):
                if done.done():
                    done.result()
            return 0 if stopping.done() and not self._failed else 1
        finally:
            for task in (*work, *ends, stopping):
                task.cancel()
            await asyncio.gather(*work, *ends, stopping, return_exceptions=True)

    def _end_if_failed(self, work: asyncio.Task[None]) -> None:
        if not work.cancelled() and work.exception() is not None:
            self._stop.set()

    # Processes

    def _child(self, name: str, module: str, env: dict[str, str]) -> Child:
        return Child(name, module, env, self._feed.line)

    async def _end_of(self, child: Child) -> None:
        status = await child.wait()
        if not self._stop.is_set():
            self._feed.say(f"the {child.name} ended with status {status}: --verbose shows more", bad=True)

    def _gateway_env(self) -> dict[str, str]:
        ports = self._ports
        return {
            "SWITCHBOARD_DIRECTORY": "announced",
            "SWITCHBOARD_BIND": "127.0.0.1",
            "SWITCHBOARD_GRPC_PORT": str(ports.grpc),
            "SWITCHBOARD_HTTP_PORT": str(ports.http),
            "SWITCHBOARD_LINKS_PORT": str(ports.links),
            "SWITCHBOARD_SESSION_PORT": "0",
            names.ENV_OPS_PORT: str(ports.gateway_ops),
            **_COMMON,
            names.ENV_LOG_LEVEL: "DEBUG",  # calls that no handler answered are told there
        }

    def _sidecar_env(self) -> dict[str, str]:
        return {
            names.ENV_NODE: NODE,
            names.ENV_INSTANCE: f"{NODE}-0",
            names.ENV_POD_UID: f"{NODE}-0",
            names.ENV_GATEWAYS: f"127.0.0.1:{self._ports.links}",
            names.ENV_REGISTRIES: "",
            names.ENV_SOCKET: str(self._socket),
            names.ENV_ASSIGNMENTS: str(self._assignments),
            names.ENV_OPS_PORT: str(self._ports.sidecar_ops),
            **_COMMON,
        }

    def _host_env(self, code: CodeTarget) -> dict[str, str]:
        return {
            names.ENV_SOCKET: str(self._socket),
            names.ENV_CODE: str(code.folder),
            "SWITCHBOARD_MODULES": "" if code.entry else code.module,
            "SWITCHBOARD_LOG_CALLS": "1",
            names.ENV_GATEWAY: f"127.0.0.1:{self._ports.grpc}",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",  # a .pyc of the same second would hide a change
            **_COMMON,
        }

    @property
    def _socket(self) -> Path:
        return self._folder / "host.sock"

    @property
    def _assignments(self) -> Path:
        return self._folder / names.ASSIGNMENTS_FILE

    def _write_assignments(self) -> None:
        from google.protobuf.json_format import MessageToJson

        code = self._work.code
        assignments = pb.Assignments(generation=1, concurrency=256, queue_length=1000, drain_ms=3000)
        assignments.dynamic = code is not None and code.entry is None
        if code is not None and code.entry is not None:
            name = code.entry.rpartition(":")[2].rpartition(".")[2].replace("_", "-").lower()
            assignments.agents.add(name=name, type=name, python=pb.PythonHandler(entry=code.entry))
        for server in self._work.http:
            handler = pb.HttpHandler(port=server.port, path=server.path)
            assignments.agents.add(name=server.type, type=server.type, http=handler)
        self._assignments.write_text(MessageToJson(assignments))

    # Telling

    async def _announce(self, started: float) -> None:
        """Say what there is, once the gateway can reach it."""
        loaded = await self._hosts.start() if self._hosts is not None else []
        if loaded is None:
            if not self._reloads and not self._work.http:
                self._failed = True
                self._stop.set()
                return
            self._feed.say("no agent of the code runs yet: mend it, it is loaded as it is saved", bad=True)
        agents = await self._reachable_agents([*(loaded or ()), *(server.type for server in self._work.http)])
        self._feed.say(f"ready in {time.monotonic() - started:.1f} s: {', '.join(agents)}")
        ports = self._ports
        elsewhere = "" if ports.grpc == names.GATEWAY_GRPC_PORT else f" --gateway localhost:{ports.grpc}"
        for usual, port, asked in (
            (names.GATEWAY_GRPC_PORT, ports.grpc, self._options.port),
            (names.GATEWAY_HTTP_PORT, ports.http, self._options.http_port),
        ):
            if asked is None and port != usual:
                self._feed.say(f"port {usual} is taken, by another switchboard dev perhaps: this one has {port}")
        self._feed.say(f'  switchboard send{elsewhere} {agents[0]} "Hello"')
        url = f"http://localhost:{ports.http}/api/v1/agents/{agents[0]}/execute"
        self._feed.say(f"  curl {url} \\\n    -H 'content-type: application/json' -d '{{\"input\": \"Hello\"}}'")
        self._feed.say("Ctrl-C ends it." + (" Changes are loaded as they are saved." if self._reloads else ""))

    async def _reachable_agents(self, expected: Collection[str]) -> list[str]:
        """The types of the agents that answer, once all that are expected do, or after a while any: an HTTP server may
        not run yet, and users may have to fix their code before there is one at all."""
        url = f"http://127.0.0.1:{self._ports.http}/api/v1/agents"
        patient_until = time.monotonic() + ALL_REACHABLE_S
        while True:
            ready = await asyncio.to_thread(_fetch_ready, url)
            if ready and (set(expected) <= set(ready) or time.monotonic() > patient_until):
                return ready
            await asyncio.sleep(0.05)

    # Reloading

    async def _reload_on_change(self, hosts: Hosts, folder: Path) -> None:
        from watchfiles import PythonFilter, awatch

        watching = awatch(folder, watch_filter=PythonFilter(), step=SETTLE_MS, debounce=400, stop_event=self._stop)
        async with contextlib.aclosing(watching):
            async for changes in watching:
                paths = sorted({Path(path) for _, path in changes})
                changed = ", ".join(str(path.relative_to(folder)) for path in paths[:MAX_SHOWN])
                await hosts.reload(changed, min(saved_at(path) for path in paths))


_COMMON = {names.ENV_LOG_FORMAT: "json", names.ENV_LOG_LEVEL: "INFO", names.ENV_NAMESPACE: "default"}


def _fetch_ready(url: str) -> list[str]:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            found = json.load(response)["agents"]
    except (urllib.error.URLError, OSError, ValueError):
        return []
    return [agent["type"] for agent in found if agent["instancesReady"]]
