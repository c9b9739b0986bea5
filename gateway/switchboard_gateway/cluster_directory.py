"""The directory from Kubernetes: Agents and AgentNodes as they are declared, EndpointSlices for zones and membership.

Watches feed plain dicts; `Declared` turns them into policies. With the API server away, the last known state counts.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from switchboard.resources import Agent, explain_faults
from switchboard_gateway.binding import claim_of, placement_of, winners
from switchboard_gateway.core import Core
from switchboard_gateway.instances import DEFAULT_WEIGHT
from switchboard_gateway.readings import Key, Readings
from switchboard_identity.membership import SERVICE_LABEL, Membership, members_in, merge_members
from switchboard_kube import AGENT_NODES, AGENTS, ENDPOINT_SLICES, Event, EventType, Json, Kube, Resource, Selector
from switchboard_routing.binding import Claim
from switchboard_routing.policy import (
    AgentPolicy,
    BreakerPolicy,
    Capability,
    HedgingPolicy,
    KeyAffinity,
    RetryPolicy,
    Strategy,
    Subscription,
)
from switchboard_wire.names import LINKS_SERVICE, NODE_LABEL, RESET_CIRCUITS_ANNOTATION

log = logging.getLogger("switchboard.gateway.directory")

# Events of one moment become one rebuild
SETTLE_S = 0.02
# … and where there are so many objects that a rebuild takes long, calls have so many times as long in between
REST = 5


@dataclass(slots=True)
class Declared:
    """What the watches have told. zones and expected: by pod UID, of pods that their EndpointSlices call ready."""

    agents: dict[Key, Json] = field(default_factory=dict)
    nodes: dict[Key, Json] = field(default_factory=dict)
    slices: dict[Key, Json] = field(default_factory=dict)
    gateways: dict[Key, Json] = field(default_factory=dict)
    _claimed: Readings[tuple[Agent, Claim] | None] = field(default_factory=lambda: Readings(_read_claim, "generation"))

    def policies(self) -> list[AgentPolicy]:
        """Every Agent that is valid and has its type for itself."""
        labels: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
        for (namespace, name), node in self.nodes.items():
            labels[namespace][name] = node["metadata"].get("labels") or {}
        by_namespace: dict[str, list[tuple[Agent, Claim]]] = defaultdict(list)
        for (namespace, _), claimed in self._claimed.of(self.agents).items():
            if claimed is not None:
                by_namespace[namespace].append(claimed)
        return [
            _policy(agent, namespace, placement_of(agent).nodes(labels[namespace]))
            for namespace, agents in by_namespace.items()
            for agent in winners(agents)
        ]

    def pods(self) -> dict[str, str]:
        """UID → zone of every pod that an EndpointSlice calls ready."""
        return {
            uid: endpoint.get("zone") or ""
            for uid, endpoint in _endpoints(self.slices.values())
            if (endpoint.get("conditions") or {}).get("ready") is not False
        }

    def zone_of_gateway(self, uid: str) -> str | None:
        """The zone of a gateway's pod, ready or not; None when its EndpointSlice is not known."""
        return next((found.get("zone") or "" for pod, found in _endpoints(self.gateways.values()) if pod == uid), None)

    def sleepers(self) -> frozenset[Key]:
        """The AgentNodes that may go to zero instances."""
        scaled = ((key, (node.get("spec") or {}).get("autoscaling") or {}) for key, node in self.nodes.items())
        return frozenset(key for key, scaling in scaled if scaling.get("minReplicas") == 0)

    def weights(self) -> dict[Key, int]:
        """What each AgentNode says of its weight."""
        return {key: (node.get("spec") or {}).get("weight", DEFAULT_WEIGHT) for key, node in self.nodes.items()}

    def dynamic_nodes(self) -> frozenset[Key]:
        """The AgentNodes on which code may register agents."""
        nodes = self.nodes.items()
        return frozenset(key for key, node in nodes if (node.get("spec") or {}).get("registration") == "Dynamic")


def _endpoints(slices: Iterable[Json]) -> Iterable[tuple[str, Json]]:
    """Every endpoint that is a pod, with the pod's UID."""
    for slice_ in slices:
        for endpoint in slice_.get("endpoints") or ():
            uid = (endpoint.get("targetRef") or {}).get("uid")
            if uid:
                yield uid, endpoint


def _read_claim(manifest: Json) -> tuple[Agent, Claim] | None:
    try:
        agent = Agent.from_wire(manifest, prune=True)
        return agent, claim_of(agent, manifest["metadata"])
    except ValidationError as error:  # stored under another version's rules: the operator says so in its status
        name = manifest["metadata"].get("name")
        log.warning("an Agent is not valid", extra={"agent": name, "faults": explain_faults(error)})
        return None


