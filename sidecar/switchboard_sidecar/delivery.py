"""Calls to the agents of this instance: looked up, admitted or queued or refused, handed to their host."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from switchboard_sidecar.admission import Admission, waits_for_itself
from switchboard_sidecar.duplicates import Duplicates
from switchboard_sidecar.relay import Delivery, too_large
from switchboard_sidecar.roster import Entry, Roster
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.limits import MAX_HOPS
from switchboard_wire.peer import Peer, copy_frame
from switchboard_wire.v1 import frames_pb2 as pb

# Asked before each call once a drain has begun: why it is refused, or None to serve it
Gate = Callable[[], str | None]
_MS: Final = 1000


class _Deaf:
    """Owner of a peer that has no other end."""

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        raise AssertionError("it has no other end")

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        """It has no other end."""

    def on_lost(self, peer: Peer) -> None:
        """It never had one."""


class Deliverer:
    """Gives each call to an agent's peer within the bounds.

    gate: set while draining.  refused: calls that named no agent of this instance, by code.  now: seconds of a
    monotonic clock.
    """

    def __init__(self, roster: Roster, clock: Callable[[], float]) -> None:
        self.roster = roster
        self.admission: Admission[Delivery] = Admission()
        self.gate: Gate | None = None
        self.refused: Counter[int] = Counter()
        self._deadlines = Deadlines()
        self._nobody = Peer(_Deaf(), dialled=True)  # the caller of a call that was acknowledged
        self._nobody.lose("it has no other end")
        self.now = clock
        self.duplicates = Duplicates(self, clock)

    @property
    def busy(self) -> int:
        """Calls inside the agents and calls that wait for them."""
        return self.admission.in_flight + self.admission.queued

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        """A call from a gateway."""
        open_ = frame.open
        roster = self.roster
        name = open_.agent
        entry = roster.by_name.get(name) if name else roster.by_type.get(open_.target.type)
        if entry is None:
            self._refuse(peer, frame.call, None, self._not_here(open_))
        elif open_.hops > MAX_HOPS:
            self._refuse(
                peer, frame.call, entry, ErrorValue(pb.ROUTING_ERROR, f"over {MAX_HOPS} hops: a loop of calls?")
            )
        elif self.gate is not None and (reason := self.gate()) is not None:
            self._refuse(peer, frame.call, entry, ErrorValue(pb.NODE_UNAVAILABLE, reason))
        elif open_.idempotency_key:
            self.duplicates.take(peer, frame, entry)
        else:
            self.deliver(peer, frame, entry)

    def deliver(self, peer: Peer, frame: pb.Frame, entry: Entry, make: type[Delivery] = Delivery) -> Delivery | None:
        """Hand a call to its agent now, or queue it, or refuse it: then None.

        A gateway keeps the time of a call inside the host itself, and sends CANCEL; a timer here would cost a tenth of
        the relay. Only a call that waits, and one from this pod, has its deadline watched here.
        """
        host = entry.peer
        if host is None or host.lost:
            self._refuse(peer, frame.call, entry, self._not_ready(entry))
            return None
        admission, lane = self.admission, entry.lane
        delivery = make(self, entry, peer, frame)
        if (admission.in_flight < admission.concurrency and lane.in_flight < lane.concurrency) or (
            frame.open.chain and waits_for_itself(frame.open.chain, self.roster.lanes)
        ):
            admission.in_flight += 1
            lane.in_flight += 1
            peer.calls[delivery.number] = delivery.on_request
            delivery.started = self.now()
            if frame.open.ack:
                self._acknowledge(delivery)
            delivery.connect(host)
            return delivery
        return delivery if self._queue(delivery, frame.open) else None

    def deliver_local(self, peer: Peer, frame: pb.Frame, entry: Entry) -> None:
        """A call from this pod's host to an agent that `admits` it: nobody else watches its deadline."""
        size = len(frame.data)
        if size > entry.max_bytes:
            self._refuse(peer, frame.call, entry, too_large(entry.max_bytes))
            return
        delivery = Delivery(self, entry, peer, frame)
        delivery.left -= size
        self.admission.enter(entry.lane)
        peer.accept(delivery.number, delivery.on_request)
        delivery.started = self.now()
        open_ = frame.open
        open_.agent = entry.name
        open_.deadline_ms = open_.deadline_ms or entry.timeout_ms
        delivery.expiry = self.limit_time(open_.deadline_ms, lambda: self._expire(delivery))
        if open_.ack:
            self._acknowledge(delivery)
        assert entry.peer is not None  # `admits` looked
        delivery.connect(entry.peer)

    def admits(self, entry: Entry, chain: Iterable[str]) -> bool:
        """Whether the agent is ready and a call would enter at once."""
        host = entry.peer
        if host is None or host.lost:
            return False
        return self.admission.has_room(entry.lane) or waits_for_itself(chain, self.roster.lanes)

    def ended(self, delivery: Delivery, code: int) -> None:
        """A delivery is over: account for it, give its slot to the next."""
        entry = delivery.entry
        entry.codes[code] += 1
        if delivery.expiry is not None:
            self._deadlines.remove(delivery.expiry)
        if delivery.ticket is not None:
            self.admission.abandon(entry.lane, delivery.ticket)
            return
        took = self.now() - delivery.started
        entry.processing.observe(took)
        entry.lane.answered(took)
        self.admission.leave(entry.lane)
        if self.admission.queued:
            self.pull()

    def pull(self) -> None:
        """Let in whoever may enter now."""
        while (delivery := self.admission.next()) is not None:
            delivery.ticket = None
            host = delivery.entry.peer
            if host is None or host.lost:
                self._turn_away(delivery)
                continue
            assert delivery.first is not None  # it waited, so it was not sent
            open_ = delivery.first.open
            open_.deadline_ms = self.left_ms(open_.deadline_ms, delivery.started)
            delivery.started = self.now()
            delivery.connect(host)

    def flush(self, entry: Entry) -> None:
        """Refuse what waits for an agent that is not here any more."""
        for delivery in self.admission.flush(entry.lane):
            delivery.abort(self._not_ready(entry))

    def left_ms(self, deadline_ms: int, since: float) -> int:
        """What is left of the time that a call had at `since`: at least a millisecond, as 0 would be no deadline."""
        return max(deadline_ms - int((self.now() - since) * _MS), 1)

    def limit_time(self, deadline_ms: int, expire: Callable[[], None]) -> tuple[int, int]:
        """Call `expire` when the remaining time is over."""
        return self._deadlines.add(deadline_ms / _MS, expire)

    def forget_limit(self, token: tuple[int, int]) -> None:
        self._deadlines.remove(token)

    def _queue(self, delivery: Delivery, open_: pb.Open) -> bool:
        entry = delivery.entry
        assert delivery.first is not None  # it was not sent yet
        ticket = self.admission.wait(entry.lane, open_.priority, delivery, len(delivery.first.data))
        if ticket is None:
            self._refuse(delivery.caller, delivery.number, entry, self._overloaded(entry))
            return False
        if open_.deadline_ms == 0:
            open_.deadline_ms = entry.timeout_ms
        delivery.ticket = ticket
        delivery.first = copy_frame(delivery.first)
        delivery.started = self.now()
        delivery.expiry = self.limit_time(open_.deadline_ms, lambda: self._expire(delivery))
        delivery.caller.accept(delivery.number, delivery.on_request)
        if open_.ack:
            self._acknowledge(delivery)
        return True

    def _acknowledge(self, delivery: Delivery) -> None:
        """ack=accepted: the caller is told now and hears no more; the call goes on, with its deadline watched here."""
        first = delivery.first
        if first is None or not first.end:  # the caller still has to send: it learns of the end instead
            return
        caller, delivery.caller = delivery.caller, self._nobody
        caller.forget(delivery.number)
        caller.send(pb.Frame(kind=pb.CLOSE, call=delivery.number))
        if delivery.expiry is None:
            limit_ms = first.open.deadline_ms or delivery.entry.timeout_ms
            delivery.expiry = self.limit_time(limit_ms, lambda: self._expire(delivery))

    def _turn_away(self, delivery: Delivery) -> None:
        """Refuse a call that has its slot but no host any more. Not by `abort`, which would come back to `pull`."""
        entry = delivery.entry
        delivery.over = True
        self.admission.leave(entry.lane)
        if delivery.expiry is not None:
            self._deadlines.remove(delivery.expiry)
        delivery.caller.forget(delivery.number)
        self._refuse(delivery.caller, delivery.number, entry, self._not_ready(entry))
        delivery.turned_away()

    def _expire(self, delivery: Delivery) -> None:
        delivery.expiry = None
        waited = delivery.ticket is not None
        place, delivered = ("queue", pb.DELIVERED_NO) if waited else ("host", pb.DELIVERED_YES)
        message = f"the deadline passed in the instance's {place}"
        delivery.abort(ErrorValue(pb.DEADLINE_EXCEEDED, message, delivered=delivered))

    def _refuse(self, peer: Peer, number: int, entry: Entry | None, error: ErrorValue) -> None:
        (self.refused if entry is None else entry.codes)[error.code] += 1
        peer.send(close_with(number, error))

    def _overloaded(self, entry: Entry) -> ErrorValue:
        admission = self.admission
        return ErrorValue(
            pb.OVERLOADED,
            f"{admission.in_flight} calls run and {admission.queued} wait on this instance",
            retry_after_ms=admission.retry_after_ms(entry.lane),
        )

    def _not_here(self, open_: pb.Open) -> ErrorValue:
        # Not AGENT_NOT_FOUND, which is final: the gateway's knowledge is late, another instance may host it
        wanted = open_.agent or open_.target.type
        return ErrorValue(pb.NODE_UNAVAILABLE, f"agent {wanted!r} is not hosted by this instance")

    def _not_ready(self, entry: Entry) -> ErrorValue:
        return ErrorValue(pb.NODE_UNAVAILABLE, f"agent {entry.name!r} is not ready: {entry.message or 'host lost'}")
