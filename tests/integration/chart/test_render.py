"""What helm makes of the chart, without a cluster."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from switchboard_gateway import grpc_limits
from switchboard_gateway.access import settings as access
from switchboard_gateway.grpc_limits import GrpcLimits
from switchboard_gateway.settings import ENV_SESSION_AGENTS
from switchboard_identity.settings import IdentitySettings
from switchboard_operator import lease
from switchboard_operator.metrics_api import documents
from switchboard_operator.pod import Images, Surroundings, build_template
from switchboard_wire import names

pytestmark = pytest.mark.integration

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
Rights = dict[tuple[str, str], frozenset[str]]

ROOT = Path(__file__).resolve().parents[3]
NAMESPACE = "mesh-system"  # conftest.py renders into it
GRPC = "SWITCHBOARD_GRPC_"  # of which the gateway's variables have their own test
OPERATOR, GATEWAY = "switchboard-operator", "switchboard-gateway"

EVERYTHING_ON = {
    "networkPolicy": {"enabled": True},
    "metrics": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}},
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}}],
}


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    found = [item for item in manifests if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{len(found)} objects are {kind} {name}"
    return found[0]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod's name and spec, of Deployments and alone."""
    for item in manifests:
        if item["kind"] == "Deployment":
            yield item["metadata"]["name"], item["spec"]["template"]["spec"]
        elif item["kind"] == "Pod":
            yield item["metadata"]["name"], item["spec"]


def container(manifests: list[Manifest], deployment: str) -> Manifest:
    (only,) = one(manifests, "Deployment", deployment)["spec"]["template"]["spec"]["containers"]
    return only


def environment(manifests: list[Manifest], deployment: str) -> dict[str, Any]:
    """Variable → its value, or the path of the pod's field."""
    return {
        entry["name"]: entry["value"] if "value" in entry else entry["valueFrom"]["fieldRef"]["fieldPath"]
        for entry in container(manifests, deployment)["env"]
    }


def granted(manifests: list[Manifest], kind: str, name: str) -> Rights:
    """(group, resource) → verbs of a role; what is narrowed to names has them in the resource: `leases/=name`."""
    table: Rights = {}
    for rule in one(manifests, kind, name)["rules"]:
        only = sorted(rule.get("resourceNames", []))
        suffix = "".join(f"={name}" for name in only)
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                key = (group, resource + suffix)
                assert key not in table, f"{key} is granted twice"
                table[key] = frozenset(rule["verbs"])
    return table


METRICS_ROLES = ("switchboard-metrics-server", "switchboard-metrics-reader")


def test_lint_is_strict(lint: Callable[[], tuple[int, str, str]]) -> None:
    assert lint()[::2] == (0, "")


def test_default_objects_are_these(render: Render) -> None:
    kinds: dict[str, set[str]] = {}
    for item in render():
        kinds.setdefault(item["kind"], set()).add(item["metadata"]["name"])
    assert kinds == {
        "CustomResourceDefinition": {"agentnodes.switchboard.dev", "agents.switchboard.dev"},
        "Deployment": {OPERATOR, GATEWAY},
        "Service": {names.GATEWAY_SERVICE, names.LINKS_SERVICE, names.METRICS_SERVICE, names.REGISTRY_SERVICE},
        "APIService": {"v1beta2.custom.metrics.k8s.io"},
        "ServiceAccount": {OPERATOR, GATEWAY},
        "PodDisruptionBudget": {OPERATOR, GATEWAY},
        "ClusterRole": {OPERATOR, GATEWAY, "switchboard-view", "switchboard-edit", *METRICS_ROLES},
        "ClusterRoleBinding": {OPERATOR, GATEWAY, *METRICS_ROLES},
        "Role": {f"{OPERATOR}-own", f"{GATEWAY}-own"},
        "RoleBinding": {f"{OPERATOR}-own", f"{GATEWAY}-own", "switchboard-metrics-server"},
        "ConfigMap": {"switchboard-test"},
        "AgentNode": {"switchboard-test"},
        "Agent": {"switchboard-test"},
        "Pod": {"switchboard-test"},
    }


