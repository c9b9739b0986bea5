"""The operator goes, in every way; messages do not notice, and it converges when it is back."""

import os
import signal

import pytest
from journey import READY_S, require_no_failure
from live.kubectl import AGENT_NODES, AGENTS
from live.release import NAMESPACE as SYSTEM
from live.traffic import Load
from live.waiting import wait_until
from operators import OPERATOR, no_operator
from pod_processes import find_processes
from pools import agent, echo_pool


def test_with_no_operator_messages_flow_and_a_deleted_pods_replacement_answers(journey):
    journey.apply(*echo_pool(journey.namespace, replicas=1))
    journey.await_ready(nodes=("echo",), agents=("echo",))
    [before] = journey.await_pods("echo", 1)

    load = Load("echo", "hello", senders=4, per_second=20)
    with no_operator(journey.kubectl), journey.traffic(load, timeout_s=READY_S) as tally:
        journey.kube("delete", "pod", before, "--wait=false")
        wait_until(lambda: len(tally.by_instance) == 2, "the replacement's answers", 180)
        tally.wait_for(20)

    require_no_failure(tally)
    journey.await_condition(AGENT_NODES, "echo")
    names = {instance["name"] for instance in journey.instances("echo")}
    wait_until(lambda: {i["name"] for i in journey.instances("echo")} == journey.pod_names("echo"), f"not {names}")


def test_an_operator_that_is_deleted_leaves_its_work_to_the_other(journey):
    journey.apply(*echo_pool(journey.namespace))

    journey.kubectl("delete", "pods", "-n", SYSTEM, "-l", OPERATOR, "--wait=false")
    journey.apply(*echo_pool(journey.namespace, "later"))

    journey.await_ready(nodes=("echo", "later"), agents=("echo", "later"))
    assert journey.ask("later", "made meanwhile") == "made meanwhile"


@pytest.mark.skipif(os.geteuid() != 0, reason="SIGKILL for processes in pods needs root on the nodes' machine")
def test_an_operator_killed_in_the_middle_of_its_work_converges(journey):
    names = [f"pool-{number}" for number in range(4)]
    pids = find_processes(journey.kubectl.items(SYSTEM, "pods", OPERATOR), "switchboard_operator")
    if not pids:
        pytest.skip("the operator's processes are not on this machine")

    journey.apply(*(made for name in names for made in echo_pool(journey.namespace, name)))
    wait_until(lambda: journey.kubectl.items(journey.namespace, "deployments"), "the first of its children")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    journey.apply(agent(journey.namespace, "more", names[0]))

    journey.await_ready(nodes=tuple(names), agents=(*names, "more"))
    for name in (*names, "more"):
        assert journey.ask(name, name) == name
    owned = journey.kubectl.items(journey.namespace, "deployments")
    assert [found["metadata"]["name"] for found in owned] == names
    # The sidecars' streams are with the new processes, so nothing is left to be told
    assert journey.kubectl.items(journey.namespace, AGENTS)
