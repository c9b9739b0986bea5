"""What the shells over local peers need: a peer for each client, and rights before the answer to a question."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from switchboard_gateway.access.entrance import Entrance
from switchboard_gateway.access.guard import Guard
from switchboard_gateway.access.reach import Key, reach_of, unknown
from switchboard_gateway.access.rights import GET, LIST, WATCH, Right
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.names import AGENT_NODES
from switchboard_wire.peer import LocalPeer
from switchboard_wire.v1 import frames_pb2 as pb

if TYPE_CHECKING:
    from switchboard_gateway.core import Core


class Doorway:
    """One surface of the gateway. guard: None: no tokens are asked for, and one peer carries all calls.

    label: its name in the metrics of refusals.

    everybody: that peer. Where tokens are asked for, each client has one of its own.
    """

    def __init__(self, core: "Core", guard: Guard | None, label: str) -> None:
        self._core, self._guard, self._label = core, guard, label
        self.everybody = core.attach_local(label) if guard is None else None

    async def peer(self, token: str) -> LocalPeer:
        """Where the client of a token opens its calls. Raises SwitchboardError."""
        guard = self._guard
        if guard is None:
            assert self.everybody is not None
            return self.everybody
        with self._counted():
            visitor = await guard.enter(token)
        peer = visitor.peers.get(self._label)
        if peer is None:
            entrance = Entrance(self._core, guard, visitor, surface=self._label)
            peer = visitor.peers[self._label] = self._core.attach_local(self._label, entrance)
        return peer

    def recall(self, token: str, target: pb.Target) -> LocalPeer | None:
        """The peer of a client of which it is known that it may make a call. None: see `may_call` and `peer`.

        Raises SwitchboardError for a target that is none.
        """
        guard = self._guard
        if guard is None:
            return self.everybody
        reach = reach_of(self._core.table, target, self._core.namespace)
        visitor = guard.recall(token, reach.rights) if reach.is_known else None
        return visitor.peers.get(self._label) if visitor is not None else None

    async def entrance(self, token: str) -> Entrance | None:
        """For a client that stays; None where no tokens are asked for. Raises SwitchboardError."""
        guard = self._guard
        if guard is None:
            return None
        with self._counted():
            return Entrance(self._core, guard, await guard.enter(token), token, self._label)

    async def may_call(self, token: str, target: pb.Target) -> None:
        """Raise SwitchboardError, before anything of the call is read, when the client may not make it."""
        if self._guard is not None:
            reach = reach_of(self._core.table, target, self._core.namespace)
            with self._counted():
                visitor = await self._guard.enter(token)
                await self._guard.narrow(visitor, reach.rights)
            if not reach.is_known:
                raise unknown(target, self._core.namespace)

    async def may_list(self, token: str, namespace: str) -> None:
        """Raise SwitchboardError unless the client may list the Agents of a namespace."""
        await self._require(token, Right(LIST, namespace or self._core.namespace))

    async def may_watch(self, token: str, namespace: str) -> None:
        """Raise SwitchboardError unless the client may watch the Agents of a namespace."""
        await self._require(token, Right(WATCH, namespace or self._core.namespace))

    async def may_list_instances(self, token: str, namespace: str) -> None:
        """Raise SwitchboardError unless the client may list AgentNodes. namespace: empty: those of all namespaces."""
        await self._require(token, Right(LIST, namespace, resource=AGENT_NODES))

    async def may_get(self, token: str, namespace: str, type_: str) -> frozenset[Key] | None:
        """The Agents of a type that the client may see; None: all. Raises SwitchboardError when it may see none."""
        if self._guard is None:
            return None
        target = pb.Target(namespace=namespace, type=type_)
        reach = reach_of(self._core.table, target, namespace, GET)
        with self._counted():
            visitor = await self._guard.enter(token)
            allowed = await self._guard.narrow(visitor, reach.rights)
        if not reach.is_known:
            raise unknown(target, namespace)
        return allowed

    async def _require(self, token: str, right: Right) -> None:
        if self._guard is not None:
            with self._counted():
                await self._guard.require(token, right)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except SwitchboardError as error:
            self._core.metrics.count_refusal(self._label, error.error.code)
            raise
