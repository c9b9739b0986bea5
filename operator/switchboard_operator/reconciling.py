"""One reconcile of an AgentNode or an Agent: look, decide, do, tell. Safe to run at any time and twice."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeVar

from switchboard_operator.checks import Fault, Proofs, check_agent, check_node, is_leftover
from switchboard_operator.demand import Demand, Demands, is_starting
from switchboard_operator.desired import build_inline_node
from switchboard_operator.digest import covers, digest_of
from switchboard_operator.executing import Executor, Later
from switchboard_operator.hosting import Hostings, PoolHosting, hosting_of
from switchboard_operator.instances import Instance, instances_of, observe_instances
from switchboard_operator.objects import CONFIG_MAP, DEPLOYMENT, Resource
from switchboard_operator.pacing import AssignmentPace, Key, Pace, change_of
from switchboard_operator.plan import Action, Apply, Context, plan_node, plan_trust, waits_to_assign, waits_to_roll
from switchboard_operator.pod import Images, Surroundings
from switchboard_operator.posting import Poster, is_beginning, is_news
from switchboard_operator.registry import Registry
from switchboard_operator.replicas import choose_replicas, idle_limit_s
from switchboard_operator.signals import Source
from switchboard_operator.snapshot import (
    AgentSnapshot,
    Indexes,
    NodeSnapshot,
    agent_snapshot,
    child_names,
    look_at_node,
)
from switchboard_operator.standing import Standing, standing_of, work_of
from switchboard_operator.status import build_agent_status, build_node_status, patch_of
from switchboard_operator.turns import Turns
from switchboard_operator.writing import Writer
from switchboard_wire import names

T = TypeVar("T")

# A fault may be mended where no watch looks: another owner's object, a policy, a quota
RECHECK_S: Final = 15.0
# The watch shows a write of ours within milliseconds; its event brings the key back anyway
ECHO_S: Final = 0.2
# Until the pods that go are marked and all instances are heard: sidecars come back to a new operator within 6 s
SHRINK_S: Final = 10.0


class Look(Protocol):
    """Reads the indexes at one moment."""

    def __call__(self, read: Callable[[Indexes], T]) -> Awaitable[T]:
        """The value of `read`."""
        ...


@dataclass(slots=True)
class Reconciler:
    """Brings objects to what their specs say, as the leader."""

    look: Look
    writer: Writer
    executor: Executor
    poster: Poster
    registry: Registry
    demands: Demands
    images: Images
    around: Surroundings
    add: Callable[[Key, float], None]  # have it looked at in so many seconds
    add_gently: Callable[[Key, float], None]  # … or later, with what follows, while many are looked at
    utc_now: Callable[[], str]  # RFC 3339, seconds
    source: Source = Source.CUSTOM
    ca_bundle: Callable[[], str] = lambda: ""  # what sidecars are to trust
    proofs: Proofs = field(default_factory=Proofs)
    _pace: Pace = field(default_factory=Pace)
    _assignment_pace: AssignmentPace = field(default_factory=AssignmentPace)
    _turns: Turns = field(default_factory=Turns)
    _hostings: Hostings = field(default_factory=Hostings)
    _standings: dict[Key, Standing] = field(default_factory=dict)
    _shrinking: dict[Key, float] = field(default_factory=dict)

    async def reconcile(self, key: Key) -> float | None:
        """Look at one object; returns in how many seconds to look again, if that is known. Raises NotLeading."""
        self.writer.check()  # or all would be looked at for nothing while the Lease is late
        kind, namespace, name = key
        look = self._node if kind == names.AGENT_NODE else self._agent
        return await look(key, namespace, name)

    async def _node(self, key: Key, namespace: str, name: str) -> float | None:
        rolling = self._turns.holder
        snapshot, bound, is_gone = await self.look(lambda indexes: look_at_node(indexes, namespace, name, rolling))
        if is_gone:  # deleted while the watches were listing, so nobody told
            self._turns.forget(rolling)
        if snapshot is None or snapshot.node.meta.deleting:
            self._forget(key)
            return None
        self._wait_for_echo(snapshot)
        node, now = snapshot.node, asyncio.get_running_loop().time()
        fault = check_node(snapshot, self.source)
        instances = instances_of(snapshot, self.registry, now)
        for agent in self._hostings.update(node, instances, bound):
            # One that may not be written yet need not be looked at: it would come back for each instance
            agent_key = (names.AGENT, namespace, agent)
            self.add_gently(agent_key, self._pace.earliest_s(agent_key, now))
        demand, settled = self._demand(snapshot, instances, now), self.executor.settled(node)
        if fault is None and not node.meta.is_paused:
            fault = await self._execute(snapshot, tuple(instances), demand, now)
            if fault is not None and self.executor.is_refused(CONFIG_MAP, node):  # so it is as in the snapshot
                await self._renew_trust(snapshot, now)
        else:
            refusal = await self._renew_trust(snapshot, now)
            fault = fault or refusal
        # Its event brings the key back; until then nothing is known of the pods of its newest template
        has_changed = self.executor.has_changed(snapshot.children.get(DEPLOYMENT), node, settled)
        desired = choose_replicas(snapshot, demand).deployment
        status = build_node_status(snapshot, fault, desired, instances, self.utc_now(), has_changed=has_changed)
        return await self._tell(key, node, status) or (RECHECK_S if fault or has_changed else None)

    async def _renew_trust(self, snapshot: NodeSnapshot, now: float) -> Fault | None:
        """Else a new CA would cut off the pods of a pool that nothing else may be done for."""
        reported = self.registry.reported_generation((snapshot.node.meta.namespace, snapshot.node.meta.name))
        return await self.executor.run(plan_trust(snapshot, self.ca_bundle(), reported), snapshot.node, now)

    def _demand(self, snapshot: NodeSnapshot, instances: list[Instance], now: float) -> Demand:
        """The work for a pool that may sleep; it is looked at again when it may have been idle for long enough."""
        meta, limit_s = snapshot.node.meta, idle_limit_s(snapshot.node)
        pool, replicas = (meta.namespace, meta.name), snapshot.node.spec.get("replicas", 1)
        if self.demands.is_watched(pool):  # the index may show a change before its event does
            self.demands.watch(pool, replicas, now)
        demand = self.demands.of(pool, instances, self.registry, now)
        if limit_s is not None and is_starting(instances, self.registry, limit_s, self.utc_now()):
            demand = replace(demand, idle_s=0.0)
        if limit_s is not None and replicas and demand.idle_s < limit_s:
            self.add((names.AGENT_NODE, *pool), max(1.0, limit_s - demand.idle_s))
        return demand

    async def _execute(
        self, snapshot: NodeSnapshot, instances: tuple[Instance, ...], demand: Demand, now: float
    ) -> Fault | None:
        node = snapshot.node
        for child in snapshot.children.values():
            if is_leftover(child, node):
                raise Later(f"{child.kind} {child.meta.name} of a former AgentNode is being deleted", 1.0)
        context = Context(
            self.images,
            self.around,
            reported_generation=self.registry.reported_generation((node.meta.namespace, node.meta.name)),
            settled=self.executor.settled(node),
            instances=instances,
            demand=demand,
            is_patient=self._is_patient(snapshot, demand, now),
            source=self.source,
            ca_bundle=self.ca_bundle(),
        )
        return await self.executor.run(self._plan(snapshot, context, now), node, now)

    def _plan(self, snapshot: NodeSnapshot, context: Context, now: float) -> list[Action]:
        """What to do: nothing, where all from which it follows is as it was when there was nothing to do."""
        key = (names.AGENT_NODE, snapshot.node.meta.namespace, snapshot.node.meta.name)
        former = self._standings.get(key)
        standing = standing_of(snapshot, choose_replicas(snapshot, context.demand), context)
        # Then it is looked at whether it has come through, whatever it is told now
        has_turn = self._turns.holder == key[1:]
        is_standing = not has_turn and standing is not None and former is not None and standing.rest == former.rest
        if is_standing and standing == former:
            return []
        may_assign = True
        if is_standing or waits_to_assign(snapshot, context):
            may_assign = self._may_assign(key, snapshot, now)
            if is_standing and not may_assign:
                return []
        elif snapshot.children.get(CONFIG_MAP) is None:
            self._assignment_pace.wrote(key, now)
        may_roll = self._may_roll(snapshot, context.demand)
        actions = plan_node(snapshot, replace(context, may_assign=may_assign, may_roll=may_roll))
        self._standings.pop(key, None)
        if standing is not None and not actions:
            self._standings[key] = standing if may_assign else replace(standing, work=None)
        return actions

    def _may_assign(self, key: Key, snapshot: NodeSnapshot, now: float) -> bool:
        """Whether new assignments may be written now; if not, the AgentNode is looked at again when they may."""
        wait = self._assignment_pace.wait_s(key, work_of(snapshot), now)
        if wait > 0:
            self.add(key, wait)
        return wait <= 0

    def calmed(self, now: float) -> list[Key]:
        """AgentNodes whose new assignments need not wait any longer."""
        return self._assignment_pace.calmed(now)

    def begin(self) -> None:
        """This replica leads from now on: what it knew when it led before may be old."""
        self._hostings.clear()
        self._standings.clear()
        self._pace, self._assignment_pace, self._turns, self._shrinking = Pace(), AssignmentPace(), Turns(), {}

    def _is_patient(self, snapshot: NodeSnapshot, demand: Demand, now: float) -> bool:
        """Whether a shrink may still wait; it is looked at again when that time is over."""
        meta, deployment = snapshot.node.meta, snapshot.children.get(DEPLOYMENT)
        key = (names.AGENT_NODE, meta.namespace, meta.name)
        wanted = choose_replicas(snapshot, demand).deployment
        if deployment is None or wanted >= deployment.spec.get("replicas", 1):
            self._shrinking.pop(key, None)
            return True
        left = self._shrinking.setdefault(key, now) + SHRINK_S - now
        if left > 0:
            self.add(key, min(left, 1.0))
        return left > 0

    def _may_roll(self, snapshot: NodeSnapshot, demand: Demand) -> bool:
        """Whether it is its turn to take a new release; if not, it is looked at again."""
        pool = (snapshot.node.meta.namespace, snapshot.node.meta.name)
        waits = waits_to_roll(snapshot, Context(self.images, self.around))
        desired = choose_replicas(snapshot, demand).deployment
        may_roll = self._turns.may_roll(pool, snapshot.children.get(DEPLOYMENT), desired, waits=waits)
        if waits and not may_roll:
            self.add((names.AGENT_NODE, *pool), RECHECK_S)
        return may_roll

    async def _agent(self, key: Key, namespace: str, name: str) -> float | None:
        snapshot = await self.look(lambda indexes: agent_snapshot(indexes, namespace, name))
        if snapshot is None or snapshot.agent.meta.deleting:
            self._forget(key)
            return None
        agent = snapshot.agent
        if self.writer.is_unseen(names.AGENT, namespace, name, agent.meta.resource_version):
            raise Later("a write is not seen yet", ECHO_S)
        fault = check_agent(snapshot)
        if fault is None and agent.spec.get("node") is not None and not agent.meta.is_paused:
            fault = await self._inline_node(snapshot)
        now = asyncio.get_running_loop().time()
        pools = {node.meta.name: self._hosting(snapshot, node, now) for node in snapshot.nodes}
        status = build_agent_status(snapshot, fault, pools, self.utc_now(), self.proofs)
        return await self._tell(key, agent, status) or (RECHECK_S if fault else None)

    def _hosting(self, snapshot: AgentSnapshot, node: Resource, now: float) -> PoolHosting:
        """As the AgentNode was last looked at: a change of it brings back the Agents that it concerns."""
        if (held := self._hostings.get(node)) is not None:
            return held
        return hosting_of(observe_instances(snapshot.pods[node.meta.name], {}, node.status, self.registry, now))

    async def _inline_node(self, snapshot: AgentSnapshot) -> Fault | None:
        """The Agent's own AgentNode, made and kept as the Agent says."""
        agent, held = snapshot.agent, snapshot.own_node
        meta = agent.meta
        version = held.meta.resource_version if held else None
        if self.writer.is_unseen(names.AGENT_NODE, meta.namespace, meta.name, version):
            raise Later("a write is not seen yet", ECHO_S)
        manifest = build_inline_node(agent)
        digest = digest_of(manifest)
        if held is not None:
            if is_leftover(held, agent):
                raise Later(f"AgentNode {meta.name} of a former Agent is being deleted", 1.0)
            applied = held.meta.annotations.get(names.APPLIED_ANNOTATION)
            if applied == digest and covers(held.spec, manifest["spec"]):
                return None
        manifest["metadata"]["annotations"] = {names.APPLIED_ANNOTATION: digest}
        return await self.executor.run(
            [Apply(names.AGENT_NODE, manifest, is_new=held is None)], agent, asyncio.get_running_loop().time()
        )

    async def _tell(self, key: Key, held: Resource, status: dict[str, Any]) -> float | None:
        """Write the status when it differs, as soon and as often as the pace allows."""
        patch = patch_of(held.status, status)
        if patch is None:
            self._pace.is_told(key)
            return None
        now = asyncio.get_running_loop().time()
        wait = self._pace.wait_s(key, change_of(held.status, status), now)
        if wait > 0:
            return wait
        self._pace.wrote(key, now)
        await self.writer.patch_status(held.kind, held.meta.namespace, held.meta.name, patch)
        before = {condition["type"]: condition for condition in held.status.get("conditions") or ()}
        for condition in status["conditions"]:
            former = before.get(condition["type"])
            if is_news(former, condition) and not is_beginning(held, former, condition):
                await self.poster.tell(held, condition)
        return None

    def _wait_for_echo(self, snapshot: NodeSnapshot) -> None:
        """Deciding by what was true before an own write would undo it."""
        node = snapshot.node
        seen: dict[tuple[str, str], str | None] = {(names.AGENT_NODE, node.meta.name): node.meta.resource_version}
        for kind, called in child_names(node.meta.name).items():
            child = snapshot.children.get(kind)
            seen[(kind, called)] = child.meta.resource_version if child else None
        for (kind, called), version in seen.items():
            if self.writer.is_unseen(kind, node.meta.namespace, called, version):
                raise Later(f"the write of {kind} {called} is not seen yet", ECHO_S)

    def _forget(self, key: Key) -> None:
        self._pace.forget(key)
        if key[0] == names.AGENT_NODE:
            self._hostings.forget((key[1], key[2]))
            self._standings.pop(key, None)
            self._assignment_pace.forget(key)
            self._shrinking.pop(key, None)
            self._turns.forget(key[1:])
        self.executor.forget(key[1], key[2])