def test_services_have_the_names_and_ports_of_the_contract(render: Render) -> None:
    manifests = render()
    services = {item["metadata"]["name"]: item["spec"] for item in manifests if item["kind"] == "Service"}
    targets = {
        entry["name"]: entry["containerPort"]
        for deployment in (OPERATOR, GATEWAY)
        for entry in container(manifests, deployment)["ports"]
    }
    ports = {
        name: {entry["name"]: (entry["port"], targets[entry["targetPort"]]) for entry in spec["ports"]}
        for name, spec in services.items()
    }
    assert ports == {
        names.GATEWAY_SERVICE: {
            "grpc": (names.GATEWAY_GRPC_PORT, names.GATEWAY_GRPC_PORT),
            "http": (80, names.GATEWAY_HTTP_PORT),
        },
        names.LINKS_SERVICE: {"links": (names.LINKS_PORT, names.LINKS_PORT)},
        names.REGISTRY_SERVICE: {"registry": (names.REGISTRY_PORT, names.REGISTRY_PORT)},
        names.METRICS_SERVICE: {"metrics-api": (names.METRICS_API_PORT, names.METRICS_API_PORT)},
    }
    assert targets["ops"] == names.OPS_PORT
    for name in (names.LINKS_SERVICE, names.REGISTRY_SERVICE):
        assert (services[name]["clusterIP"], services[name]["publishNotReadyAddresses"]) == ("None", True)
    assert "publishNotReadyAddresses" not in services[names.GATEWAY_SERVICE]


@pytest.mark.parametrize("deployment", [OPERATOR, GATEWAY])
def test_every_selector_finds_the_pods_of_one_component(render: Render, deployment: str) -> None:
    manifests = render(commonLabels={"team": "ai"}, **EVERYTHING_ON)
    labels = one(manifests, "Deployment", deployment)["spec"]["template"]["metadata"]["labels"]
    selectors = {
        f"{item['kind']} {item['metadata']['name']}": selector_of(item)
        for item in manifests
        if item["kind"] in {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}
    }
    matching = {name for name, selector in selectors.items() if selector.items() <= labels.items()}
    services = {
        OPERATOR: {names.REGISTRY_SERVICE, names.METRICS_SERVICE},
        GATEWAY: {names.GATEWAY_SERVICE, names.LINKS_SERVICE},
    }[deployment]
    assert matching == {
        *(f"{kind} {deployment}" for kind in ("Deployment", "PodDisruptionBudget", "NetworkPolicy")),
        *(f"Service {name}" for name in (*services, f"{deployment}-metrics")),
    }
    assert all("team" not in selector for selector in selectors.values())


def selector_of(item: Manifest) -> dict[str, str]:
    spec = item["spec"]
    selector = spec["podSelector"] if item["kind"] == "NetworkPolicy" else spec["selector"]
    found: dict[str, str] = selector.get("matchLabels", selector)
    return found


CHECKS = {
    names.ENV_POD_NAMESPACE: "metadata.namespace",
    names.ENV_CHECK_TOKENS: "true",
    names.ENV_CHECK_SOURCE: "true",
    names.ENV_TRUST_DOMAIN: "cluster.local",
}


def test_the_operator_s_environment(render: Render) -> None:
    manifests = render(watchNamespaces=["a", "b"], log={"level": "debug", "format": "text"}, image={"tag": "7"})
    assert environment(manifests, OPERATOR) == {
        names.ENV_NAMESPACE: "metadata.namespace",
        names.ENV_INSTANCE: "metadata.name",
        names.ENV_POD_UID: "metadata.uid",
        names.ENV_POD_IP: "status.podIP",
        names.ENV_GATEWAYS: f"{names.LINKS_SERVICE}.{NAMESPACE}.svc:{names.LINKS_PORT}",
        names.ENV_REGISTRIES: f"{names.REGISTRY_SERVICE}.{NAMESPACE}.svc:{names.REGISTRY_PORT}",
        names.ENV_SIDECAR_IMAGE: "localhost/switchboard/sidecar:7",
        names.ENV_HOST_IMAGE: "localhost/switchboard/host:7",
        names.ENV_IMAGE_PULL_POLICY: "IfNotPresent",
        names.ENV_WATCH_NAMESPACES: "a,b",
        names.ENV_METRICS_APIS: "custom",
        names.ENV_LOG_LEVEL: "debug",
        names.ENV_LOG_FORMAT: "text",
        names.ENV_TLS: "own",
        names.ENV_CA_SETTLED: "900",
        names.ENV_AUTH: "none",
        **CHECKS,
    }


