"""The agents of this instance: what was assigned, what the host and the HTTP servers say, where calls to each go.

One object owns it and decides; whoever must know of changes is told by `on_change`.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from switchboard_runtime.metrics import Histogram
from switchboard_sidecar.admission import Lane
from switchboard_sidecar.registering import judge_registered
from switchboard_sidecar.relay import Delivery
from switchboard_wire.limits import DEFAULT_MAX_PAYLOAD_BYTES
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("sidecar.roster")

# Of an Agent that says none; the CRD's default
DEFAULT_TIMEOUT_MS: Final = 30_000


class Entry:
    """One agent here. peer: where calls go, None unless it is ready. codes: calls ended, by code; 0 is success.

    duplicates: calls that were answered by another's answer: "joined" while it ran, "remembered" after it.
    """

    __slots__ = (
        "assignment",
        "codes",
        "duplicates",
        "lane",
        "max_bytes",
        "message",
        "name",
        "peer",
        "processing",
        "said",
        "state",
        "timeout_ms",
    )

    def __init__(self, assignment: pb.Assignment) -> None:
        self.lane: Lane[Delivery] = Lane()
        self.codes: Counter[int] = Counter()
        self.duplicates: Counter[str] = Counter()
        self.processing = Histogram()  # seconds from handing a call to its host to its end
        self.peer: Peer | None = None
        self.state = pb.HOSTED_LOADING
        self.message = ""
        self.said: pb.HostedAgent | None = None  # by the host, of what code registered
        self.name = assignment.name
        self.update(assignment)

    @property
    def type(self) -> str:
        return self.assignment.type

    @property
    def is_http(self) -> bool:
        return self.assignment.HasField("http")

    def update(self, assignment: pb.Assignment) -> None:
        self.assignment = assignment
        self.timeout_ms = assignment.timeout_ms or DEFAULT_TIMEOUT_MS
        self.max_bytes = assignment.max_payload_bytes or DEFAULT_MAX_PAYLOAD_BYTES
        self.lane.limit(assignment.concurrency)

    def become(self, state: int, peer: Peer | None, message: str = "") -> None:
        self.state = pb.HostedState.ValueType(state)
        self.message = message
        self.peer = peer if state == pb.HOSTED_READY else None

    def hosted(self) -> pb.HostedAgent:
        said = self.said
        return pb.HostedAgent(
            name=self.name,
            type=self.type,
            version=self.assignment.version,
            state=self.state,
            message=self.message,
            capabilities=said.capabilities if said is not None else None,
            description=said.description if said is not None else "",
            topics=said.topics if said is not None else None,
        )


class Roster:
    """All agents here, by name and by type. on_change: called after every change of what is hosted or ready."""

    def __init__(self) -> None:
        self.assignments: pb.Assignments | None = None
        self.by_name: dict[str, Entry] = {}
        self.by_type: dict[str, Entry] = {}
        self.lanes: dict[str, Lane[Delivery]] = {}  # by type
        self.on_change: list[Callable[[], None]] = []
        self.host: Peer | None = None
        self._said: pb.Hosted | None = None  # by the host, since it connected
        self._settled = False  # the host had loaded everything once since it connected
        self._refused: dict[str, pb.HostedAgent] = {}  # what code registers and may not, by name
        self._answering: dict[str, Peer] = {}  # HTTP agents whose server is well
        self._unwell: dict[str, str] = {}  # why the others are not

    @property
    def generation(self) -> int:
        return self.assignments.generation if self.assignments is not None else 0

    def apply(self, assignments: pb.Assignments) -> None:
        """Take new assignments. Calls inside a removed agent go on; new ones are refused."""
        self.assignments = assignments
        self._refresh()

    def host_came(self, peer: Peer) -> None:
        """A host is connected; the newest counts."""
        self.host, self._said, self._settled = peer, None, False
        self._refresh()

    def host_said(self, peer: Peer, hosted: pb.Hosted) -> None:
        """The host's word on its agents; that of an earlier host is not heard any more."""
        if peer is self.host:
            self._said = hosted
            self._refresh()

    def host_left(self, peer: Peer) -> None:
        """A host is gone, or says that it is going."""
        if peer is self.host:
            self.host, self._said, self._settled = None, None, False
            self._refresh()

    def http_answers(self, name: str, peer: Peer | None, fault: str = "") -> None:
        """An HTTP agent's server is well, and is called through `peer`; or it is not, and `fault` says why."""
        if peer is None:
            self._answering.pop(name, None)
            self._unwell[name] = fault
        else:
            self._answering[name] = peer
        self._refresh()

    @property
    def can_serve(self) -> bool:
        """Whether any agent is ready."""
        return any(entry.peer is not None for entry in self.by_name.values())

    def hosted(self) -> pb.Hosted:
        """What is announced to gateways and operators."""
        agents = [self.by_name[name].hosted() for name in sorted(self.by_name)]
        agents += [self._refused[name] for name in sorted(self._refused)]
        return pb.Hosted(generation=self.generation, agents=agents)

    def for_host(self) -> pb.Assignments:
        """What the host is to run: everything but the HTTP agents."""
        chosen = pb.Assignments()
        if self.assignments is not None:
            chosen.CopyFrom(self.assignments)
            chosen.ClearField("ca_bundle")
            del chosen.agents[:]
            chosen.agents.extend(agent for agent in self.assignments.agents if not agent.HasField("http"))
        return chosen

    def why_not_ready(self) -> str | None:
        """None when the assignments are applied and their hosts answer; else what is missing. Never a gateway."""
        if self.assignments is None:
            return "no assignments yet"
        waiting = sorted(e.name for e in self.by_name.values() if e.is_http and e.name not in self._answering)
        if waiting:
            return f"{waiting[0]}: {self.by_name[waiting[0]].message}"
        if self._needs_host() and self.host is None:
            return "no host is connected"
        if self._needs_host() and not self._settled:
            return "the host is loading its agents"
        return None

    def _needs_host(self) -> bool:
        # No Agent yet: nothing is missing, and the container may be an HTTP server that never attaches
        assignments = self.assignments or pb.Assignments()
        return assignments.dynamic or any(not agent.HasField("http") for agent in assignments.agents)

    def _refresh(self) -> None:
        self._renew_entries()
        said = {agent.name: agent for agent in self._said.agents} if self._said is not None else {}
        types = {agent.type: agent for agent in said.values()}
        for entry in self.by_name.values():
            if entry.is_http:
                self._judge_http(entry)
            else:
                self._judge_hosted(entry, said.get(entry.name) or types.get(entry.type))
        self._settle()
        for changed in self.on_change:
            changed()

    def _renew_entries(self) -> None:
        wanted, before = self._wanted(), self.by_name
        for name in before.keys() - wanted.keys():
            before[name].become(pb.HOSTED_FAILED, None, "not assigned to this instance any more")
        for name in before.keys() & wanted.keys():
            before[name].update(wanted[name])
        # A new dict, never a changed one: the ops port's threads look through it
        self.by_name = {name: before.get(name) or Entry(assignment) for name, assignment in wanted.items()}
        # The first of several versions of a type answers calls that name no Agent
        self.by_type = {entry.type: entry for _, entry in sorted(self.by_name.items(), reverse=True)}
        self.lanes = {type_: entry.lane for type_, entry in self.by_type.items()}

    def _wanted(self) -> dict[str, pb.Assignment]:
        assignments = self.assignments
        if assignments is None:
            return {}
        wanted = {agent.name or agent.type: agent for agent in assignments.agents}
        if assignments.dynamic and self._said is not None:
            accepted, refused = judge_registered(assignments, self._said)
            wanted |= accepted
            for name in refused.keys() - self._refused.keys():
                log.error("registration refused", extra={"agent": name, "why": refused[name].message})
            self._refused = refused
        else:
            self._refused = {}
        for name, assignment in wanted.items():
            assignment.name = name
        return wanted

    def _judge_http(self, entry: Entry) -> None:
        peer = self._answering.get(entry.name)
        if peer is None:
            why = self._unwell.get(entry.name) or f"nothing answers on port {entry.assignment.http.port}"
            entry.become(pb.HOSTED_LOADING, None, why)
        else:
            entry.become(pb.HOSTED_READY, peer)

    def _judge_hosted(self, entry: Entry, said: pb.HostedAgent | None) -> None:
        entry.said = said
        if self.host is None:
            entry.become(pb.HOSTED_LOADING, None, "no host is connected")
        elif said is None:
            entry.become(pb.HOSTED_LOADING, None, "the host has not registered it yet")
        else:
            entry.become(said.state, self.host, said.message)

    def _settle(self) -> None:
        said = self._said
        if said is not None and said.generation >= self.generation:
            # Code that never registers its agent does not keep the others' instance from being ready
            states = [entry.state for entry in self.by_name.values() if entry.assignment.HasField("python")]
            states += [agent.state for agent in said.agents]
            self._settled = self._settled or pb.HOSTED_LOADING not in states
