"""What a journey does, in a user's words: apply, wait, call, look."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Unpack

from live.gateway import Address, Rest
from live.kubectl import AGENT_NODES, AGENTS, Kubectl, condition, is_ready
from live.outcomes import WRONG
from live.steady import Plan, Steady, steady_load
from live.traffic import Load, Tally, traffic
from live.waiting import NotYet, wait_until

from switchboard import CallOptions, NodeUnavailable, SyncClient

Json = dict[str, Any]
# A pod starts in 5 s on an idle machine; here many do at once, on two processors
READY_S = 180


@dataclass(frozen=True, slots=True)
class Journey:
    """kubectl, a namespace, and two ways to the gateway."""

    kubectl: Kubectl
    namespace: str
    gateway: Address
    client: SyncClient
    rest: Rest

    def apply(self, *objects: Json) -> None:
        self.kubectl.apply(*objects)

    def kube(self, *words: str, stdin: object = None) -> str:
        """kubectl in the test's namespace."""
        return self.kubectl("-n", self.namespace, *words, stdin=stdin, timeout_s=READY_S + 60)

    def await_condition(self, kind: str, name: str, claim: str = "Ready") -> None:
        """`kubectl wait --for=condition=…`, as a script of a user would."""
        self.kube("wait", f"--for=condition={claim}", f"{kind}/{name}", f"--timeout={READY_S}s")

    def await_ready(self, *, nodes: tuple[str, ...] = (), agents: tuple[str, ...] = ()) -> None:
        for name in nodes:
            self.await_condition(AGENT_NODES, name)
        for name in agents:
            self.await_condition(AGENTS, name)
        if agents:
            self.await_listed(*agents)

    def await_listed(self, *agents: str) -> None:
        """Wait until every replica of the gateway has the Agents, of which each learns by itself, as the operator does.

        Ten new connections in a row meet all of them.
        """

        def look() -> bool:
            for _ in range(10):
                try:
                    reply = self.rest.get("agents")
                except OSError as error:
                    raise NotYet(error) from error
                if missing := set(agents) - {found["name"] for found in reply.body.get("agents", ())}:
                    raise NotYet(f"{sorted(missing)} are missing, HTTP {reply.status}")
            return True

        wait_until(look, f"{', '.join(agents)} at every replica of the gateway", READY_S)

    def await_reason(self, kind: str, name: str, type_: str, reason: str) -> str:
        """Wait until a condition has this reason; its message."""

        def look() -> Json | None:
            told = condition(self.kubectl.find(self.namespace, kind, name), type_)
            if told.get("reason") != reason:
                raise NotYet(told or "no such condition")
            return told

        message: str = wait_until(look, f"{kind} {name}: {type_} for the reason {reason}", READY_S)["message"]
        return message

    def node(self, name: str) -> Json:
        """The AgentNode as it is now."""
        found = self.kubectl.find(self.namespace, AGENT_NODES, name)
        assert found is not None, f"there is no AgentNode {name}"
        return found

    def instances(self, node: str) -> list[Json]:
        """What the registry says of a pool's instances."""
        told: list[Json] = self.node(node).get("status", {}).get("instances", [])
        return told

    def pods(self, node: str) -> list[Json]:
        """The pods of a pool that are not on their way out."""
        found = self.kubectl.items(self.namespace, "pods", f"switchboard.dev/agentnode={node}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def pod_names(self, node: str) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.pods(node)}

    def await_pods(self, node: str, count: int) -> set[str]:
        """Wait for exactly so many pods, all ready; their names."""

        def look() -> bool:
            pods = self.pods(node)
            ready = sum(is_ready(pod) for pod in pods)
            if not ready == len(pods) == count:
                raise NotYet(f"{len(pods)} pods, {ready} ready")
            return True

        wait_until(look, f"{count} ready pods of {node}", READY_S)
        return self.pod_names(node)

    def await_gone(self, kind: str, selector: str = "") -> None:
        """Wait until no object of the kind is left."""

        def look() -> bool:
            left = [found["metadata"]["name"] for found in self.kubectl.items(self.namespace, kind, selector)]
            if left:
                raise NotYet(f"{left} are there")
            return True

        wait_until(look, f"all {kind} to be gone", READY_S)

    def ask(self, target: str, payload: object = None, **options: Unpack[CallOptions]) -> Any:
        """One message over gRPC; the answer's value."""
        options["namespace"] = self.namespace
        return self.client.request(target, payload, **options).value

    def tell(self, target: str, payload: object, instance: str) -> None:
        """Send it until this instance has had it: while that of a key has no link, another stands for it."""

        def look() -> bool:
            try:
                told = self.client.request(target, payload, namespace=self.namespace).instance
            except NodeUnavailable as error:
                raise NotYet(error) from error
            if told != instance:
                raise NotYet(f"{told} was told")
            return True

        wait_until(look, f"{instance} to be told {payload!r}")

    @contextlib.contextmanager
    def traffic(self, load: Load, **options: Unpack[CallOptions]) -> Iterator[Tally]:
        """Steady traffic to an agent of the test's namespace, begun when some has been answered."""
        options["namespace"] = self.namespace
        with traffic(self.client, load, **options) as tally:
            tally.wait_for(5)
            yield tally

    @contextlib.contextmanager
    def steady(self, plan: Plan) -> Iterator[Steady]:
        """An open loop to an agent of the test's namespace, from a process of its own; it must lose no call.

        Whatever happened meanwhile, every call that was sent has ended exactly once, and with its own answer.
        """
        with steady_load(self.gateway.grpc, self.namespace, plan) as load:
            yield load
        assert len(load.outcomes()) == load.sent, "calls without an end"
        assert load.ended_again == 0, "calls that ended twice"
        assert not any(outcome.code == WRONG for outcome in load.outcomes()), "answers of other calls"


def require_no_failure(tally: Tally) -> None:
    """Fail unless every call that was sent has been answered."""
    assert (tally.failed, tally.failures) == (0, [])
    assert tally.sent == tally.answered