def test_the_gateway_s_environment(render: Render) -> None:
    manifests = render(gateway={"extraEnv": [{"name": "MINE", "value": "1"}]})
    assert environment(manifests, GATEWAY) == {
        names.ENV_NAMESPACE: "default",
        names.ENV_INSTANCE: "metadata.name",
        names.ENV_POD_UID: "metadata.uid",
        names.ENV_POD_IP: "status.podIP",
        names.ENV_GATEWAYS: f"{names.LINKS_SERVICE}.{NAMESPACE}.svc:{names.LINKS_PORT}",
        names.ENV_REGISTRIES: f"{names.REGISTRY_SERVICE}.{NAMESPACE}.svc:{names.REGISTRY_PORT}",
        names.ENV_WATCH_NAMESPACES: "",
        names.ENV_LOG_LEVEL: "info",
        names.ENV_LOG_FORMAT: "json",
        **{name: value for name, value in environment(manifests, GATEWAY).items() if name.startswith(GRPC)},
        ENV_SESSION_AGENTS: "true",
        names.ENV_AUTH: "none",
        "MINE": "1",
        names.ENV_TLS_FOLDER: "/etc/switchboard/tls",
        names.ENV_TOKEN_FILE: f"{names.TOKEN_FOLDER}/token",
        **CHECKS,
    }


def test_the_limits_of_the_gateway_s_grpc_port_are_those_of_its_own(render: Render) -> None:
    usual = environment(render(), GATEWAY)
    assert {name for name in usual if name.startswith(GRPC)} == {
        value for name, value in vars(grpc_limits).items() if name.startswith("ENV_")
    }
    assert GrpcLimits.from_environment(usual) == GrpcLimits()
    values = {"grpc": {"maxRequestBytes": 2000000, "maxConnectionAgeSeconds": 0, "reflection": True}}
    changed = GrpcLimits.from_environment(environment(render(gateway=values), GATEWAY))
    assert (changed.max_request_bytes, changed.connection_age_s, changed.reflection) == (2000000, 0, True)


def test_checks_of_clients_are_what_the_values_say(render: Render) -> None:
    manifests = render(
        gateway={"auth": "kubernetes", "tokens": {"audience": "", "cacheSeconds": 7, "outageSeconds": 0}}
    )
    found = access.AccessSettings.from_environment(environment(manifests, GATEWAY))
    assert found == access.AccessSettings(checks=True, audience="", cache_s=7.0, outage_s=0.0)
    usual = access.AccessSettings.from_environment(environment(render(gateway={"auth": "kubernetes"}), GATEWAY))
    assert usual == access.AccessSettings(checks=True)
    off = render()
    assert access.AccessSettings.from_environment(environment(off, GATEWAY)) == access.AccessSettings()
    assert not [item for item in off if item["metadata"]["name"] == f"{GATEWAY}-auth"]


def test_the_ports_of_clients_have_their_certificate_from_the_secret(render: Render) -> None:
    manifests = render(gateway={"tls": {"secretName": "public-tls"}})
    spec = dict(pods(manifests))[GATEWAY]
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "client-tls"]
    (mount,) = [mount for mount in container(manifests, GATEWAY)["volumeMounts"] if mount["name"] == "client-tls"]
    assert volume["secret"]["secretName"] == "public-tls"
    assert environment(manifests, GATEWAY)[access.ENV_TLS_FOLDER] == mount["mountPath"]
    ports = one(manifests, "Service", names.GATEWAY_SERVICE)["spec"]["ports"]
    assert {port["name"]: port["port"] for port in ports} == {"grpc": 7400, "https": 443}


def test_the_test_shows_a_token_and_trusts_the_gateway_where_that_is_asked_for(render: Render) -> None:
    manifests = render(gateway={"auth": "kubernetes", "tls": {"secretName": "public-tls"}})
    spec = dict(pods(manifests))["switchboard-test"]
    told = {entry["name"]: entry["value"] for entry in spec["containers"][0]["env"]}
    assert (told["TOKEN_FILE"], told["CA_FILE"]) == ("/token/token", "/tls/ca.crt")
    assert told["URL"].startswith("https://")
    assert granted(manifests, "Role", "switchboard-test-client") == {
        (names.GROUP, "agents=switchboard-test"): frozenset({"invoke"})
    }
    assert one(manifests, "RoleBinding", "switchboard-test-client")["subjects"][0]["name"] == spec["serviceAccountName"]


