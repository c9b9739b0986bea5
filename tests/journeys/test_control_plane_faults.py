"""The operator, its leader and the API server are away or stand still while messages flow and people go on working."""

import os
import signal
import time

import pytest
from cluster_faults import api_server_paused, require_local_cluster
from live.kubectl import AGENT_NODES, AGENTS
from live.release import NAMESPACE as SYSTEM
from live.waiting import NotYet, wait_until
from operators import OPERATOR, holder, no_operator, writes_at_rest, writes_of
from pod_processes import find_processes
from pools import echo_pool
from reliability import await_release, both_loads, require_undisturbed

# Under 20 s are promised, and the figures tell; a machine on which much else runs may take longer
HAND_OVER_S = 60
CALM_S = 2


@pytest.mark.reliability
@pytest.mark.skipif(os.geteuid() != 0, reason="SIGSTOP for processes in pods needs root on the nodes' machine")
def test_a_leader_that_stands_still_is_replaced_and_writes_nothing_when_it_goes_on(steady, rate, report):
    leader = holder(steady.kubectl)
    pids = processes_of(steady, leader)
    with both_loads(steady, rate) as pair:
        pair.safe.run_for(CALM_S)
        before = writes_at_rest(steady.kubectl, leader)
        begun_s = time.monotonic()
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            steady.apply(*echo_pool(steady.namespace, "meanwhile"))
            wait_until(lambda: holder(steady.kubectl) not in ("", leader), "another leader")
            taken_s = time.monotonic() - begun_s
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        steady.await_ready(nodes=("meanwhile",), agents=("meanwhile",))
        steady.kube("delete", f"{AGENTS},{AGENT_NODES}", "meanwhile")
        wait_until(lambda: steady.kubectl.find(steady.namespace, "deployment", "meanwhile") is None, "its end")
    after = writes_of(steady.kubectl, leader)

    report.add_pair("leading operator stopped (SIGSTOP)", pair, new_leader_s=taken_s, writes_of_the_old=after - before)
    assert taken_s < HAND_OVER_S
    assert after == before, "the old leader wrote after another had taken over"
    require_undisturbed(pair)


@pytest.mark.reliability
@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="SIGKILL for processes in pods needs root on the nodes' machine")
def test_a_leader_that_is_killed_is_replaced(steady, rate, report):
    pids = processes_of(steady, holder(steady.kubectl))
    with both_loads(steady, rate) as pair:
        pair.safe.run_for(CALM_S)
        begun_s = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        steady.apply(*echo_pool(steady.namespace, "meanwhile"))
        wait_until(lambda: steady.kubectl.find(steady.namespace, "deployment", "meanwhile"), "work of a leader")
        works_s = time.monotonic() - begun_s
        steady.await_ready(nodes=("meanwhile",), agents=("meanwhile",))
        steady.kube("delete", f"{AGENTS},{AGENT_NODES}", "meanwhile")

    await_release(steady)
    report.add_pair("leading operator killed (SIGKILL)", pair, next_write_s=works_s)
    assert works_s < HAND_OVER_S
    require_undisturbed(pair)


@pytest.mark.long
@pytest.mark.parametrize("away_s", [pytest.param(5, marks=pytest.mark.reliability), 180])
def test_what_is_made_changed_and_deleted_without_an_operator_is_made_up_for(steady, rate, report, away_s):
    steady.apply(*echo_pool(steady.namespace, "edited"), *echo_pool(steady.namespace, "deleted"))
    steady.await_ready(nodes=("edited", "deleted"), agents=("edited", "deleted"))
    with both_loads(steady, rate) as pair:
        with no_operator(steady.kubectl):
            steady.apply(*echo_pool(steady.namespace, "created"))
            steady.kube("scale", f"{AGENT_NODES}/edited", "--replicas=2")
            steady.kube("delete", f"{AGENTS},{AGENT_NODES}", "deleted", "--wait=false")
            pair.safe.run_for(away_s)
        back_s = time.monotonic()
        steady.await_ready(nodes=("created", "edited"), agents=("created", "edited"))
        steady.await_pods("edited", 2)
        wait_until(lambda: steady.kubectl.find(steady.namespace, "deployment", "deleted") is None, "its end")
        converged_s = time.monotonic() - back_s
    steady.kube("delete", f"{AGENTS},{AGENT_NODES}", "created", "edited")

    report.add_pair(f"no operator for {away_s} s, and back", pair, converged_s=converged_s)
    require_undisturbed(pair)


@pytest.mark.reliability
@pytest.mark.long
def test_messages_flow_while_the_api_server_answers_nobody(steady, rate, report):
    require_local_cluster()
    with both_loads(steady, rate) as pair:
        pair.safe.run_for(CALM_S)
        with api_server_paused():
            pair.safe.run_for(30)
        back_s = time.monotonic()
        wait_until(lambda: api_answers(steady), "the API server")
        steady.apply(*echo_pool(steady.namespace, "after"))
        steady.await_ready(nodes=("after",), agents=("after",))
        converged_s = time.monotonic() - back_s
    steady.kube("delete", f"{AGENTS},{AGENT_NODES}", "after")

    await_release(steady)
    report.add_pair("API server paused for 30 s (SIGSTOP)", pair, new_agent_ready_after_s=converged_s)
    require_undisturbed(pair)


def processes_of(journey, operator: str) -> list[int]:
    """Of one replica of the operator. Skips where they are elsewhere."""
    pods = [pod for pod in journey.kubectl.items(SYSTEM, "pods", OPERATOR) if pod["metadata"]["name"] == operator]
    pids = find_processes(pods, "switchboard_operator")
    if not pids:
        pytest.skip("the operator's processes are not on this machine")
    return pids


def api_answers(journey) -> bool:
    done = journey.kubectl.try_run("get", "--raw=/readyz", "--request-timeout=5s")
    if done.returncode != 0:
        raise NotYet(done.stderr)
    return True
