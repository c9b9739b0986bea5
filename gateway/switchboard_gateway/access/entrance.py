"""One client's way into the core where tokens are asked for: each OPEN needs its right before it is routed."""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from switchboard_gateway.access.guard import Guard, refusal
from switchboard_gateway.access.reach import Reach, keys_of, reach_of, unknown
from switchboard_gateway.access.rights import Right
from switchboard_gateway.access.visitors import Visitor
from switchboard_gateway.callers import sign
from switchboard_gateway.faults import without_credit
from switchboard_wire.errors import SwitchboardError, close_with, failure
from switchboard_wire.limits import INITIAL_CREDIT_BYTES, MAX_KEPT_FRAMES
from switchboard_wire.peer import Peer, copy_frame
from switchboard_wire.v1 import frames_pb2 as pb

if TYPE_CHECKING:
    from switchboard_gateway.core import Core

log = logging.getLogger("switchboard.gateway.access")

# Calls of one client that wait for the API server's word
MAX_WAITING: Final = 1000


class Entrance:
    """Takes a client's calls. token: of a client that stays, to look at it again; empty: each request shows it.

    surface: where it came in, for the metrics.

    Has `open_call` as the core has it, so that whoever serves a peer needs to know of no difference.
    """

    __slots__ = ("_core", "_guard", "_on_expiry", "_timer", "_token", "_waiting", "surface", "visitor")

    def __init__(self, core: "Core", guard: Guard, visitor: Visitor, token: str = "", surface: str = "session") -> None:
        self._core, self._guard, self._token, self.surface = core, guard, token, surface
        self.visitor = visitor
        self._waiting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._on_expiry: Callable[[], None] | None = None

    def open_call(self, peer: Peer, frame: pb.Frame, namespace: str) -> None:
        """Take a call as `Core.open_call` does, once it is known that the client may make it."""
        opened, visitor, core = frame.open, self.visitor, self._core
        sign(opened, visitor.principal)
        now = core.now()
        if now < visitor.until or not self._token:
            target = opened.target
            key = target.namespace or namespace, target.type
            known = visitor.passes.get(key)
            # Nearly every call: the same Agents as before, and every right to them still counts
            is_same = known is not None and now < known.until and known.routes is core.table.by_type.get(key)
            if is_same and not target.topic:
                core.open_call(peer, frame, namespace)
                return
        try:
            reach = reach_of(core.table, opened.target, namespace)
            if visitor.lacks(reach.rights, now) or (self._token and now >= visitor.until):
                self._wait(peer, frame, namespace)
            else:
                self._pass(peer, frame, namespace, reach)
        except SwitchboardError as error:
            self._refuse(peer, frame, error)

    def again(self) -> "Entrance":
        """The same client's on another stream of its own."""
        return Entrance(self._core, self._guard, self.visitor, self._token, self.surface)

    async def settle(self, rights: Collection[Right]) -> list[Right]:
        """Those of some rights that the client has, asked for where it is not known. Raises SwitchboardError."""
        await self._look_again()
        await self._guard.settle(self.visitor, rights)
        return self.visitor.granted(rights)

    async def renew(self, token: str) -> None:
        """Take a client's fresh token. Raises SwitchboardError, also when it is another's."""
        visitor = await self._guard.enter(token)
        if visitor.user.name != self.visitor.user.name:
            raise failure(pb.PERMISSION_DENIED, "the fresh token is another user's")
        self.visitor, self._token = visitor, token
        if self._on_expiry is not None:
            self.watch(self._on_expiry)

    def watch(self, on_expiry: Callable[[], None]) -> None:
        """Tell when the token of a client that stays expires, and has not been renewed, until `leave`."""
        self.leave()
        self._on_expiry = on_expiry
        if self.visitor.expires != float("inf"):
            left_s = max(0.0, self.visitor.expires - self._core.now())
            self._timer = asyncio.get_running_loop().call_later(left_s, on_expiry)

    def leave(self) -> None:
        """The client has gone: it is told nothing more."""
        self._on_expiry = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass(self, peer: Peer, frame: pb.Frame, namespace: str, reach: Reach) -> None:
        """Route a call whose rights are all decided. Raises SwitchboardError."""
        rights = reach.rights
        granted = self.visitor.granted(rights)
        if rights and not granted:
            raise refusal(self.visitor, rights[0])
        if not reach.is_known:
            raise unknown(frame.open.target, namespace)
        if len(granted) == len(rights):
            target = frame.open.target
            if target.type and not target.topic:
                key = target.namespace or namespace, target.type
                self.visitor.remember(key, self._core.table.by_type[key], rights)
            self._core.open_call(peer, frame, namespace)
        else:
            self._core.open_call(peer, frame, namespace, keys_of(granted))

    def _refuse(self, peer: Peer, frame: pb.Frame, error: SwitchboardError) -> None:
        self._core.metrics.count_refusal(self.surface, error.error.code)
        self._core.note_refusal(frame.open.target, error.error)
        peer.send(close_with(frame.call, error.error))

    # Calls that wait for the API server's word

    def _wait(self, peer: Peer, frame: pb.Frame, namespace: str) -> None:
        if len(self._waiting) >= MAX_WAITING:
            raise failure(pb.OVERLOADED, "too many calls wait for the API server's word", retry_after_ms=100)
        task = asyncio.create_task(self._settle(_Waiting(peer, copy_frame(frame)), namespace))
        self._waiting.add(task)
        self._core.call_began()
        task.add_done_callback(self._settled)

    def _settled(self, task: "asyncio.Task[None]") -> None:
        self._waiting.discard(task)
        self._core.call_ended()

    async def _settle(self, call: "_Waiting", namespace: str) -> None:
        core, frame = self._core, call.frame
        began = core.now()
        try:
            await self._look_again()
            await self._guard.settle(self.visitor, reach_of(core.table, frame.open.target, namespace).rights)
        except SwitchboardError as error:
            if call.leave():
                self._refuse(call.peer, frame, error)
            return
        if not call.leave():
            return
        opened = frame.open
        sign(opened, self.visitor.principal)
        if opened.deadline_ms:
            opened.deadline_ms = max(1, opened.deadline_ms - int((core.now() - began) * 1000))
        try:
            # The Agents may be others by now; about one that has come meanwhile nothing is known, so it gets no call
            self._pass(call.peer, frame, namespace, reach_of(core.table, opened.target, namespace))
        except SwitchboardError as error:
            self._refuse(call.peer, frame, error)
            return
        for later in call.later:
            call.peer.dispatch(later)

    async def _look_again(self) -> None:
        """See that the token of a client that stays is still good. Raises SwitchboardError."""
        if self._token and self._core.now() >= self.visitor.until:
            self.visitor = await self._guard.enter(self._token)


class _Waiting:
    """A call that was not routed yet, with what its caller says meanwhile."""

    __slots__ = ("_is_here", "_size", "frame", "later", "peer")

    def __init__(self, peer: Peer, frame: pb.Frame) -> None:
        self.peer = peer
        self.frame = frame
        self.later: list[pb.Frame] = []
        self._size = 0
        self._is_here = True
        peer.accept(frame.call, self._on_frame)

    def _on_frame(self, frame: pb.Frame) -> None:
        self._size += len(frame.data)
        if frame.kind == pb.CANCEL:
            self.leave()
        elif self._size > INITIAL_CREDIT_BYTES or len(self.later) >= MAX_KEPT_FRAMES:
            self.leave()
            self.peer.send(close_with(self.frame.call, without_credit()))
        else:
            self.later.append(frame if not frame.data else copy_frame(frame))

    def leave(self) -> bool:
        """Give the call's place on its peer back; False when its caller has left already."""
        was_here, self._is_here = self._is_here, False
        if was_here:
            self.peer.forget(self.frame.call)
        return was_here