def test_without_tls_nothing_of_it_is_there(render: Render) -> None:
    manifests = render(tls={"enabled": False}, metricsApi={"custom": "Never"})
    for deployment in (OPERATOR, GATEWAY):
        assert {name for name in environment(manifests, deployment) if "TLS" in name or "CHECK" in name} == set()
        assert [volume["name"] for volume in dict(pods(manifests))[deployment]["volumes"]] == ["tmp"]
    assert not [key for key in granted(manifests, "Role", f"{OPERATOR}-own") if "secrets" in key[1]]


def test_pods_tokens_are_reviewed_only_when_asked_for(render: Render) -> None:
    for tls in ({}, {"enabled": False, "podTokens": {"check": "tokenReview"}}):
        off = render(tls=tls)
        assert not [item for item in off if item["metadata"]["name"] == "switchboard-token-reviews"]
        assert all(names.ENV_POD_TOKENS not in environment(off, each) for each in (OPERATOR, GATEWAY))
    on = render(tls={"podTokens": {"check": "tokenReview", "outageSeconds": 7}})
    for deployment in (OPERATOR, GATEWAY):
        found = IdentitySettings.from_environment(environment(on, deployment))
        assert (found.checks, found.reviews, found.outage_s) == (True, True, 7.0)
    usual = render(tls={"podTokens": {"check": "tokenReview"}})
    assert IdentitySettings.from_environment(environment(usual, GATEWAY)).outage_s == IdentitySettings().outage_s
    subjects = one(usual, "ClusterRoleBinding", "switchboard-token-reviews")["subjects"]
    assert {subject["name"] for subject in subjects} == {OPERATOR, GATEWAY}


def test_plain_text_is_accepted_beside_tls_only_when_asked_for(render: Render) -> None:
    for deployment in (OPERATOR, GATEWAY):
        assert names.ENV_PLAIN_TEXT not in environment(render(), deployment)
        turning = environment(render(tls={"acceptPlainText": True}), deployment)
        assert (turning[names.ENV_PLAIN_TEXT], turning[names.ENV_CHECK_TOKENS]) == ("accepted", "true")
    off = render(tls={"enabled": False, "acceptPlainText": True})
    assert names.ENV_PLAIN_TEXT not in environment(off, GATEWAY)


def test_cert_manager_signs_in_the_operator_s_place(render: Render) -> None:
    issuer = {"name": "ca", "kind": "ClusterIssuer"}
    manifests = render(tls={"certManager": {"enabled": True, "issuerRef": issuer}}, metricsApi={"custom": "Never"})
    for component, service in ((OPERATOR, names.REGISTRY_SERVICE), (GATEWAY, names.LINKS_SERVICE)):
        certificate = one(manifests, "Certificate", f"{component}-tls")["spec"]
        assert (certificate["issuerRef"], certificate["dnsNames"][0]) == (issuer, service)
        mounted = {
            v["name"]: v.get("secret", {}).get("secretName") for v in dict(pods(manifests))[component]["volumes"]
        }
        assert mounted["tls"] == certificate["secretName"]
        assert environment(manifests, component)[names.ENV_TLS_FOLDER] == "/etc/switchboard/tls"
    assert names.ENV_TLS not in environment(manifests, OPERATOR)
    assert not [key for key in granted(manifests, "Role", f"{OPERATOR}-own") if "secrets" in key[1]]


@pytest.mark.parametrize(
    ("values", "namespace"),
    [
        ({"watchNamespaces": ["a", "b"]}, "a"),
        ({"watchNamespaces": ["a", "b"], "gateway": {"defaultNamespace": "b"}}, "b"),
    ],
    ids=["the first that is served", "the one that is said"],
)
def test_the_namespace_of_a_call_that_names_none(render: Render, values: dict[str, Any], namespace: str) -> None:
    assert environment(render(**values), GATEWAY)[names.ENV_NAMESPACE] == namespace


def test_probes_are_on_the_ops_port(render: Render) -> None:
    manifests = render()
    for deployment in (OPERATOR, GATEWAY):
        spec = container(manifests, deployment)
        paths = {
            probe: (spec[f"{probe}Probe"]["httpGet"]["path"], spec[f"{probe}Probe"]["httpGet"]["port"])
            for probe in ("startup", "liveness", "readiness")
        }
        assert paths == {"startup": ("/livez", "ops"), "liveness": ("/livez", "ops"), "readiness": ("/readyz", "ops")}


