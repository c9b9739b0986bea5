"""What the shells over local peers need: a peer for each client, and rights before the answer to a question."""

from typing import TYPE_CHECKING

from switchboard_gateway.access.entrance import Entrance
from switchboard_gateway.access.guard import Guard
from switchboard_gateway.access.reach import Key, reach_of, unknown
from switchboard_gateway.access.rights import GET, LIST, WATCH, Right
from switchboard_wire.names import AGENT_NODES
from switchboard_wire.peer import LocalPeer
from switchboard_wire.v1 import frames_pb2 as pb

if TYPE_CHECKING:
    from switchboard_gateway.core import Core


class Doorway:
    """One surface of the gateway. guard: None: no tokens are asked for, and one peer carries all calls.

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
        visitor = await guard.enter(token)
        peer = visitor.peers.get(self._label)
        if peer is None:
            entrance = Entrance(self._core, guard, visitor)
            peer = visitor.peers[self._label] = self._core.attach_local(self._label, entrance)
        return peer

    async def entrance(self, token: str) -> Entrance | None:
        """For a client that stays; None where no tokens are asked for. Raises SwitchboardError."""
        guard = self._guard
        return None if guard is None else Entrance(self._core, guard, await guard.enter(token), token)

    async def may_call(self, token: str, target: pb.Target) -> None:
        """Raise SwitchboardError, before anything of the call is read, when the client may not make it."""
        if self._guard is not None:
            visitor = await self._guard.enter(token)
            reach = reach_of(self._core.table, target, self._core.namespace)
            await self._guard.narrow(visitor, reach.rights)
            if not reach.is_known:
                raise unknown(target, self._core.namespace)

    async def may_list(self, token: str, namespace: str) -> None:
        """Raise SwitchboardError unless the client may list the Agents of a namespace."""
        if self._guard is not None:
            await self._guard.require(token, Right(LIST, namespace or self._core.namespace))

    async def may_watch(self, token: str, namespace: str) -> None:
        """Raise SwitchboardError unless the client may watch the Agents of a namespace."""
        if self._guard is not None:
            await self._guard.require(token, Right(WATCH, namespace or self._core.namespace))

    async def may_list_instances(self, token: str, namespace: str) -> None:
        """Raise SwitchboardError unless the client may list AgentNodes. namespace: empty: those of all namespaces."""
        if self._guard is not None:
            await self._guard.require(token, Right(LIST, namespace, resource=AGENT_NODES))

    async def may_get(self, token: str, namespace: str, type_: str) -> frozenset[Key] | None:
        """The Agents of a type that the client may see; None: all. Raises SwitchboardError when it may see none."""
        if self._guard is None:
            return None
        visitor = await self._guard.enter(token)
        target = pb.Target(namespace=namespace, type=type_)
        reach = reach_of(self._core.table, target, namespace, GET)
        allowed = await self._guard.narrow(visitor, reach.rights)
        if not reach.is_known:
            raise unknown(target, namespace)
        return allowed
