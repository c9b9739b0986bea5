"""From events to keys: what must be looked at again when something has changed.

Called in the watches' loop; everything that it does, it does in the operator's.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from switchboard_operator.binding import type_of
from switchboard_operator.objects import CONFIG_MAP, Pod, Resource
from switchboard_operator.pacing import Key
from switchboard_operator.snapshot import Indexes, bound_agents, nodes_of
from switchboard_operator.workqueue import Lanes
from switchboard_operator.writing import ObjectName
from switchboard_wire import names

Name = tuple[str, str]

# A change that comes while its object is being written may be that write: its answer comes within this time
ANSWER_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Poke:
    """A key to be looked at. shown: the object, and its version, of which nothing but a status or a child is new."""

    key: Key
    is_gentle: bool = False
    shown: tuple[ObjectName, str] | None = None


class Pokes:
    """A `Listener` that names keys to the queue.

    Every replica is told, in the operator's loop, of each ConfigMap of assignments (`assigned`) and of each AgentNode
    (`known`), both with True when it is gone, and of whether the indexes are whole (`synced`). is_echo: whether an
    object in a version is what this replica wrote itself, of which there is nothing to learn; asked in that loop.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        queue: Lanes[Key],
        assigned: Callable[[Resource, bool], None],
        known: Callable[[Resource, bool], None],
        synced: Callable[[bool], None],
        is_echo: Callable[[ObjectName, str], bool | None] = lambda _name, _version: False,
    ) -> None:
        self._loop, self._queue, self._is_echo = loop, queue, is_echo
        self._assigned, self._known, self._synced = assigned, known, synced
        self._is_synced = False
        self._named: deque[Poke] = deque()
        self._is_called = False
        # What of an object matters to others, as of its last event: most events change nothing of it
        self._node_marks: dict[Name, object] = {}
        self._agent_marks: dict[Name, tuple[object, tuple[str, ...]]] = {}
        self._specs: dict[ObjectName, object] = {}
        self._pods: dict[str, Pod] = {}
        self._zones: dict[Name, Mapping[str, str]] = {}
        self._jobs: set[asyncio.Task[Any]] = set()

    def spawn(self, job: Coroutine[Any, Any, object]) -> None:
        """Run a short job in the operator's loop."""
        task = self._loop.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    def listing_begins(self) -> None:
        self._is_synced = False
        self._node_marks.clear()
        self._agent_marks.clear()
        self._specs.clear()
        self._pods.clear()
        self._zones.clear()
        self._loop.call_soon_threadsafe(self._synced, False)

    def changed(self, kind: str, resource: Resource, gone: bool, indexes: Indexes) -> None:
        # kopf hands out no event before every index has had its first whole listing
        if not self._is_synced:
            self._is_synced = True
            self._loop.call_soon_threadsafe(self._synced, True)
        if kind == names.AGENT_NODE:
            self._node_changed(resource, gone, indexes)
        elif kind == names.AGENT:
            self._agent_changed(resource, gone, indexes)
        else:
            self._child_changed(kind, resource, gone)

    def pod_changed(self, pod: Pod, gone: bool) -> None:
        if gone:
            self._pods.pop(pod.uid, None)
        elif self._pods.get(pod.uid) == pod:
            return
        else:
            self._pods[pod.uid] = pod
        if pod.node:
            self._add_gently(names.AGENT_NODE, pod.namespace, pod.node)

    def zones_changed(self, endpoints: Name, node: str, zones: Mapping[str, str]) -> None:
        if self._zones.get(endpoints, {}) == zones:
            return
        if zones:
            self._zones[endpoints] = zones
        else:
            self._zones.pop(endpoints, None)
        if node:
            self._add_gently(names.AGENT_NODE, endpoints[0], node)

    def _node_changed(self, node: Resource, gone: bool, indexes: Indexes) -> None:
        meta = node.meta
        name = (meta.namespace, meta.name)
        self._add_changed(node, gone)
        self._loop.call_soon_threadsafe(self._known, node, gone)
        sleeps = any(condition.get("reason") == "ScaledToZero" for condition in node.status.get("conditions") or ())
        mark = None if gone else (meta.uid, meta.owner_uid, meta.labels, sleeps)
        if self._node_marks.get(name) == mark:
            return
        if gone:
            self._node_marks.pop(name, None)
        else:
            self._node_marks[name] = mark
        for agent in bound_agents(indexes, node):
            self._add(names.AGENT, meta.namespace, agent.meta.name)
        for agent in indexes.agents_selecting.get(meta.namespace, ()):
            self._add(names.AGENT, meta.namespace, agent.meta.name)
        if (*name,) in indexes.agents:  # an Agent of this name may have or want it as its inline node
            self._add(names.AGENT, *name)

    def _agent_changed(self, agent: Resource, gone: bool, indexes: Indexes) -> None:
        meta = agent.meta
        name = (meta.namespace, meta.name)
        self._add_changed(agent, gone)
        former_mark, former_nodes = self._agent_marks.get(name, (None, ()))
        mark = None if gone else (meta.uid, meta.generation, meta.deleting)
        nodes = () if gone else tuple(node.meta.name for node in nodes_of(indexes, agent))
        if mark is not None and mark == former_mark and nodes == former_nodes:
            return
        if gone:
            self._agent_marks.pop(name, None)
        else:
            self._agent_marks[name] = (mark, nodes)
        for node in {*nodes, *former_nodes}:
            self._add_gently(names.AGENT_NODE, meta.namespace, node)
        for pool in indexes.nodes_in.get(meta.namespace, ()):
            if pool.spec.get("registration") == "Dynamic":  # its code may not register this type, or may again
                self._add_gently(names.AGENT_NODE, meta.namespace, pool.meta.name)
        # Who had lost against this one may win now, on its own AgentNodes
        for claim in indexes.claims.get((meta.namespace, type_of(agent)), ()):
            if claim.name == meta.name:
                continue
            self._add(names.AGENT, meta.namespace, claim.name)
            for rival in indexes.agents.get((meta.namespace, claim.name), ()):
                for node_of_rival in nodes_of(indexes, rival):
                    self._add(names.AGENT_NODE, meta.namespace, node_of_rival.meta.name)

    def _child_changed(self, kind: str, child: Resource, gone: bool) -> None:
        meta = child.meta
        if kind == CONFIG_MAP:
            self._loop.call_soon_threadsafe(self._assigned, child, gone)
        owner = meta.owner_name if meta.owner_kind == names.AGENT_NODE else str(meta.labels.get(names.NODE_LABEL, ""))
        if owner:
            self._add_gently(names.AGENT_NODE, meta.namespace, owner, None if gone else child)

    def _add_changed(self, held: Resource, gone: bool) -> None:
        """Name an AgentNode or Agent that has changed: at once, if more of it is new than its status."""
        meta = held.meta
        name = (held.kind, meta.namespace, meta.name)
        spec = None if gone else (meta.uid, meta.generation, meta.deleting, meta.labels, meta.annotations)
        if spec is not None and self._specs.get(name) == spec:
            self._add_gently(*name, held)
            return
        if spec is None:
            self._specs.pop(name, None)
        else:
            self._specs[name] = spec
        self._add(*name)

    def _add(self, kind: str, namespace: str, name: str) -> None:
        self._name(Poke((kind, namespace, name)))

    def _add_gently(self, kind: str, namespace: str, name: str, shown: Resource | None = None) -> None:
        """Name a key that may rest while many are looked at, and need not be if what is shown is our own write."""
        version = None
        if shown is not None:
            version = (shown.kind, shown.meta.namespace, shown.meta.name), shown.meta.resource_version
        self._name(Poke((kind, namespace, name), True, version))

    def _name(self, poke: Poke) -> None:
        """Waking the other loop costs more than all else here, so it is woken once for many."""
        self._named.append(poke)
        if not self._is_called:
            self._is_called = True
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        # In this order: what is named from now on calls again
        self._is_called = False
        while self._named:
            self._hand_on(self._named.popleft())

    def _hand_on(self, poke: Poke, *, may_wait: bool = True) -> None:
        is_echo = self._is_echo(*poke.shown) if poke.shown is not None else False
        if is_echo:
            return
        if is_echo is None and may_wait:
            self._loop.call_later(ANSWER_S, functools.partial(self._hand_on, poke, may_wait=False))
        elif poke.is_gentle:
            self._queue.add_gently(poke.key)
        else:
            self._queue.add(poke.key)