def test_a_pod_that_goes_has_time_after_its_sleep(render: Render) -> None:
    spec = one(render(), "Deployment", GATEWAY)["spec"]["template"]["spec"]
    sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] - sleep >= 45  # an agent's default drain and its margin


def test_replicas_are_spread_over_zones_and_nodes(render: Render) -> None:
    manifests = render()
    for deployment in (OPERATOR, GATEWAY):
        spec = one(manifests, "Deployment", deployment)["spec"]
        spread = spec["template"]["spec"]["topologySpreadConstraints"]
        assert [entry["topologyKey"] for entry in spread] == [names.ZONE_LABEL, "kubernetes.io/hostname"]
        assert all(entry["labelSelector"] == spec["selector"] for entry in spread)


# --- rights


def documented(heading: str) -> Rights:
    """The table below a heading of docs/reference/rbac.md, in the form of `granted`."""
    text = (ROOT / "docs" / "reference" / "rbac.md").read_text()
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")][2:]
    table: Rights = {}
    for group, resources, verbs, _ in rows:
        for resource in resources.split(","):
            name, *only = re.findall(r"`([^`]+)`", resource)
            key = (group.strip(" `").replace("core", ""), "=".join([name, *only]))
            table[key] = frozenset(verb.strip() for verb in verbs.split(","))
    return table


ROLES = {
    "operator": ("ClusterRole", OPERATOR, "The operator, in the namespaces that it serves"),
    "gateway": ("ClusterRole", GATEWAY, "The gateway, in the namespaces that it serves"),
    "operator's metrics API": ("ClusterRole", "switchboard-metrics-server", "The operator, for the metrics APIs"),
    "operator's own": ("Role", f"{OPERATOR}-own", "The operator, in its own namespace"),
    "gateway's own": ("Role", f"{GATEWAY}-own", "The gateway, in its own namespace"),
    "reviews of pods' tokens": (
        "ClusterRole",
        "switchboard-token-reviews",
        "Operator and gateway, where pods' tokens are reviewed",
    ),
    "gateway's clients": ("ClusterRole", f"{GATEWAY}-auth", "The gateway, where it checks its clients"),
}


@pytest.mark.parametrize(("kind", "name", "heading"), ROLES.values(), ids=ROLES.keys())
def test_roles_grant_what_is_documented_and_no_more(render: Render, kind: str, name: str, heading: str) -> None:
    values = {"gateway": {"auth": "kubernetes"}, "tls": {"podTokens": {"check": "tokenReview"}}}
    assert granted(render(**values), kind, name) == documented(heading)


def test_the_gateway_reads_and_writes_nothing_but_events() -> None:
    rights = documented(ROLES["gateway"][2])
    assert rights.pop(("events.k8s.io", "events")) == {"create"}
    assert {verb for verbs in rights.values() for verb in verbs} == {"list", "watch"}


def test_the_lease_is_the_elector_s() -> None:
    assert ("coordination.k8s.io", f"leases={lease.NAME}") in documented(ROLES["operator's own"][2])


def test_secrets_are_read_by_name_alone(render: Render) -> None:
    roles = [item for item in render() if item["kind"] in {"Role", "ClusterRole"}]
    found = {
        (role["kind"], role["metadata"]["name"], verb, name)
        for role in roles
        for rule in role["rules"]
        if "secrets" in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", ["any"])
    }
    assert {entry for entry in found if entry[3] == "any"} == {("Role", f"{OPERATOR}-own", "create", "any")}
    assert {name for _, _, _, name in found} == {"switchboard-ca", "switchboard-gateway-tls", "any"}


def test_no_role_has_a_wildcard(render: Render) -> None:
    roles = [item for item in render() if item["kind"] in {"Role", "ClusterRole"}]
    words = {word for role in roles for rule in role["rules"] for part in rule.values() for word in part}
    assert not words & {"*", "pods/exec", "roles", "clusterroles", "bind", "escalate", "impersonate"}


