"""Whatever goes first, nothing is left over and nothing hangs in Terminating. The last of all journeys by its name: it
takes the release away, and the gateway that comes back has another address.
"""

import time
import uuid

import pytest
from live.kubectl import AGENT_NODES, AGENTS
from live.release import NAMESPACE as SYSTEM
from live.release import RELEASE, helm, install
from live.waiting import NotYet, wait_until
from operators import no_operator
from pools import echo_pool

CHILDREN = "deployments,replicasets,pods,services,hpa,pdb,endpointslices"
CRDS = ("agents.switchboard.dev", "agentnodes.switchboard.dev")
GONE_S = 120


def test_nothing_is_stuck_when_the_operator_goes_before_the_resources(journey):
    journey.apply(*echo_pool(journey.namespace, autoscaling={"minReplicas": 1, "maxReplicas": 2}))
    journey.await_ready(nodes=("echo",), agents=("echo",))

    with no_operator(journey.kubectl):
        journey.kube("delete", f"{AGENTS},{AGENT_NODES}", "--all", "--timeout=60s")
        journey.await_gone(CHILDREN)


def test_a_namespace_goes_with_all_that_is_in_it(kubectl, release):
    name = f"journey-{uuid.uuid4().hex[:8]}"
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, *echo_pool(name, replicas=2))
    kubectl("wait", "-n", name, "--for=condition=Ready", f"{AGENT_NODES}/echo", "--timeout=120s", timeout_s=150)

    began = time.monotonic()
    kubectl("delete", "namespace", name, "--timeout=120s", timeout_s=150)

    assert time.monotonic() - began < GONE_S


@pytest.mark.long
def test_the_definitions_go_last_and_take_what_is_left(kubectl, release):
    name = f"journey-{uuid.uuid4().hex[:8]}"
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, *echo_pool(name))
    kubectl("wait", "-n", name, "--for=condition=Ready", f"{AGENT_NODES}/echo", "--timeout=120s", timeout_s=150)
    try:
        helm(kubectl, "uninstall", RELEASE, "--wait")
        assert [found["metadata"]["name"] for found in kubectl.items(name, AGENTS)] == ["echo"], "the definitions stay"
        assert len(kubectl.items(name, "pods")) == 1, "the pods stay"

        kubectl("delete", "crd", *CRDS, "--timeout=120s", timeout_s=150)

        def look() -> bool:
            left = [found["metadata"]["name"] for found in kubectl.items(name, CHILDREN)]
            if left:
                raise NotYet(left)
            return True

        wait_until(look, "the children to be collected", GONE_S)
        kubectl("delete", "namespace", name, "--timeout=120s", timeout_s=150)
        kubectl("delete", "namespace", SYSTEM, "--timeout=120s", timeout_s=150)
    finally:
        install(kubectl)
