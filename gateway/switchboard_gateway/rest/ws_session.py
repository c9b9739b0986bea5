"""One WebSocket: a client's session as JSON, on a local pair like every other surface."""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from aiohttp import ClientError, WSMsgType, web

from switchboard_gateway.access.entrance import Entrance
from switchboard_gateway.clients import Client
from switchboard_gateway.core import Core
from switchboard_gateway.rest import ws_write
from switchboard_gateway.rest.bodies import Share
from switchboard_gateway.rest.limits import SocketLimits
from switchboard_gateway.rest.ws_read import (
    NOT_A_FRAME,
    BrokenRule,
    Message,
    read_credit,
    read_data,
    read_message,
    read_number,
    read_open,
    read_token,
)
from switchboard_wire.credit import Consumed
from switchboard_wire.errors import ErrorValue, SwitchboardError, close_with
from switchboard_wire.peer import Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb

_OK: Final = 1000
_GOING_AWAY: Final = 1001
_NOT_TEXT: Final = 1003
_TRY_LATER: Final = 1013
MAX_REASON: Final = 120  # of a close, in bytes: 125 with its code


class _Call:
    """One call of a socket. number: the client's; inner: of the local pair."""

    __slots__ = ("consumed", "inner", "number", "opened", "output", "session")

    def __init__(self, session: "SocketSession", number: int, opened: pb.Open, *, manual_credit: bool) -> None:
        self.session = session
        self.number = number
        self.opened = opened
        self.inner = 0
        self.output = ws_write.Output(number)
        self.consumed = None if manual_credit else Consumed()

    def on_frame(self, frame: pb.Frame) -> None:
        """What the agent, or the core, answers."""
        if frame.kind == pb.DATA:
            self.session.put(self.output.piece(frame), self, len(frame.data))
        elif frame.kind == pb.WINDOW:
            self.session.put(ws_write.window(self.number, frame.credit))
        elif frame.kind == pb.CLOSE:
            self.session.forget(self)
            if frame.HasField("error"):
                error = ErrorValue.from_wire(frame.error)
                self.session.put(ws_write.close_failed(self.number, self.opened.message_id, error))
            else:
                self.session.put(self.output.close(frame, self.opened))