def test_a_namespaced_release_grants_nothing_elsewhere(render: Render) -> None:
    values: dict[str, Any] = {"rbac": {"namespaced": True}, "crds": {"enabled": False}, "test": {"enabled": False}}
    tls = {"podTokens": {"check": "tokenReview"}}
    manifests = render(watchNamespaces=["a", "b"], gateway={"auth": "kubernetes"}, tls=tls, **values)
    cluster_wide = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    assert not [item for item in manifests if item["kind"] in cluster_wide]
    for component, name in (("operator", OPERATOR), ("gateway", GATEWAY)):
        rights = documented(ROLES[component][2])
        found = {item["metadata"]["namespace"]: item for item in manifests if is_role(item, name)}
        assert set(found) == {"a", "b"}
        assert all(granted([role], "Role", name) == rights for role in found.values())


def is_role(item: Manifest, name: str) -> bool:
    return bool(item["kind"] == "Role" and item["metadata"]["name"] == name)


def test_every_binding_binds_a_role_that_is_there_to_an_account_that_is_there(render: Render) -> None:
    accounts = {"operator": {"serviceAccount": {"name": "robot"}}}
    manifests = render(watchNamespaces=["a"], rbac={"namespaced": True}, **accounts)
    bindings = [item for item in manifests if item["kind"] == "RoleBinding"]
    assert len(bindings) == 4
    for binding in bindings:
        (subject,) = binding["subjects"]
        assert one(manifests, "ServiceAccount", subject["name"])["metadata"]["namespace"] == subject["namespace"]
        roles = [item for item in manifests if is_role(item, binding["roleRef"]["name"])]
        assert [role["metadata"]["namespace"] for role in roles] == [binding["metadata"]["namespace"]]
    assert one(manifests, "Deployment", OPERATOR)["spec"]["template"]["spec"]["serviceAccountName"] == "robot"


# --- what values change


def test_an_image_is_pinned_by_its_digest(render: Render) -> None:
    digest = "sha256:" + "a1" * 32
    image = {"repository": "sb/gw", "tag": "1.2", "digest": digest}
    manifests = render(image={"registry": "registry.example.com/ai/"}, gateway={"image": image})
    assert container(manifests, GATEWAY)["image"] == f"registry.example.com/ai/sb/gw:1.2@{digest}"
    assert container(manifests, OPERATOR)["image"].startswith("registry.example.com/ai/switchboard/operator:")


def test_no_registry_leaves_the_repository_alone(render: Render) -> None:
    manifests = render(image={"registry": "", "tag": "x"})
    assert container(manifests, GATEWAY)["image"] == "switchboard/gateway:x"


def test_common_labels_are_on_every_object_and_pod(render: Render) -> None:
    mine = {"team": "ai", "app.kubernetes.io/part-of": "elsewhere"}
    manifests = render(commonLabels=mine, crds={"enabled": False})
    labels = [item["metadata"]["labels"] for item in manifests]
    labels += [item["spec"]["template"]["metadata"]["labels"] for item in manifests if item["kind"] == "Deployment"]
    assert all(found["team"] == "ai" for found in labels)
    assert all(found["app.kubernetes.io/part-of"] == "switchboard" for found in labels)


def test_a_namespace_of_one_s_own_holds_everything(render: Render) -> None:
    manifests = render(namespaceOverride="elsewhere", crds={"enabled": False}, **EVERYTHING_ON)
    manifests = [item for item in manifests if item["metadata"]["name"] != "mine"]
    found = {item["metadata"].get("namespace") for item in manifests}
    # Where the API server says whom it speaks for
    assert found == {"elsewhere", "kube-system", None}
    assert {item["kind"] for item in manifests if "namespace" not in item["metadata"]} == {
        "APIService",
        "ClusterRole",
        "ClusterRoleBinding",
    }
    assert NAMESPACE not in yaml.safe_dump_all(manifests)


@pytest.mark.parametrize("keep", [True, False])
def test_definitions_are_kept_as_asked(render: Render, keep: bool) -> None:
    manifests = render(crds={"keep": keep})
    for name in (names.AGENTS, names.AGENT_NODES):
        crd = one(manifests, "CustomResourceDefinition", f"{name}.{names.GROUP}")
        policy = (crd["metadata"].get("annotations") or {}).get("helm.sh/resource-policy")
        assert policy == ("keep" if keep else None)


def test_more_objects_are_rendered_as_templates(render: Render) -> None:
    manifests = render(
        extraObjects=[
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-map"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-text",
        ]
    )
    assert one(manifests, "ConfigMap", "mesh-map")
    assert one(manifests, "ConfigMap", "mesh-text")


