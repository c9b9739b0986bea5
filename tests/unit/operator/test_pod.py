"""The pod template: the user's, hardened, with the sidecar, the drain and what both containers share."""

from typing import Any

import pytest
from operator_objects import AROUND, IMAGES

from switchboard_operator.pod import build_template

Json = dict[str, Any]


def build(**spec: Any) -> Json:
    return build_template("writers", spec, IMAGES, AROUND)


def host_of(template: Json) -> Json:
    found: Json = next(c for c in template["spec"]["containers"] if c["name"] == "agent")
    return found


def sidecar_of(template: Json) -> Json:
    found: Json = template["spec"]["initContainers"][0]
    return found


def with_host(**fields: Any) -> Json:
    return {"spec": {"containers": [{"name": "agent", **fields}]}}


def test_the_sidecar_is_native_starts_first_and_waits_for_nobody() -> None:
    sidecar = sidecar_of(build(template={"spec": {"initContainers": [{"name": "prepare", "image": "x"}]}}))
    assert (sidecar["name"], sidecar["restartPolicy"]) == ("switchboard-sidecar", "Always")
    assert sidecar["startupProbe"]["httpGet"]["path"] == "/livez"
    assert sidecar["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert "livenessProbe" not in sidecar


def test_both_drain_before_they_stop_and_the_pod_waits_for_it() -> None:
    template = build(drainSeconds=40)
    assert sidecar_of(template)["lifecycle"]["preStop"]["exec"]["command"][-1] == "drain"
    drain = {"path": "/drain", "port": 7490, "scheme": "HTTP"}
    assert host_of(template)["lifecycle"]["preStop"]["httpGet"] == drain
    assert template["spec"]["terminationGracePeriodSeconds"] == 55


def test_only_the_sidecar_has_a_token_and_it_is_for_us_alone() -> None:
    template = build()
    assert template["spec"]["automountServiceAccountToken"] is False
    token = next(v for v in template["spec"]["volumes"] if v["name"] == "switchboard-token")
    assert token["projected"]["sources"][0]["serviceAccountToken"]["audience"] == "switchboard"
    assert "switchboard-token" in {mount["name"] for mount in sidecar_of(template)["volumeMounts"]}
    assert "switchboard-token" not in {mount["name"] for mount in host_of(template)["volumeMounts"]}


@pytest.mark.parametrize("read", [host_of, sidecar_of], ids=["host", "sidecar"])
def test_pod_security_restricted(read: Any) -> None:
    template = build()
    assert template["spec"]["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert read(template)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_containers_of_the_user_are_hardened_where_they_say_nothing() -> None:
    theirs = {"name": "helper", "image": "x", "securityContext": {"runAsUser": 5}}
    template = build(template={"spec": {"containers": [theirs]}})
    helper = next(c for c in template["spec"]["containers"] if c["name"] == "helper")
    assert helper["securityContext"]["allowPrivilegeEscalation"] is False
    assert helper["securityContext"]["runAsUser"] == 5
    assert host_of(template)["image"] == "host:1"


@pytest.mark.parametrize(
    ("resources", "requests"),
    [
        pytest.param({}, {"cpu": "250m", "memory": "256Mi"}, id="defaults"),
        pytest.param({"requests": {"cpu": "1"}}, {"cpu": "1", "memory": "256Mi"}, id="one is given"),
        pytest.param({"limits": {"cpu": "100m"}}, {"memory": "256Mi"}, id="a limit is a request to the API server"),
    ],
)
def test_the_host_has_requests_for_the_autoscaler_to_divide_by(resources: Json, requests: Json) -> None:
    template = build(template=with_host(resources=resources))
    assert host_of(template)["resources"]["requests"] == requests


@pytest.mark.parametrize(
    ("spread", "keys"),
    [
        pytest.param("Zone", ["topology.kubernetes.io/zone", "kubernetes.io/hostname"], id="over zones and nodes"),
        pytest.param("Node", ["kubernetes.io/hostname"], id="over nodes"),
        pytest.param("None", [], id="not at all"),
    ],
)
def test_spread(spread: str, keys: list[str]) -> None:
    constraints = build(spread=spread)["spec"].get("topologySpreadConstraints", [])
    assert [constraint["topologyKey"] for constraint in constraints] == keys


def test_code_from_a_configmap_is_mounted_at_the_hosts_path() -> None:
    template = build(source={"configMap": "code"})
    assert {"name": "switchboard-code", "mountPath": "/agents", "readOnly": True} in host_of(template)["volumeMounts"]
    assert {"name": "switchboard-code", "configMap": {"name": "code"}} in template["spec"]["volumes"]
    assert "switchboard-code" not in {mount["name"] for mount in host_of(build())["volumeMounts"]}


def test_what_the_user_says_is_passed_on() -> None:
    given = {
        "metadata": {"labels": {"team": "a", "switchboard.dev/agentnode": "stolen"}, "annotations": {"a": "b"}},
        "spec": {
            "containers": [{"name": "agent", "image": "mine", "env": [{"name": "SWITCHBOARD_POD_IP", "value": "x"}]}],
            "nodeSelector": {"gpu": "yes"},
            "serviceAccountName": "theirs",
        },
    }
    template = build(template=given)
    assert template["metadata"]["labels"]["team"] == "a"
    assert template["metadata"]["labels"]["switchboard.dev/agentnode"] == "writers"
    assert template["spec"]["nodeSelector"] == {"gpu": "yes"}
    assert template["spec"]["serviceAccountName"] == "theirs"
    names = [variable["name"] for variable in host_of(template)["env"]]
    assert len(names) == len(set(names))
    assert given["spec"]["containers"][0] == {  # type: ignore[index]
        "name": "agent",
        "image": "mine",
        "env": [{"name": "SWITCHBOARD_POD_IP", "value": "x"}],
    }, "the argument is not written to"
