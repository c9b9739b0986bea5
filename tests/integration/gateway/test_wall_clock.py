"""The wall clock jumps while messages flow: whatever waits goes by monotonic clocks, so nobody notices."""

import json
import urllib.request
from pathlib import Path

import pytest
from hostile import Bystander
from ports import free_port
from processes import Gateway, start_gateway, start_pod, stopping, wait_for
from wall_clock import make_wall_clock, wrong_by_s

from switchboard_wire import names

HOUR_S = 3600
# A machine that stands still for 2.9 s costs the link too: a wrong clock costs it every time
ROUNDS = 3
# They take longer than a link may be silent (2.9 s), so that a wrong clock has its chance
CALLS = 400
ECHO = """
from switchboard import agent

@agent
async def echo(text: str) -> str:
    return text
"""


@pytest.mark.parametrize(
    "seconds", [pytest.param(HOUR_S, id="an hour forward"), pytest.param(-HOUR_S, id="an hour back")]
)
def test_messages_flow_on_the_same_links_when_the_clocks_of_gateway_and_pod_jump(seconds: int, tmp_path: Path) -> None:
    found = []
    for number in range(ROUNDS):
        folder = tmp_path / f"round-{number}"
        folder.mkdir()
        found.append(links_after(seconds, folder))
        if found[-1] == (1, 0):
            return
    pytest.fail(f"its link was made anew, each time: joined and left {found}")


def links_after(seconds: int, folder: Path) -> tuple[int, int]:
    """How often the pod's link came and went while the clocks jumped and a polite client was served."""
    clock, ops_port = make_wall_clock(folder), free_port()
    with stopping([]) as programs:
        gateway = start_gateway(folder, "gateway", **clock.environment)
        programs.append(gateway)
        deceived = clock.environment | {names.ENV_OPS_PORT: str(ops_port)}
        pod = start_pod(folder, "pod-1", gateway.links, ECHO, ("echo",), **deceived)
        programs += [pod.sidecar, pod.host]
        wait_for(lambda: listed(gateway) == {"echo": 1}, pod.host)
        with Bystander(gateway) as client:
            clock.jump(seconds)
            for url in (f"{gateway.url}/api/v1/agents", f"http://127.0.0.1:{ops_port}/metrics"):
                wait_for(lambda url=url: abs(wrong_by_s(url) - seconds) < 60)  # type: ignore[misc]
            answered = client.answered
            wait_for(lambda: client.answered >= answered + CALLS or client.faults)
        assert client.faults == []
        log = gateway.log.read_text()
        return log.count("instance joined"), log.count("instance left")


def listed(gateway: Gateway) -> dict[str, int]:
    """How many instances of each agent can answer."""
    with urllib.request.urlopen(f"{gateway.url}/api/v1/agents", timeout=60) as response:
        return {agent["name"]: agent["instancesReady"] for agent in json.load(response)["agents"]}
