"""A release with tokens and TLS for its clients, which asks the API server about everybody's tokens, pods' too.

Strangers get nothing, a Role lets in, an Agent takes the callers that it names, `helm test` passes.
"""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gateways import count_of
from identity_fakes import TestCa
from live.kubectl import AGENTS, Kubectl
from live.release import CHART, RELEASE, helm
from live.release import NAMESPACE as SYSTEM
from live.waiting import NotYet, wait_until
from operators import OPERATOR
from pools import agent, agent_node, code

from switchboard import NodeUnavailable, PermissionDenied, SyncClient, Unauthenticated
from switchboard.credentials import AccessOptions

SERVICE = "switchboard-gateway"
SECRET = "journey-clients-tls"
CACHE_S = 2
APP = """
from switchboard import Context, SwitchboardError, agent

@agent
async def who(text: str, ctx: Context) -> str:
    return ctx.principal

@agent
async def ask(text: str, ctx: Context) -> str:
    try:
        return (await ctx.request("ledger", text)).value
    except SwitchboardError as error:
        return str(error)
"""
REPLICAS = 2  # of the gateway, and of the operator: each knows each pod by a review of its own
PODS = 3  # of the pools of which one calls another
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Secured:
    """Where the release's clients find it, and whose certificate it shows."""

    host: str
    grpc: int
    http: int
    ca: Path

    def client(self, token: str, **access: Any) -> SyncClient:
        options: AccessOptions = {"token": token, "ca_file": self.ca} | access  # type: ignore[assignment]
        return SyncClient(f"{self.host}:{self.grpc}", timeout_s=30, **options)

    def execute(self, namespace: str, agent: str, token: str) -> tuple[int, Json]:
        url = f"https://{self.host}:{self.http}/api/v1/namespaces/{namespace}/agents/{agent}/execute"
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(url, b'{"input": "x"}', headers)
        try:
            with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=self.ca), timeout=60) as got:
                return got.status, json.load(got)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture(scope="module")
def secured(kubectl: Kubectl, release: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The release with tokens and TLS for its clients, and with reviews of pods' tokens, as long as these tests run."""
    service = kubectl.find(SYSTEM, "service", SERVICE)
    assert service is not None
    nodes = kubectl.items("default", "nodes")
    hosts = [told["address"] for told in nodes[0]["status"]["addresses"] if told["type"] == "InternalIP"]
    ca = TestCa("journey")
    folder = ca.write(tmp_path_factory.mktemp("tls"), f"{SERVICE}.{SYSTEM}.svc", service["spec"]["clusterIP"], *hosts)
    files = [f"--from-file={name}={folder / name}" for name in ("tls.crt", "tls.key", "ca.crt")]
    kubectl("create", "secret", "generic", SECRET, "-n", SYSTEM, *files)
    revision = json.loads(helm(kubectl, "status", RELEASE, "--output", "json"))["version"]
    values = (
        "gateway.auth=kubernetes",
        f"gateway.tls.secretName={SECRET}",
        f"gateway.tokens.cacheSeconds={CACHE_S}",
        "tls.podTokens.check=tokenReview",
    )
    given = [word for value in values for word in ("--set", value)]
    try:
        helm(kubectl, "upgrade", RELEASE, str(CHART), "--reuse-values", *given, "--wait", "--timeout", "180s")
        changed = kubectl.find(SYSTEM, "service", SERVICE)
        assert changed is not None
        ports = {port["name"]: port for port in changed["spec"]["ports"]}
        yield Secured(hosts[0], ports["grpc"]["nodePort"], ports["https"]["nodePort"], folder / "ca.crt")
    finally:
        helm(kubectl, "rollback", RELEASE, str(revision), "--wait", "--timeout", "180s")
        _restore_port(kubectl, service)
        kubectl("delete", "secret", SECRET, "-n", SYSTEM)


def _restore_port(kubectl: Kubectl, service: Json) -> None:
    """Give plain HTTP the node's port that it had: other journeys have kept the address."""
    [node_port] = [port.get("nodePort") for port in service["spec"]["ports"] if port["port"] == 80]
    if node_port is not None:
        change = {"spec": {"ports": [{"port": 80, "nodePort": node_port}]}}
        kubectl("patch", "service", SERVICE, "-n", SYSTEM, "--patch", json.dumps(change))


def role(namespace: str, account: str, *agents: str) -> tuple[Json, ...]:
    """A ServiceAccount that may call some Agents."""
    head = {"metadata": {"name": account, "namespace": namespace}}
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"} | head
    rule = {
        "apiGroups": ["switchboard.dev"],
        "resources": ["agents"],
        "resourceNames": list(agents),
        "verbs": ["invoke"],
    }
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account}
    subjects = [{"kind": "ServiceAccount", "name": account, "namespace": namespace}]
    return (
        rbac | {"kind": "Role", "rules": [rule]},
        rbac | {"kind": "RoleBinding", "roleRef": reference, "subjects": subjects},
    )


def token_of(kubectl: Kubectl, namespace: str, account: str) -> str:
    """A token for gateways of a new ServiceAccount."""
    kubectl("-n", namespace, "create", "serviceaccount", account)
    return kubectl("-n", namespace, "create", "token", account, "--audience=switchboard").strip()


def id_of(namespace: str, account: str) -> str:
    return f"spiffe://cluster.local/ns/{namespace}/sa/{account}"


