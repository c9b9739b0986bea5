"""An agent that a client's session hosts, outside the cluster, behind every replica of the gateway."""

import uuid

from gateways import execute_at, replicas
from live.kubectl import CommandFailed
from live.waiting import NotYet, wait_until
from processes import start_host, stopping

SCANS = """
from switchboard import agent

@agent("{type}")
async def scan(page: str) -> str:
    return f"scanned {{page}}"
"""


def test_an_agent_of_a_session_is_reached_through_every_replica(kubectl, gateway, release, tmp_path):
    type_ = f"scan-{uuid.uuid4().hex[:8]}"
    pods = replicas(kubectl)
    assert len(pods) > 1, "with one replica there is nothing to show"

    with stopping([]) as programs:
        programs.append(start_host(tmp_path, "scanner", gateway.grpc, SCANS.format(type=type_)))

        def look() -> dict[str, str]:
            try:
                return {pod: execute_at(kubectl, pod, type_, pod) for pod in pods}
            except CommandFailed as error:
                raise NotYet(error) from error

        answers = wait_until(look, "an answer through every replica")

    assert answers == {pod: f"scanned {pod}" for pod in pods}
