"""The operator's replicas on a cluster: who leads, what each has written, and none at all."""

import contextlib
import re
import time
from collections.abc import Iterator

from live.kubectl import Kubectl
from live.release import NAMESPACE as SYSTEM
from live.waiting import NotYet, wait_until

OPERATOR = "app.kubernetes.io/component=operator"
# Counts in the status of an Agent wait 5 s for the next (pacing.py)
LONGEST_WAIT_S = 6.0
WRITES = re.compile(r"^switchboard_operator_api_writes_total\{[^}]*\} (\S+)", re.MULTILINE)


def holder(kubectl: Kubectl) -> str:
    """Which pod holds the Lease."""
    return kubectl("get", "lease/switchboard-operator", "-n", SYSTEM, "-o", "jsonpath={.spec.holderIdentity}")


def writes_of(kubectl: Kubectl, pod: str) -> float:
    """How often a replica has written to the API server since it started."""
    text = kubectl("get", f"--raw=/api/v1/namespaces/{SYSTEM}/pods/{pod}:7490/proxy/metrics")
    return sum(float(count) for count in WRITES.findall(text))


def writes_at_rest(kubectl: Kubectl, pod: str) -> float:
    """How often a replica has written, once it has written nothing for longer than it puts any write off."""
    seen = [(time.monotonic(), writes_of(kubectl, pod))]

    def look() -> bool:
        count = writes_of(kubectl, pod)
        if count != seen[-1][1]:
            seen.append((time.monotonic(), count))
        return time.monotonic() - seen[-1][0] > LONGEST_WAIT_S

    wait_until(look, "the operator to have nothing left to write")
    return seen[-1][1]


@contextlib.contextmanager
def no_operator(kubectl: Kubectl) -> Iterator[None]:
    """Scale the operator to nothing while the context is open."""
    deployment = "deployment/switchboard-operator"
    replicas = kubectl("get", deployment, "-n", SYSTEM, "-o", "jsonpath={.spec.replicas}")
    try:
        kubectl("scale", deployment, "-n", SYSTEM, "--replicas=0")

        def look() -> bool:
            left = kubectl.items(SYSTEM, "pods", OPERATOR)
            if left:
                raise NotYet(f"{len(left)} pods are there")
            return True

        wait_until(look, "the operator to be gone")
        yield
    finally:
        kubectl("scale", deployment, "-n", SYSTEM, f"--replicas={replicas}")
        kubectl("rollout", "status", deployment, "-n", SYSTEM, "--timeout=120s", timeout_s=150)