def test_clients_need_a_token_a_right_and_the_ca(kubectl: Kubectl, namespace: str, secured: Secured) -> None:
    kubectl.apply(
        code(namespace, "who", app=APP),
        agent_node(namespace, "who", replicas=1),
        agent(namespace, "who", "who", "app:who"),
    )
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "agents.switchboard.dev/who", "--timeout=180s")
    token = token_of(kubectl, namespace, "website")

    with secured.client("") as client, pytest.raises(Unauthenticated):
        client.request("who", "x", namespace=namespace)
    assert secured.execute(namespace, "who", "")[0] == 401
    with secured.client(token) as client:
        with pytest.raises(PermissionDenied, match=r"verbs \[invoke\]"):
            client.request("who", "x", namespace=namespace)
        kubectl.apply(*role(namespace, "website", "who"))

        def is_let_in() -> str:
            try:
                return str(client.request("who", "x", namespace=namespace).value)
            except PermissionDenied as error:
                raise NotYet(str(error)) from error

        assert wait_until(is_let_in, "the right to count") == id_of(namespace, "website")
    wait_until(lambda: secured.execute(namespace, "who", token)[0] == 200, "the right to count at every replica")
    with secured.client(token, ca_file="", tls=False) as client, pytest.raises(NodeUnavailable, match="it speaks TLS"):
        client.request("who", "x", namespace=namespace, timeout_s=5)
    assert "Succeeded" in helm(kubectl, "test", RELEASE, "--timeout", "280s", timeout_s=300)


def calling_pools(namespace: str) -> list[Json]:
    """`ledger` takes calls of the website and of the pods of `front`; `front` and `other` pass calls on to it."""
    named = [id_of(namespace, "website"), id_of(namespace, "front")]
    names = ("ledger", "front", "other")
    nodes = [agent_node(namespace, name, replicas=1, source={"configMap": "ledger"}) for name in names]
    agents = [
        agent(namespace, "ledger", "ledger", "app:who", allowedCallers=named),
        agent(namespace, "front", "front", "app:ask"),
        agent(namespace, "other", "other", "app:ask"),
    ]
    return [code(namespace, "ledger", app=APP), *nodes, *agents]


def reviews(kubectl: Kubectl) -> tuple[float, float]:
    """How many pods' tokens gateways, and operators, have had reviewed and found good."""
    yes = {"review": "token", "answer": "yes"}
    gateways = count_of(kubectl, "switchboard_gateway_reviews_total", of="pods", **yes)
    return gateways, count_of(kubectl, "switchboard_operator_reviews_total", OPERATOR, **yes)


def refusals(kubectl: Kubectl) -> float:
    """How many calls the lists of Agents have refused."""
    return count_of(kubectl, "switchboard_gateway_refusals_total", surface="policy", reason="PERMISSION_DENIED")


def ask(client: SyncClient, namespace: str, target: str) -> str:
    """The answer, or the error that the list of an Agent gives. Raises NotYet while the caller has not the right."""
    try:
        return str(client.request(target, "x", namespace=namespace).value)
    except PermissionDenied as error:
        if "allowedCallers" not in str(error):
            raise NotYet(str(error)) from error
        return str(error)


def test_an_agent_takes_the_callers_that_it_names_and_pods_are_known_by_reviews(
    kubectl: Kubectl, namespace: str, secured: Secured
) -> None:
    tokens = [token_of(kubectl, namespace, account) for account in ("website", "intruder")]
    reviewed, refused = reviews(kubectl), refusals(kubectl)
    kubectl.apply(
        *calling_pools(namespace),
        *role(namespace, "website", "ledger", "front", "other"),
        *role(namespace, "intruder", "ledger"),
    )
    kubectl("-n", namespace, "wait", "--for=condition=Ready", AGENTS, "--all", "--timeout=180s", timeout_s=200)
    website, intruder = (secured.client(token) for token in tokens)
    with website, intruder:
        answer = wait_until(lambda: ask(website, namespace, "ledger"), "the website's right to count")
        assert answer == id_of(namespace, "website")
        answer = wait_until(lambda: ask(intruder, namespace, "ledger"), "the intruder's right to count")
        assert answer.startswith(f"PERMISSION_DENIED: {id_of(namespace, 'intruder')} may not call Agent 'ledger'")
        answers = [wait_until(lambda name=name: ask(website, namespace, name), name) for name in ("front", "other")]
        assert answers[0] == id_of(namespace, "front")
        assert answers[1].startswith(f"PERMISSION_DENIED: {id_of(namespace, 'other')} may not call Agent 'ledger'")
        assert refusals(kubectl) >= refused + 2

        everybody = {"spec": {"allowedCallers": [id_of(namespace, "*")]}}
        kubectl("-n", namespace, "patch", AGENTS, "ledger", "--type=merge", "--patch", json.dumps(everybody))
        for client, target, caller in ((website, "other", "other"), (intruder, "ledger", "intruder")):
            principal = id_of(namespace, caller)
            wait_until(lambda: ask(client, namespace, target) == principal, f"the list to take {caller}")  # noqa: B023

    def all_are_reviewed() -> bool:
        return all(after >= before + REPLICAS * PODS for before, after in zip(reviewed, reviews(kubectl), strict=True))

    wait_until(all_are_reviewed, "a review of every pod by every replica")