class SocketSession:
    """Carries the calls of one socket until it ends. One task reads, one writes; both are `run`'s.

    entrance: of the client, where tokens are asked for.
    """

    def __init__(
        self, core: Core, socket: web.WebSocketResponse, limits: SocketLimits, share: Share, entrance: Entrance | None
    ) -> None:
        self._core = core
        self._entrance = entrance
        self._renewal: asyncio.Task[None] | None = None
        self._socket = socket
        self._limits = limits
        self._share = share
        self._calls: dict[int, _Call] = {}
        self._highest = 0
        self._waiting: deque[tuple[str, _Call | None, int]] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[tuple[int, str]] = loop.create_future()
        self._ageing: asyncio.TimerHandle | None = None
        self._near, self._far = local_pair(self, Client(entrance or core, core.namespace), "WebSocket")

    async def run(self) -> None:
        """Serve until either end closes."""
        self._core.sessions.add(self._far)
        self._count()
        self.put(ws_write.greeting(self._core.namespace, self._limits))
        if self._core.leaving:
            self.put(ws_write.goaway("the gateway stops"))
        if self._limits.age.seconds:
            self._later(self._limits.age.draw(self._core.rng), self._is_old)
        if self._entrance is not None:
            self._entrance.watch(lambda: self.put(ws_write.goaway("the token has expired: begin anew")))
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        try:
            ends: list[asyncio.Future[Any]] = [*tasks, self._ended]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.end(_OK, "closed by the client")
            if self._ageing is not None:
                self._ageing.cancel()
            self._core.sessions.discard(self._far)
            self._count()
            # Behind every frame that is on its way to the core, so that no call is opened that nobody cancels
            asyncio.get_running_loop().call_soon(self._far.lose, "the socket was closed")
            if self._entrance is not None:
                self._entrance.leave()
            for task in [*tasks, self._renewal] if self._renewal is not None else tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._waiting.clear()
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) and not isinstance(error, (OSError, ClientError)):
                raise error
        await self._close(*self._ended.result())

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        self._ageing = asyncio.get_running_loop().call_later(delay_s, act)

    def _is_old(self) -> None:
        """The client opens its next calls on a new socket, at whichever replica; those that are open end here."""
        self.put(ws_write.goaway("the socket is old: begin anew"))
        self._later(self._limits.age.grace_s, lambda: self.end(_GOING_AWAY, "the socket was too old"))

    def _count(self) -> None:
        self._core.metrics.sessions.set((), len(self._core.sessions))

    def end(self, code: int, reason: str) -> None:
        """Close the socket soon. Only the first reason counts."""
        if not self._ended.done():
            self._ended.set_result((code, reason))

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(self._limits.close_s):
                await self._socket.close(code=code, message=reason.encode()[:MAX_REASON])
        except (TimeoutError, OSError, ClientError):
            pass  # it is gone, or will be cut off for not reading

    # From the client

    async def _read(self) -> None:
        while True:
            try:
                message = await self._socket.receive(timeout=self._limits.idle_s)
            except TimeoutError:
                if not self._calls:
                    self.end(_GOING_AWAY, f"nothing came for {self._limits.idle_s:g} s")
                    return
                continue
            if message.type is WSMsgType.TEXT:
                try:
                    self._take(message.data)
                except BrokenRule as error:
                    self.end(error.code, error.reason)
                    return
            elif message.type is WSMsgType.BINARY:
                self.end(_NOT_TEXT, "frames are JSON, in text messages")
                return
            else:  # closed by the client, or by aiohttp: too large, no UTF-8, no pong
                return

    def _take(self, text: str) -> None:
        message = read_message(text)
        if message.kind == "OPEN":
            self._open(message)
        elif message.kind == "PING":
            try:
                self.put(ws_write.pong(read_number(message)))
            except SwitchboardError as error:
                raise BrokenRule(NOT_A_FRAME, error.message) from None
        elif message.kind == "AUTH":
            self._renew(message)
        elif message.kind != "HELLO":
            if message.call > self._highest:
                raise BrokenRule(NOT_A_FRAME, f"call {message.call} was never opened")
            call = self._calls.get(message.call)
            if call is not None:  # else it is over: this came too late
                self._take_of(call, message)

    def _renew(self, message: Message) -> None:
        """A fresh token; the former one counts while it is looked at. Refused by a CLOSE of call 0."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._take_token(message))

    async def _take_token(self, message: Message) -> None:
        try:
            token = read_token(message)
            if self._entrance is not None:
                await self._entrance.renew(token)
        except SwitchboardError as error:
            self._refuse(0, error.error)

    def _open(self, message: Message) -> None:
        number = message.call
        if number <= self._highest:
            raise BrokenRule(NOT_A_FRAME, f"call {number} is not above {self._highest}, the last that was opened")
        self._highest = number
        if len(self._calls) >= self._limits.calls:
            text = f"{self._limits.calls} calls are open on this socket: wait for some to end"
            self._refuse(number, ErrorValue(pb.OVERLOADED, text, retry_after_ms=100))
            return
        try:
            opening = read_open(message)
        except SwitchboardError as error:
            self._refuse(number, error.error)
            return
        first, *rest = opening.frames
        opened = first.open
        opened.message_id = opened.message_id or os.urandom(16).hex()
        call = self._calls[number] = _Call(self, number, opened, manual_credit=opening.manual_credit)
        call.inner = self._near.open(first, call.on_frame)
        for frame in rest:
            self._pass_on(call, frame)

    def _take_of(self, call: _Call, message: Message) -> None:
        try:
            if message.kind == "DATA":
                for frame in read_data(message):
                    self._pass_on(call, frame)
            elif message.kind == "WINDOW":
                credit = read_credit(message)
                if call.consumed is None:  # else the gateway grants by itself
                    self._pass_on(call, pb.Frame(kind=pb.WINDOW, credit=credit))
            elif message.kind == "HALF_CLOSE":
                self._pass_on(call, pb.Frame(kind=pb.HALF_CLOSE))
            else:
                self._cancel(call, ErrorValue(pb.CANCELLED, "the caller gave up"))
        except SwitchboardError as error:
            self._cancel(call, error.error)

    def _cancel(self, call: _Call, error: ErrorValue) -> None:
        self._pass_on(call, pb.Frame(kind=pb.CANCEL))
        call.on_frame(close_with(call.inner, error))

    def _pass_on(self, call: _Call, frame: pb.Frame) -> None:
        frame.call = call.inner
        self._near.send(frame)

    def _refuse(self, number: int, error: ErrorValue) -> None:
        self.put(ws_write.close_failed(number, "", error))

    def forget(self, call: _Call) -> None:
        """The call is over."""
        self._near.forget(call.inner)
        self._calls.pop(call.number, None)

    # To the client

    def put(self, text: str, call: _Call | None = None, data_size: int = 0) -> None:
        """Queue one message. call, data_size: whose DATA it is, and the bytes to grant again once it is written."""
        if self._ended.done():
            return
        size = len(text)
        try:
            self._share.add(size)
        except SwitchboardError as error:
            self.end(_TRY_LATER, error.message)
            return
        self._size += size
        if self._size > self._limits.waiting_bytes:
            self.end(_TRY_LATER, f"over {self._limits.waiting_bytes} bytes wait to be read")
            return
        self._waiting.append((text, call, data_size))
        self._filled.set()

    async def _write(self) -> None:
        while True:
            while not self._waiting:
                self._filled.clear()
                await self._filled.wait()
            text, call, data_size = self._waiting.popleft()
            await self._socket.send_str(text)
            self._size -= len(text)
            self._share.remove(len(text))
            if call is not None and call.consumed is not None and call.number in self._calls:
                credit = call.consumed.add(data_size)
                if credit:
                    self._pass_on(call, pb.Frame(kind=pb.WINDOW, credit=credit))

    # Events of the local pair's near end

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        peer.send(close_with(frame.call, ErrorValue(pb.ROUTING_ERROR, "a WebSocket hosts no agents")))

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        """The gateway says goodbye: the client should open its next calls on a new socket."""
        if frame.kind == pb.GOAWAY:
            self.put(ws_write.goaway(frame.goaway.reason))

    def on_lost(self, peer: Peer) -> None: ...
