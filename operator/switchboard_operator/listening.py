"""From events to keys: what must be looked at again when something has changed.

Called in the watches' loop; everything that it does, it does in the operator's.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from switchboard_operator.binding import type_of
from switchboard_operator.objects import CONFIG_MAP, Resource
from switchboard_operator.pacing import Key
from switchboard_operator.snapshot import Indexes, bound_agents, nodes_of
from switchboard_operator.workqueue import Lanes
from switchboard_wire import names

Name = tuple[str, str]


class Pokes:
    """A `Listener` that names keys to the queue.

    Every replica is told, in the operator's loop, of each ConfigMap of assignments (`assigned`) and of each AgentNode
    (`known`), both with True when it is gone, and of whether the indexes are whole (`synced`).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        queue: Lanes[Key],
        assigned: Callable[[Resource, bool], None],
        known: Callable[[Resource, bool], None],
        synced: Callable[[bool], None],
    ) -> None:
        self._loop, self._queue = loop, queue
        self._assigned, self._known, self._synced = assigned, known, synced
        self._is_synced = False
        self._named: deque[Key] = deque()
        self._is_called = False
        # What of an object matters to others, as of its last event: most events change nothing of it
        self._node_marks: dict[Name, object] = {}
        self._agent_marks: dict[Name, tuple[object, tuple[str, ...]]] = {}
        self._jobs: set[asyncio.Task[None]] = set()

    def spawn(self, job: Coroutine[Any, Any, None]) -> None:
        """Run a short job in the operator's loop."""
        task = self._loop.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    def listing_begins(self) -> None:
        self._is_synced = False
        self._node_marks.clear()
        self._agent_marks.clear()
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

    def pods_changed(self, namespace: str, node: str) -> None:
        if node:
            self._add(names.AGENT_NODE, namespace, node)

    def _node_changed(self, node: Resource, gone: bool, indexes: Indexes) -> None:
        meta = node.meta
        name = (meta.namespace, meta.name)
        self._add(names.AGENT_NODE, *name)
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
        self._add(names.AGENT, *name)
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
            self._add(names.AGENT_NODE, meta.namespace, node)
        for pool in indexes.nodes_in.get(meta.namespace, ()):
            if pool.spec.get("registration") == "Dynamic":  # its code may not register this type, or may again
                self._add(names.AGENT_NODE, meta.namespace, pool.meta.name)
        # Who had lost against this one may win now, on its own AgentNodes
        for claim in indexes.claims.get((meta.namespace, type_of(agent)), ()):
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
            self._add(names.AGENT_NODE, meta.namespace, owner)

    def _add(self, kind: str, namespace: str, name: str) -> None:
        """Name a key. Waking the other loop costs more than all else here, so it is woken once for many."""
        self._named.append((kind, namespace, name))
        if not self._is_called:
            self._is_called = True
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        # In this order: what is named from now on calls again
        self._is_called = False
        while self._named:
            self._queue.add(self._named.popleft())
