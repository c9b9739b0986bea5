"""Agents that clients' sessions host: on this replica, and through their gateways on the others.

What our own sessions host is announced to the peers. A call from a peer reaches our own sessions' agents and nothing
else, so that no call passes from peer to peer.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from switchboard_gateway.directory import build_directory
from switchboard_gateway.instances import ATTACHED, Instance, Route, Table, announced_policies
from switchboard_gateway.routed_call import RoutedCall
from switchboard_gateway.selection import Selected
from switchboard_routing.policy import AgentPolicy
from switchboard_wire.agent_id import parse_agent_id
from switchboard_wire.errors import ErrorValue, close_with, failure
from switchboard_wire.names import MAX_TOPIC_LENGTH, RESERVED_TYPES
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

if TYPE_CHECKING:
    from switchboard_gateway.core import Core

# One session's agents; as many as code may register in one host
MAX_SESSION_AGENTS: Final = 200
# Sessions that host, of one replica, and agents of one list of a peer's: each is a value of a metrics label
MAX_HOSTING_SESSIONS: Final = 1000
MAX_PEER_AGENTS: Final = 10_000
MAX_VERSION_LENGTH: Final = 64
MAX_DESCRIPTION_LENGTH: Final = 1024
MAX_CAPABILITIES: Final = 64
MAX_CAPABILITY_LENGTH: Final = 128
MAX_TOPICS: Final = 64
# A host whose session broke connects anew within this time, perhaps at another replica: until then its agents are known
ABSENCE_S: Final = 10.0
# Changes of one moment become one new table
SETTLE_S: Final = 0.01

Key = tuple[str, str]  # namespace, name


def check_hosted(agents: Iterable[pb.HostedAgent], most: int) -> tuple[pb.HostedAgent, ...]:
    """The agents of a session's or a peer's list, each with its name. Raises SwitchboardError for a list at fault."""
    found: dict[str, pb.HostedAgent] = {}
    for agent in agents:
        type_ = agent.type
        if parse_agent_id(type_).key or type_ in RESERVED_TYPES:
            raise failure(pb.INVALID_AGENT_ID, f"{type_[:80]!r} cannot be the type of an agent")
        if agent.name not in ("", type_):
            raise failure(pb.VALIDATION_FAILED, f"agent {type_!r}: leave the name out, or let it be the type")
        if type_ in found:
            raise failure(pb.VALIDATION_FAILED, f"agent {type_!r} is listed twice")
        if len(found) >= most:
            raise failure(pb.VALIDATION_FAILED, f"over {most} agents")
        _check_lengths(agent)
        found[type_] = _named(agent)
    return tuple(found.values())


def _check_lengths(agent: pb.HostedAgent) -> None:
    if len(agent.version) > MAX_VERSION_LENGTH or len(agent.description) > MAX_DESCRIPTION_LENGTH:
        bounds = f"{MAX_VERSION_LENGTH} and {MAX_DESCRIPTION_LENGTH} characters"
        raise failure(pb.VALIDATION_FAILED, f"agent {agent.type!r}: version or description is over {bounds}")
    capabilities = agent.capabilities
    longest = max((max(len(c.name), len(c.version)) for c in capabilities), default=0)
    if len(capabilities) > MAX_CAPABILITIES or longest > MAX_CAPABILITY_LENGTH:
        bounds = f"{MAX_CAPABILITIES}, or one over {MAX_CAPABILITY_LENGTH} characters"
        raise failure(pb.VALIDATION_FAILED, f"agent {agent.type!r}: capabilities over {bounds}")
    topics = agent.topics
    if len(topics) > MAX_TOPICS or not all(0 < len(found.topic) <= MAX_TOPIC_LENGTH for found in topics):
        bounds = f"{MAX_TOPICS}, or one that is empty or over {MAX_TOPIC_LENGTH} characters"
        raise failure(pb.VALIDATION_FAILED, f"agent {agent.type!r}: topics over {bounds}")


def _named(agent: pb.HostedAgent) -> pb.HostedAgent:
    return pb.HostedAgent(
        name=agent.type,
        type=agent.type,
        version=agent.version,
        state=agent.state,
        description=agent.description,
        capabilities=agent.capabilities,
        topics=agent.topics,
    )


def without_conflicts(
    declared: Iterable[AgentPolicy], instances: Iterable[Instance]
) -> tuple[dict[Key, AgentPolicy], dict[int, set[str]]]:
    """(What sessions and peers host that no declared Agent is, by namespace and name; the rest by id of instance)."""
    taken = _taken(declared)
    found: dict[Key, AgentPolicy] = {}
    refused: dict[int, set[str]] = {}
    for instance in instances:
        for policy in announced_policies([instance], ATTACHED):
            key = (policy.namespace, policy.name)
            if key in taken:
                refused.setdefault(id(instance), set()).add(policy.name)
            else:
                found[key] = policy
    return found, refused


def _taken(declared: Iterable[AgentPolicy]) -> set[Key]:
    return {(policy.namespace, name) for policy in declared for name in (policy.name, policy.type)}


class Attached:
    """The instances that are sessions and peers. announce: told when what our own sessions host has changed."""

    def __init__(self, core: "Core", own: Table) -> None:
        self._core = core
        self._own = own  # agents of our sessions alone, for calls from peers
        self._known: dict[Key, AgentPolicy] = {}
        self._absent: dict[Key, float] = {}  # until when an agent is known although nobody hosts it
        self._told: dict[int, set[str]] = {}
        self._settling: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._hosted = pb.Hosted()
        self._capacity = pb.Capacity()
        self.announce: Callable[[], None] = lambda: None

    @property
    def hosted(self) -> pb.Hosted:
        """What our sessions host, for the peers."""
        return self._hosted

    @property
    def capacity(self) -> pb.Capacity:
        """What our sessions that host can take together."""
        return self._capacity

    @property
    def sessions(self) -> Mapping[int, Instance]:
        """Our sessions that host, by id of peer."""
        return self._own.instances

    @property
    def routes(self) -> Iterable[Route]:
        return self._own.routes.values()

    # Instances

    def add(self, instance: Instance) -> None:
        """Take a session that hosts, or a link with a peer."""
        if not instance.is_relay:
            self._own.instances[id(instance.peer)] = instance
        self._core.add_instance(instance)
        self.changed()

    def remove(self, instance: Instance) -> None:
        self._own.instances.pop(id(instance.peer), None)
        self._told.pop(id(instance), None)
        self._own.refresh()
        self._core.remove_instance(instance)
        self.changed()

    def changed(self) -> None:
        """Lists or states changed: soon there is a new table."""
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_S, self._settle)

    def _settle(self) -> None:
        self._settling = None
        self._core.rebuild()

    # The fold

    def policies(self, declared: Iterable[AgentPolicy]) -> list[AgentPolicy]:
        """What to serve beside the declared Agents; sessions are told of agents of theirs that are declared."""
        instances = [i for i in self._core.table.instances.values() if i.is_attached]
        if not instances and not self._known:
            return []
        taken = list(declared)
        found, refused = without_conflicts(taken, instances)
        self._tell(instances, refused)
        self._remember(found, _taken(taken))
        self._own.rebuild(build_directory(self._of_own_sessions(found)))
        self._note_own()
        return list(self._known.values())

    def _of_own_sessions(self, found: Mapping[Key, AgentPolicy]) -> list[AgentPolicy]:
        own = {(i.namespace, agent.name) for i in self.sessions.values() for agent in i.all_hosted}
        return [policy for key, policy in found.items() if key in own]

    def _remember(self, found: dict[Key, AgentPolicy], taken: set[Key]) -> None:
        """Keep agents that have just gone known for a while, so that calls wait for their hosts to come back."""
        now = self._core.now()
        gone = {key: self._absent.get(key, now + ABSENCE_S) for key in self._known.keys() - found.keys() - taken}
        self._absent = {key: until for key, until in gone.items() if now < until}
        self._known = found | {key: self._known[key] for key in self._absent}
        if self._absent and self._timer is None:
            wait_s = min(self._absent.values()) - now
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._absence_over)

    def _absence_over(self) -> None:
        self._timer = None
        self._core.rebuild()

    def _tell(self, instances: list[Instance], refused: Mapping[int, set[str]]) -> None:
        for instance in instances:
            names = refused.get(id(instance), set())
            for name in [] if instance.is_relay else sorted(names - self._told.get(id(instance), set())):
                message = f"an Agent {name!r} is declared in namespace {instance.namespace!r}: a session cannot be it"
                error = ErrorValue(pb.AGENT_ID_CONFLICT, message, details={"agent": name})
                instance.peer.send(close_with(0, error))
            self._told[id(instance)] = names

    def _note_own(self) -> None:
        sessions = [i for i in self.sessions.values() if not i.draining]
        hosted = self._announced(sessions)
        capacity = pb.Capacity(
            concurrency=sum(i.concurrency for i in sessions) or 1, queue=sum(i.queue for i in sessions)
        )
        if list(hosted.agents) != list(self._hosted.agents) or capacity != self._capacity:
            hosted.generation = self._hosted.generation + 1
            self._hosted, self._capacity = hosted, capacity
            self.announce()

    def _announced(self, sessions: list[Instance]) -> pb.Hosted:
        """The agents for which a session can answer now; of several versions, that of the newest session."""
        found: dict[str, pb.HostedAgent] = {}
        for instance in sessions:
            for agent in instance.all_hosted:
                known = (instance.namespace, agent.name) in self._own.routes
                if known and agent.name in instance.hosted:
                    found[agent.name] = agent
        return pb.Hosted(agents=[found[name] for name in sorted(found)])

    # Calls from peers

    def open_call(self, peer: Peer, frame: pb.Frame) -> None:
        """Take a call from a peer for an agent of one of our sessions; refused at once when none hosts it."""
        opened = frame.open
        route = self._own.routes.get((opened.target.namespace or self._core.namespace, opened.agent))
        if route is None or not route.instances:
            message = f"no session hosts {opened.agent[:80]!r} on this replica any more"
            peer.send(close_with(frame.call, ErrorValue(pb.NODE_UNAVAILABLE, message)))
            return
        RoutedCall(self._core, peer, frame, Selected(route, opened.target.key, route.policy.strategy)).start()

    def refresh(self) -> None:
        """A session of ours drains, or its agents' states changed."""
        self._own.refresh()