def _policy(agent: Agent, namespace: str, nodes: frozenset[str]) -> AgentPolicy:
    spec, retries, breaker, hedging = agent.spec, agent.spec.retries, agent.spec.circuit_breaker, agent.spec.hedging
    return AgentPolicy(
        namespace=namespace,
        name=agent.metadata.name,
        type=agent.type,
        version=spec.version,
        description=spec.description,
        nodes=nodes,
        capabilities=tuple(Capability(c.name, c.version, c.description) for c in spec.capabilities),
        topics=tuple(Subscription(topic.type, topic.match == "Prefix") for topic in spec.topics),
        weight=spec.weight,
        strategy=Strategy(spec.load_balancing.strategy),
        key_affinity=KeyAffinity(spec.load_balancing.key_affinity),
        hash_header=spec.load_balancing.header or "",
        timeout_s=spec.timeout_seconds,
        retries=RetryPolicy(
            attempts=retries.attempts,
            per_try_timeout_s=retries.per_try_timeout_seconds,
            initial_backoff_s=retries.initial_backoff_ms / 1000,
            max_backoff_s=retries.max_backoff_ms / 1000,
            idempotent=retries.idempotent,
        ),
        breaker=BreakerPolicy(breaker.consecutive_failures, breaker.open_seconds, breaker.successes_to_close),
        hedging=HedgingPolicy(hedging.delay_ms / 1000, hedging.attempts) if hedging is not None else None,
        concurrency=spec.concurrency,
        max_payload_bytes=spec.max_payload_bytes,
        allowed_callers=spec.allowed_callers,
    )


class ClusterDirectory:
    """Keeps a core's directory as the API server has it, of some namespaces or, with none given, of all.

    own_uid: of this gateway's pod, to learn its zone by; empty: its zone is known otherwise. home: where the gateways
    are; `membership` knows them, and every pod of an AgentNode.
    """

    def __init__(
        self, kube: Kube, core: Core, namespaces: tuple[str, ...] = (), own_uid: str = "", home: str | None = None
    ) -> None:
        self._kube = kube
        self._core = core
        self._declared = Declared()
        self._changed = asyncio.Event()
        self._resets: dict[Key, str] = {}
        scopes: tuple[str | None, ...] = namespaces or (None,)
        self._own_uid = own_uid
        self._home = home
        self.membership = Membership()
        self._members = Readings(lambda slice_: members_in(slice_, home or ""), "resourceVersion")
        self._synced = {(kind, scope): False for kind in (AGENTS, AGENT_NODES, ENDPOINT_SLICES) for scope in scopes}

    @property
    def is_synced(self) -> bool:
        """Whether every kind was listed once."""
        return all(self._synced.values())

    def expected_pods(self) -> set[str]:
        """UIDs of the pods that should have a link."""
        return set(self._declared.pods())

    def agent(self, namespace: str, name: str) -> Json | None:
        """An Agent as it was last seen."""
        return self._declared.agents.get((namespace, name))

    async def run(self) -> None:
        """Watch for ever."""
        declared = self._declared
        into = {AGENTS: declared.agents, AGENT_NODES: declared.nodes, ENDPOINT_SLICES: declared.slices}
        async with asyncio.TaskGroup() as group:
            for kind, namespace in self._synced:
                labels = NODE_LABEL if kind is ENDPOINT_SLICES else ""
                group.create_task(self._watch(kind, Selector(namespace, labels), into[kind]))
            if self._own_uid or self._home:
                own = Selector(self._home, f"{SERVICE_LABEL}={LINKS_SERVICE}")
                group.create_task(self._watch(ENDPOINT_SLICES, own, declared.gateways))
            group.create_task(self._publish())

    async def _watch(self, resource: Resource, selector: Selector, into: dict[Key, Json]) -> None:
        async for event in self._kube.watch(resource, selector):
            self._take(event, into)
            if event.type is EventType.SYNCED and into is not self._declared.gateways:
                self._synced[resource, selector.namespace] = True
            self._changed.set()

    @staticmethod
    def _take(event: Event, into: dict[Key, Json]) -> None:
        if event.type is EventType.SYNCED:
            return
        metadata = event.object["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        if event.type is EventType.APPLIED:
            into[key] = event.object
        else:
            into.pop(key, None)

    async def _publish(self) -> None:
        last: list[AgentPolicy] | None = None
        now, taken_s = asyncio.get_running_loop().time, 0.0
        while True:
            await self._changed.wait()
            await asyncio.sleep(max(SETTLE_S, REST * taken_s))
            began = now()
            self._changed.clear()
            if not self.is_synced:
                continue
            zone = self._declared.zone_of_gateway(self._own_uid) if self._own_uid else None
            self._core.set_zones(self._declared.pods(), zone)
            slices = self._members.of({**self._declared.slices, **self._declared.gateways})
            self.membership.update(merge_members(slices.values()))
            self._core.set_node_weights(self._declared.weights())
            self._core.set_dynamic_nodes(self._declared.dynamic_nodes())
            self._core.cold_starts.sleepers = self._declared.sleepers()
            policies = self._declared.policies()
            self._reset_circuits()
            if policies != last:
                last = policies
                self._core.set_directory(policies)
                log.info("directory changed", extra={"agents": len(policies)})
            taken_s = now() - began

    def _reset_circuits(self) -> None:
        """Close the circuits of Agents whose annotation has another value than before; the first seen says nothing."""
        wanted = {key: _reset_mark(agent) for key, agent in self._declared.agents.items()}
        for (namespace, name), mark in wanted.items():
            if mark and self._resets.get((namespace, name), mark) != mark:
                self._core.reset_circuits(namespace, name)
        self._resets = wanted


def _reset_mark(agent: Json) -> str:
    return str((agent["metadata"].get("annotations") or {}).get(RESET_CIRCUITS_ANNOTATION, ""))