def test_policies_open_every_port_that_a_pod_serves(render: Render) -> None:
    manifests = render(**EVERYTHING_ON)
    for deployment in (OPERATOR, GATEWAY):
        spec = one(manifests, "NetworkPolicy", deployment)["spec"]
        opened = {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
        assert opened == {port["name"] for port in container(manifests, deployment)["ports"]}
        assert spec["policyTypes"] == ["Ingress"]


def test_policies_let_agent_pods_link(render: Render) -> None:
    manifests = render(**EVERYTHING_ON)
    for deployment, port in ((OPERATOR, "registry"), (GATEWAY, "links")):
        rules = one(manifests, "NetworkPolicy", deployment)["spec"]["ingress"]
        (rule,) = [rule for rule in rules if rule["ports"] == [{"port": port}]]
        agents = {"matchExpressions": [{"key": names.NODE_LABEL, "operator": "Exists"}]}
        assert {"namespaceSelector": {}, "podSelector": agents} in rule["from"]


def test_named_clients_and_the_test_alone_may_call(render: Render) -> None:
    client = {"podSelector": {"matchLabels": {"app": "web"}}}
    manifests = render(networkPolicy={"enabled": True, "clients": [client]})
    rules = one(manifests, "NetworkPolicy", GATEWAY)["spec"]["ingress"]
    (rule,) = [rule for rule in rules if {"port": "http"} in rule["ports"]]
    mine, test = rule["from"]
    assert mine == client
    pod = one(manifests, "Pod", "switchboard-test")
    assert test["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_monitors_find_what_they_scrape(render: Render) -> None:
    manifests = render(**EVERYTHING_ON)
    (endpoint,) = one(manifests, "PodMonitor", "switchboard-agents")["spec"]["podMetricsEndpoints"]
    surroundings = Surroundings(gateways="", registries="", image_pull_policy="IfNotPresent")
    pod = build_template("writers", {}, Images(sidecar="sidecar", host="host"), surroundings)["spec"]
    ports = {port["name"]: port["containerPort"] for port in pod["initContainers"][0]["ports"]}
    assert ports[endpoint["port"]] == names.OPS_PORT
    selector = one(manifests, "ServiceMonitor", "switchboard")["spec"]["selector"]["matchLabels"]
    scraped = {
        item["metadata"]["name"]
        for item in manifests
        if item["kind"] == "Service" and selector.items() <= item["metadata"]["labels"].items()
    }
    assert scraped == {f"{OPERATOR}-metrics", f"{GATEWAY}-metrics"}


def test_the_test_s_agent_is_where_agents_are_served(render: Render) -> None:
    manifests = render(watchNamespaces=["team-a", "team-b"])
    assert one(manifests, "Agent", "switchboard-test")["metadata"]["namespace"] == "team-a"
    code = [item["metadata"]["namespace"] for item in manifests if item["kind"] == "ConfigMap"]
    assert code == ["team-a", NAMESPACE]
    (only,) = one(manifests, "Pod", "switchboard-test")["spec"]["containers"]
    url = next(entry["value"] for entry in only["env"] if entry["name"] == "URL")
    assert (
        url
        == f"http://{names.GATEWAY_SERVICE}.{NAMESPACE}.svc/api/v1/namespaces/team-a/agents/switchboard-test/execute"
    )


def test_what_the_test_makes_is_taken_away_however_it_ends(render: Render) -> None:
    hooks = [item for item in render() if "helm.sh/hook" in item["metadata"].get("annotations", {})]
    assert [item["kind"] for item in hooks] == ["ConfigMap", "Pod", "Agent", "AgentNode"]
    assert {item["metadata"]["name"] for item in hooks} == {"switchboard-test"}
    for item in hooks:
        policies = set(item["metadata"]["annotations"]["helm.sh/hook-delete-policy"].split(","))
        assert policies == {"before-hook-creation", "hook-succeeded", "hook-failed"}


def test_without_the_test_there_are_no_hooks(render: Render) -> None:
    assert "helm.sh/hook" not in yaml.safe_dump_all(render(test={"enabled": False}))


# --- what is refused


REFUSED = {
    "a word for a number": ({"operator": {"replicas": "two"}}, "'/operator/replicas'"),
    "a value that is not there": ({"gateway": {"replica": 3}}, "'/gateway': additional properties 'replica'"),
    "a tag where a digest belongs": ({"host": {"image": {"digest": "1.0"}}}, "'/host/image/digest'"),
    "cert-manager without an issuer": ({"tls": {"certManager": {"enabled": True}}}, "issuerRef.name"),
    "roles for no namespace": ({"rbac": {"namespaced": True}}, "rbac.namespaced needs watchNamespaces"),
    "an API of the cluster for one team": (
        {"rbac": {"namespaced": True}, "watchNamespaces": ["a"], "metricsApi": {"custom": "Always"}},
        "metricsApi.custom is an API of the whole cluster",
    ),
}


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_the_field(
    template: Callable[..., tuple[int, str, str]], values: dict[str, Any], message: str
) -> None:
    status, _, stderr = template(**values)
    assert (status, message in stderr) == (1, True), stderr


# --- Pod Security


def violations(spec: Manifest) -> list[str]:
    """What of a pod's spec offends the profile `restricted`."""
    pod = spec.get("securityContext", {})
    found = []
    if pod.get("runAsNonRoot") is not True or pod.get("runAsUser") != 65532:
        found.append("may run as root")
    if pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
        found.append("has no seccomp profile")
    if any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("shares a namespace of the node")
    for entry in spec["containers"] + spec.get("initContainers", []):
        context = entry.get("securityContext", {})
        wanted = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        found += [f"{entry['name']}: {key}" for key, value in wanted.items() if context.get(key) != value]
    allowed = {"name", "emptyDir", "configMap", "projected", "downwardAPI", "secret"}
    found += [f"volume {volume['name']}" for volume in spec.get("volumes", []) if not set(volume) <= allowed]
    return found


def test_every_pod_is_restricted(render: Render) -> None:
    found = {name: violations(spec) for name, spec in pods(render())}
    assert found == {OPERATOR: [], GATEWAY: [], "switchboard-test": []}


def test_every_container_asks_for_what_it_needs(render: Render) -> None:
    for name, spec in pods(render()):
        for entry in spec["containers"]:
            assert set(entry["resources"]["requests"]) == {"cpu", "memory"}, name
            assert entry["resources"]["limits"]["memory"], name


# --- the metrics APIs


def test_both_metrics_apis_when_asked(render: Render) -> None:
    manifests = render(metricsApi={"external": "Always"})
    found = {item["metadata"]["name"]: item["spec"] for item in manifests if item["kind"] == "APIService"}
    assert set(found) == {"v1beta2.custom.metrics.k8s.io", "v1beta1.external.metrics.k8s.io"}
    for name, spec in found.items():
        assert f"{spec['version']}.{spec['group']}" == name
        service = {"name": names.METRICS_SERVICE, "namespace": NAMESPACE, "port": names.METRICS_API_PORT}
        assert spec["service"] == service
        assert "insecureSkipTLSVerify" not in spec
    assert environment(manifests, OPERATOR)[names.ENV_METRICS_APIS] == "custom,external"


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"metricsApi": {"custom": "Never"}}, id="switched off"),
        pytest.param({"rbac": {"namespaced": True}, "watchNamespaces": ["a"]}, id="in some namespaces alone"),
    ],
)
def test_without_metrics_apis_nothing_of_them_is_there(render: Render, values: dict[str, Any]) -> None:
    manifests = render(tls={"enabled": False}, **values)
    assert not [item for item in manifests if item["kind"] == "APIService"]
    assert not [item for item in manifests if "metrics" in item["metadata"]["name"]]
    assert "secrets" not in str(one(manifests, "Role", f"{OPERATOR}-own"))
    assert environment(manifests, OPERATOR)[names.ENV_METRICS_APIS] == ""


def test_every_metric_that_is_served_may_be_read_by_autoscalers(render: Render) -> None:
    rules = granted(render(), "ClusterRole", "switchboard-metrics-reader")
    custom = {
        (documents.CUSTOM_GROUP, entry["name"])
        for entry in documents.resource_list(documents.CUSTOM_GROUP)["resources"]
    }
    external = {
        (documents.EXTERNAL_GROUP, entry["name"])
        for entry in documents.resource_list(documents.EXTERNAL_GROUP)["resources"]
    }
    assert set(rules) == custom | external
    (subject,) = one(render(), "ClusterRoleBinding", "switchboard-metrics-reader")["subjects"]
    assert (subject["namespace"], subject["name"]) == ("kube-system", "horizontal-pod-autoscaler")
