"""Which agents this process runs: takes assignments, loads and unloads, and says what came of it."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from switchboard.caller import Uplink
from switchboard.host.context import Surroundings
from switchboard.host.hosted import HostedAgent
from switchboard.host.loading import (
    Loaded,
    LoadError,
    definitions_in,
    describe,
    import_module,
    load_entry,
    make_handler,
)
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.host")

# A failed entry is tried again, because its file may reach the mounted folder later than the assignment
# Why an agent that code registers is not run; the sidecar says the same of hosts that try
RESERVED = (
    "{!r} is a type that an Agent of this namespace declares for another AgentNode: "
    "register another type, or bind that Agent to this AgentNode"
)
FIRST_RETRY_S = 2.0
MAX_RETRY_S = 30.0
# What handlers that were cut off are given to end before on_stop runs, at least
LAST_S = 1.0


@dataclass(frozen=True, slots=True)
class HostSettings:
    """code: folder of user code. modules: where agents register themselves. logs_calls: a log line per call."""

    code: Path
    modules: tuple[str, ...] = ()
    logs_calls: bool = False


@dataclass(slots=True)
class Deployed:
    """One agent and how far it is. wanted: its assignment, None when only its code registers it."""

    name: str
    type: str
    version: str
    wanted: pb.Assignment | None = None
    state: pb.HostedState.ValueType = pb.HOSTED_LOADING
    message: str = ""
    agent: HostedAgent | None = None
    retries: int = 0
    is_refused: bool = False  # its type is another AgentNode's

    def to_wire(self) -> pb.HostedAgent:
        definition = self.agent.loaded.definition if self.agent else None
        return pb.HostedAgent(
            name=self.name,
            type=self.type,
            version=self.version,
            state=self.state,
            message=self.message[:1024],
            description=definition.description if definition else "",
            capabilities=[pb.Capability(name=name, version=version) for name, version in definition.capabilities]
            if definition
            else [],
            topics=[pb.Subscription(topic=topic, prefix=prefix) for topic, prefix in definition.topics]
            if definition
            else [],
        )


@dataclass(slots=True)
class Deployment:
    """The agents of this process. One task at a time runs `apply`; `changed` hears of each step."""

    settings: HostSettings
    uplink: Uplink
    deadlines: Deadlines
    pool: Executor
    changed: Callable[[], None]
    generation: int = 0
    agents: dict[str, Deployed] = field(default_factory=dict)
    _stopping: dict[asyncio.Task[None], Deployed] = field(default_factory=dict)

    def hosted(self) -> pb.Hosted:
        """What is announced."""
        return pb.Hosted(generation=self.generation, agents=[agent.to_wire() for agent in self.agents.values()])

    def ready(self) -> Mapping[str, HostedAgent]:
        return {name: deployed.agent for name, deployed in self.agents.items() if deployed.agent is not None}

    async def apply(self, assignments: pb.Assignments) -> bool:
        """Make the agents those that are assigned; what stays as it was goes on undisturbed.

        Returns whether every module and agent loaded, and there is one at all.
        """
        self.generation = assignments.generation
        wanted = {assignment.name: assignment for assignment in assignments.agents if not assignment.HasField("http")}
        for name, deployed in list(self.agents.items()):
            if deployed.wanted is None and _may_stay(deployed, assignments):
                continue
            if name not in wanted or _differ(deployed.wanted, wanted[name]):
                del self.agents[name]
                self._begin_stop(deployed)
        fresh = [_deployed_of(assignment) for name, assignment in wanted.items() if name not in self.agents]
        self.agents |= {deployed.name: deployed for deployed in fresh}
        self.changed()
        # Entries first: their modules may register the agents that have none. Side by side: one may load a model
        await asyncio.gather(*(self._start(deployed) for deployed in fresh if _has_entry(deployed)))
        await asyncio.gather(*(self._start(deployed) for deployed in fresh if not _has_entry(deployed)))
        imported = True
        if assignments.dynamic:
            imported = await self._start_registered(frozenset(assignments.reserved))
            if imported and not self.agents and self._modules():
                log.warning("no agent is defined", extra={"modules": ", ".join(self._modules())})
        self.changed()
        return imported and bool(self.agents) and len(self.ready()) == len(self.agents)

    async def retry_failed(self) -> None:
        """Try the agents again that failed to load."""
        for deployed in self._to_retry():
            deployed.retries += 1
            await self._start(deployed)

    def retry_delay_s(self) -> float | None:
        """Seconds until failed agents should be tried again; None when none failed."""
        failed = [deployed.retries for deployed in self._to_retry()]
        return min(FIRST_RETRY_S * 2 ** min(failed), MAX_RETRY_S) if failed else None

    def _to_retry(self) -> list[Deployed]:
        return [d for d in self.agents.values() if d.state == pb.HOSTED_FAILED and not d.is_refused]

    async def stop_all(self, within_s: float = 0.0) -> None:
        """Stop every agent, and see those to their end that were replaced. within_s: what their handlers are given."""
        agents, self.agents = list(self.agents.values()), {}
        for deployed in agents:
            self._begin_stop(deployed)
        timer = asyncio.get_running_loop().call_later(max(within_s, LAST_S), self._give_up)
        try:
            await asyncio.gather(*self._stopping)
        finally:
            timer.cancel()

    def _begin_stop(self, deployed: Deployed) -> None:
        """Beside: what it has in flight may take its time, and others must not wait for it."""
        task = asyncio.create_task(self._stop(deployed))
        self._stopping[task] = deployed
        task.add_done_callback(self._stopping.pop)

    def _give_up(self) -> None:
        for deployed in self._stopping.values():
            if deployed.agent is not None:
                deployed.agent.give_up()

    async def _start(self, deployed: Deployed) -> None:
        wanted = deployed.wanted
        try:
            config = _read_config(wanted.python.config_json) if wanted else {}
            # In a thread: user code may take seconds to import, and the stream must stay alive meanwhile
            loaded = await asyncio.to_thread(self._load, deployed, config)
            await self._run(deployed, loaded, config)
        except LoadError as error:
            deployed.state, deployed.message = pb.HOSTED_FAILED, str(error)
            if deployed.retries == 0:
                trace = error.__cause__
                log.error("agent failed to load", exc_info=trace, extra={"agent": deployed.name, "reason": str(error)})
        self.changed()

    async def _run(self, deployed: Deployed, loaded: Loaded, config: Mapping[str, Any]) -> None:
        around = Surroundings(self.uplink, self.deadlines, deployed.name, deployed.type, config)
        agent = HostedAgent(loaded, around, self.pool)
        try:
            await agent.run_hook(loaded.definition.on_start)
        except (Exception, SystemExit) as error:
            raise LoadError(f"{deployed.name}: on_start: {describe(error, self.settings.code)}") from error
        if self.agents.get(deployed.name) is deployed:
            deployed.agent, deployed.state, deployed.message = agent, pb.HOSTED_READY, ""
            log.info("agent ready", extra={"agent": deployed.name})

    def _load(self, deployed: Deployed, config: Mapping[str, Any]) -> Loaded:
        code = self.settings.code
        if deployed.wanted is not None and _has_entry(deployed):
            return load_entry(deployed.wanted.python.entry, config, code)
        for module in self._modules():
            for definition, target in definitions_in(import_module(module, module, code)):
                if definition.type == deployed.type:
                    return make_handler(f"{module}:{definition.type}", target, config, code)
        raise LoadError(
            f"no code registers an agent of type {deployed.type!r}: set handler.python.entry of Agent "
            f"{deployed.name!r}, or name its module in SWITCHBOARD_MODULES"
        )

    def _modules(self) -> list[str]:
        """Modules whose decorated agents count as registered."""
        entries = [d.wanted.python.entry for d in self.agents.values() if d.wanted and d.wanted.HasField("python")]
        return list(dict.fromkeys([*self.settings.modules, *(entry.partition(":")[0] for entry in entries)]))

    async def _start_registered(self, reserved: frozenset[str]) -> bool:
        """Run what code registers and nobody assigned, but reserved types; whether every module could be imported."""
        imported = True
        types = {deployed.type for deployed in self.agents.values()}
        assigned = {d.wanted.python.entry for d in self.agents.values() if d.wanted}
        for module in self._modules():
            try:
                found = await asyncio.to_thread(import_module, module, module, self.settings.code)
            except LoadError as error:
                log.error("module failed to load", exc_info=error.__cause__, extra={"reason": str(error)})
                imported = False
                continue
            for definition, target in definitions_in(found):
                if definition.type in types or f"{module}:{getattr(target, '__name__', '')}" in assigned:
                    continue
                deployed = Deployed(definition.type, definition.type, definition.version)
                self.agents[deployed.name] = deployed
                types.add(definition.type)
                if definition.type in reserved:
                    deployed.is_refused = True
                    deployed.state, deployed.message = pb.HOSTED_FAILED, RESERVED.format(definition.type)
                    log.error("agent refused", extra={"agent": deployed.name, "reason": deployed.message})
                else:
                    await self._start(deployed)
        return imported

    async def _stop(self, deployed: Deployed) -> None:
        agent = deployed.agent
        if agent is None:
            return
        if not await agent.idle():
            log.warning("on_stop runs beside a handler that has not ended", extra={"agent": deployed.name})
        try:
            await agent.run_hook(agent.loaded.definition.on_stop)
        except (Exception, SystemExit) as error:
            log.error("on_stop failed", exc_info=error, extra={"agent": deployed.name})
        log.info("agent stopped", extra={"agent": deployed.name})


def _deployed_of(assignment: pb.Assignment) -> Deployed:
    return Deployed(assignment.name, assignment.type or assignment.name, assignment.version, assignment)


def _may_stay(deployed: Deployed, assignments: pb.Assignments) -> bool:
    """Whether an agent that code registered, and nobody assigned, goes on undisturbed."""
    assigned = {assignment.type for assignment in assignments.agents} | {a.name for a in assignments.agents}
    taken = deployed.type in assigned or deployed.type in assignments.reserved
    return assignments.dynamic and not taken and not deployed.is_refused


def _has_entry(deployed: Deployed) -> bool:
    return deployed.wanted is not None and deployed.wanted.HasField("python")


def _read_config(text: str) -> Mapping[str, Any]:
    try:
        config = json.loads(text or "{}")
    except ValueError as error:
        raise LoadError(f"handler.python.config is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise LoadError("handler.python.config is not a JSON object")
    return config


def _differ(old: pb.Assignment | None, new: pb.Assignment) -> bool:
    """Whether an agent must be loaded anew; limits that the sidecar keeps do not matter here."""
    if old is None:
        return True
    return (old.type, old.version, old.python) != (new.type, new.version, new.python)
