"""Clients of a release with tokens and TLS: strangers get nothing, a Role lets in, `helm test` passes."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from identity_fakes import TestCa
from live.kubectl import Kubectl
from live.release import CHART, RELEASE, helm
from live.release import NAMESPACE as SYSTEM
from live.waiting import NotYet, wait_until
from pools import agent, agent_node, code

from switchboard import NodeUnavailable, PermissionDenied, SyncClient, Unauthenticated
from switchboard.credentials import AccessOptions

SERVICE = "switchboard-gateway"
SECRET = "journey-clients-tls"
CACHE_S = 2
WHO = """
from switchboard import Context, agent

@agent
async def who(text: str, ctx: Context) -> str:
    return ctx.principal
"""
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


@pytest.fixture
def secured(kubectl: Kubectl, release: str, tmp_path: Path) -> Iterator[Secured]:
    """The release with tokens and TLS for its clients, as long as the test runs."""
    service = kubectl.find(SYSTEM, "service", SERVICE)
    assert service is not None
    nodes = kubectl.items("default", "nodes")
    hosts = [told["address"] for told in nodes[0]["status"]["addresses"] if told["type"] == "InternalIP"]
    ca = TestCa("journey")
    folder = ca.write(tmp_path / "tls", f"{SERVICE}.{SYSTEM}.svc", service["spec"]["clusterIP"], *hosts)
    files = [f"--from-file={name}={folder / name}" for name in ("tls.crt", "tls.key", "ca.crt")]
    kubectl("create", "secret", "generic", SECRET, "-n", SYSTEM, *files)
    revision = json.loads(helm(kubectl, "status", RELEASE, "--output", "json"))["version"]
    values = ("gateway.auth=kubernetes", f"gateway.tls.secretName={SECRET}", f"gateway.tokens.cacheSeconds={CACHE_S}")
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


def role(namespace: str, account: str, agent_name: str) -> tuple[Json, ...]:
    """A ServiceAccount that may call one Agent."""
    head = {"metadata": {"name": account, "namespace": namespace}}
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"} | head
    rule = {
        "apiGroups": ["switchboard.dev"],
        "resources": ["agents"],
        "resourceNames": [agent_name],
        "verbs": ["invoke"],
    }
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account}
    subjects = [{"kind": "ServiceAccount", "name": account, "namespace": namespace}]
    return (
        rbac | {"kind": "Role", "rules": [rule]},
        rbac | {"kind": "RoleBinding", "roleRef": reference, "subjects": subjects},
    )


def test_clients_need_a_token_a_right_and_the_ca(kubectl: Kubectl, namespace: str, secured: Secured) -> None:
    kubectl.apply(
        code(namespace, "who", app=WHO),
        agent_node(namespace, "who", replicas=1),
        agent(namespace, "who", "who", "app:who"),
    )
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "agents.switchboard.dev/who", "--timeout=180s")
    kubectl("-n", namespace, "create", "serviceaccount", "website")
    token = kubectl("-n", namespace, "create", "token", "website", "--audience=switchboard").strip()

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

        principal = f"spiffe://cluster.local/ns/{namespace}/sa/website"
        assert wait_until(is_let_in, "the right to count") == principal
    wait_until(lambda: secured.execute(namespace, "who", token)[0] == 200, "the right to count at every replica")
    with secured.client(token, ca_file="", tls=False) as client, pytest.raises(NodeUnavailable, match="it speaks TLS"):
        client.request("who", "x", namespace=namespace, timeout_s=5)
    assert "Succeeded" in helm(kubectl, "test", RELEASE, "--timeout", "280s", timeout_s=300)
