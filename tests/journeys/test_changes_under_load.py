"""The pool is changed on purpose while messages flow: nobody sees it, whether their calls may be repeated or not."""

import contextlib
from collections.abc import Iterator

import pytest
from live.kubectl import AGENT_NODES
from live.waiting import NotYet, wait_until
from reliability import PODS, await_whole, both_loads, spread_again

pytestmark = pytest.mark.reliability
# Before and after, so that there is something to compare with
CALM_S = 3
NODE = "node-b"


def test_a_rolling_update_fails_no_call(steady, rate, report):
    before = steady.pod_names("work")
    with both_loads(steady, rate) as pair:
        pair.safe.run_for(CALM_S)
        patch = f'{{"spec": {{"template": {{"metadata": {{"annotations": {{"journey": "{min(before)}"}}}}}}}}}}'
        steady.kube("patch", AGENT_NODES, "work", "--type=merge", "-p", patch)
        await_all_gone(steady, before)
        await_whole(steady)
        pair.safe.run_for(CALM_S)

    report.add_pair("rolling update of 4 pods", pair)
    require_none_failed(pair)
    assert steady.pod_names("work") <= set(pair.safe.figures().by_instance), "the new instances have answered"


def test_a_scale_down_fails_no_call(steady, rate, report):
    before = steady.pod_names("work")
    with scaled_back(steady), both_loads(steady, rate) as pair:
        pair.safe.run_for(CALM_S)
        steady.kube("scale", f"{AGENT_NODES}/work", "--replicas=2")
        left = steady.await_pods("work", 2)
        await_all_gone(steady, before - left)
        pair.safe.run_for(CALM_S)

    report.add_pair("scale-down from 4 pods to 2", pair)
    require_none_failed(pair)


def test_a_node_is_drained_without_a_failed_call(steady, rate, report):
    on_node = {pod["metadata"]["name"] for pod in steady.pods("work") if pod["spec"]["nodeName"] == NODE}
    if not on_node:
        pytest.skip(f"no instance runs on a node {NODE}")
    with cordoned(steady), both_loads(steady, rate) as pair:
        pair.safe.run_for(CALM_S)
        words = ("drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
        steady.kubectl(*words, timeout_s=150)
        await_all_gone(steady, on_node)
        await_whole(steady)
        pair.safe.run_for(CALM_S)

    report.add_pair("drain of one node of two", pair, evicted=len(on_node))
    require_none_failed(pair)


@contextlib.contextmanager
def cordoned(journey) -> Iterator[None]:
    """Whatever happens, the node takes pods again, and has some."""
    try:
        yield
    finally:
        journey.kubectl("uncordon", NODE)
        spread_again(journey)


@contextlib.contextmanager
def scaled_back(journey) -> Iterator[None]:
    """Whatever happens, the pool gets its size again."""
    try:
        yield
    finally:
        journey.kube("scale", f"{AGENT_NODES}/work", f"--replicas={PODS}")


def await_all_gone(journey, names: set[str]) -> None:
    """Wait until none of these pods is left, not even on its way out."""

    def look() -> bool:
        found = journey.kubectl.items(journey.namespace, "pods", "switchboard.dev/agentnode=work")
        left = {pod["metadata"]["name"] for pod in found} & names
        if left:
            raise NotYet(f"{sorted(left)} are there")
        return True

    wait_until(look, "the old pods to be gone", 180)


def require_none_failed(pair) -> None:
    failed = pair.safe.figures().failed, pair.once.figures().failed
    assert failed == ({}, {}), (pair.safe.words, pair.once.words)
