"""Calls that the host makes: they stay in the pod where they can, else they leave over any live link."""

from collections.abc import Callable, Iterable
from typing import Final

from switchboard_sidecar.delivery import Deliverer
from switchboard_sidecar.relay import Relay, too_much_waits
from switchboard_sidecar.roster import DEFAULT_TIMEOUT_MS, Entry
from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.limits import MAX_HOPS, MAX_OPEN_BYTES
from switchboard_wire.peer import Peer, copy_frame
from switchboard_wire.v1 import frames_pb2 as pb

# Calls that may wait for a first link, and what they may keep; one that is over a bound is told at once
MAX_HELD: Final = 1000
MAX_HELD_BYTES: Final = 16 * 1024 * 1024

ChooseLink = Callable[[], Peer | None]


class Departure(Relay):
    """A call on its way out. Held until there is a link. since: when it began; size: of what it keeps until then."""

    __slots__ = ("_outbound", "expiry", "since", "size")

    def __init__(self, outbound: "Outbound", caller: Peer, first: pb.Frame) -> None:
        super().__init__(caller, first)
        self._outbound = outbound
        self.expiry: tuple[int, int] | None = None
        self.since = 0.0
        self.size = 0

    def may_keep(self, size: int) -> bool:
        return self._outbound.hold_bytes(self, size)

    def ended(self, code: int) -> None:
        self._outbound.ended(self)


class Outbound:
    """Routes the host's own calls.

    Call `link_came` when a link is live. What is held is bounded, and by each call's deadline.
    """

    def __init__(self, deliverer: Deliverer, namespace: str, choose_link: ChooseLink) -> None:
        self._deliverer = deliverer
        self._namespace = namespace
        self._choose_link = choose_link
        self._held: dict[int, Departure] = {}  # by id(), in order of arrival
        self._held_bytes = 0
        self.in_flight = 0

    def hold_bytes(self, departure: Departure, size: int) -> bool:
        """Account for what a held call keeps; False when that is too much."""
        if self._held_bytes + size > MAX_HELD_BYTES:
            return False
        self._held_bytes += size
        departure.size += size
        return True

    @property
    def held(self) -> int:
        return len(self._held)

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        """The host opened a call. Who calls is set here: the host is believed only within what it hosts."""
        open_ = frame.open
        self._set_source(open_)
        open_.ClearField("principal")  # the gateway writes it; what stays in the pod has proved nothing
        open_.ClearField("tenant")
        open_.hops += 1
        if (fault := _fault_of(open_)) is not None:
            peer.send(close_with(frame.call, fault))
            return
        entry = self._local(open_)
        if entry is not None and self._deliverer.admits(entry, open_.chain):
            self._deliverer.deliver_local(peer, frame, entry)
        else:
            self._depart(peer, frame)

    def link_came(self) -> None:
        """A link is live: send what was held, as long as there is one."""
        for departure in list(self._held.values()):
            link = self._choose_link()
            if link is None:
                return
            self._release(departure)
            if departure.first is not None and (given_ms := departure.first.open.deadline_ms):
                departure.first.open.deadline_ms = self._deliverer.left_ms(given_ms, departure.since)
            departure.connect(link)

    def ended(self, departure: Departure) -> None:
        self.in_flight -= 1
        self._release(departure)

    def _set_source(self, open_: pb.Open) -> None:
        source = open_.source
        roster = self._deliverer.roster
        if source.type not in roster.by_type:
            # One agent alone needs not say who it is; of several, an unknown name is nobody's
            only = next(iter(roster.by_type)) if len(roster.by_type) == 1 and not source.type else ""
            source.type = only
            source.key = source.key if only else ""
        source.namespace = self._namespace
        if not open_.target.namespace:
            open_.target.namespace = self._namespace

    def _local(self, open_: pb.Open) -> Entry | None:
        """The agent of this pod that may answer: with a key, or a choice of strategy, the gateway has to choose.

        Nor do calls with an idempotency key stay here: deliveries from gateways are where duplicates are told; nor
        calls to an agent that only some may call: gateways know who this pod is.
        """
        target = open_.target
        if target.key or target.all_instances or open_.strategy or target.namespace != self._namespace:
            return None
        entry = self._deliverer.roster.by_type.get(target.type) if target.type else None
        if entry is None or entry.assignment.restricted:
            return None
        return entry if not (open_.agent or open_.idempotency_key) else None

    def _depart(self, peer: Peer, frame: pb.Frame) -> None:
        link = self._choose_link()
        if link is None and len(self._held) >= MAX_HELD:
            error = ErrorValue(pb.OVERLOADED, f"{MAX_HELD} calls wait for a gateway already", retry_after_ms=1000)
            peer.send(close_with(frame.call, error))
            return
        departure = Departure(self, peer, frame)
        if link is None and not self.hold_bytes(departure, len(frame.data)):
            peer.send(close_with(frame.call, too_much_waits()))
            return
        self.in_flight += 1
        peer.accept(departure.number, departure.on_request)
        if link is not None:
            departure.connect(link)
            return
        departure.first, departure.since = copy_frame(frame), self._deliverer.now()
        self._held[id(departure)] = departure
        limit_ms = frame.open.deadline_ms or DEFAULT_TIMEOUT_MS
        departure.expiry = self._deliverer.limit_time(limit_ms, lambda: self._expire(departure))

    def _expire(self, departure: Departure) -> None:
        departure.expiry = None
        departure.abort(ErrorValue(pb.AGENT_OFFLINE, "no gateway was reachable before the deadline"))

    def _release(self, departure: Departure) -> None:
        if self._held.pop(id(departure), None) is not None:
            self._held_bytes -= departure.size
        if departure.expiry is not None:
            self._deliverer.forget_limit(departure.expiry)
            departure.expiry = None


def _fault_of(open_: pb.Open) -> ErrorValue | None:
    if open_.hops > MAX_HOPS:
        return ErrorValue(pb.ROUTING_ERROR, f"over {MAX_HOPS} hops: a loop of calls?")
    if open_.ByteSize() > MAX_OPEN_BYTES:
        return ErrorValue(pb.VALIDATION_FAILED, f"headers, ids and chain are over {MAX_OPEN_BYTES} bytes")
    return None


def least_loaded(peers: Iterable[Peer]) -> Peer | None:
    """The live peer with the fewest calls under way; the first of equals."""
    return min((peer for peer in peers if not peer.lost), key=lambda peer: len(peer.calls), default=None)
