"""Parts cannot hear each other, and no connection is closed: what is silent is passed over, and taken back later."""

import time

import pytest
from cluster_faults import api_addresses, cut, node_cut_off, require_local_cluster
from live.release import NAMESPACE as SYSTEM
from live.waiting import NotYet, wait_until
from operators import OPERATOR, holder
from reliability import PODS, await_release, await_whole, both_loads, require_undisturbed

pytestmark = [pytest.mark.reliability, pytest.mark.long]
GATEWAY = "app.kubernetes.io/component=gateway"
CALM_S = 3
CUT_S = 12
KEYS = 40
# A silent stream counts as broken after 2.9 s; twice that covers the moment and a busy machine
SILENCE_MS = 6000
# What a stream that falls silent under a call means, and nothing else
HONEST = {"NODE_UNAVAILABLE delivered=MAYBE", "DEADLINE_EXCEEDED delivered=MAYBE"}


@pytest.fixture
def sides(steady):
    """(addresses of pods by node of a component), of the pool's pods and of others."""
    require_local_cluster()

    def by_node(namespace: str, selector: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for pod in steady.kubectl.items(namespace, "pods", selector):
            if pod["status"].get("podIP") and "deletionTimestamp" not in pod["metadata"]:
                found.setdefault(pod["spec"]["nodeName"], []).append(pod["status"]["podIP"])
        return found

    return by_node


def test_a_gateway_cut_off_from_instances_uses_the_others(steady, sides, rate, report):
    gateways, instances = sides(SYSTEM, GATEWAY), sides(steady.namespace, "switchboard.dev/agentnode=work")
    node, other = choose_ends(gateways, instances)
    with both_loads(steady, rate, keys=KEYS) as pair:
        pair.safe.run_for(CALM_S)
        with cut(gateways[node], instances[other]):
            began_s, _ = pair.safe.run_for(CUT_S)
            assert min(linked(steady)) < PODS, "nothing was cut"
        healed_s = wait_linked(steady)

    tell(report, "partition gateway–sidecars", pair, began_s, back_after_s=healed_s)
    assert pair.safe.figures().failed == {}
    assert set(pair.once.figures().failed) <= HONEST


def test_instances_cut_off_from_an_operator_go_on_serving(steady, sides, rate, report):
    operators, instances = sides(SYSTEM, OPERATOR), sides(steady.namespace, "switchboard.dev/agentnode=work")
    node, other = choose_ends(operators, instances)
    leading = steady.kubectl.find(SYSTEM, "pod", holder(steady.kubectl))
    if leading is not None and leading["spec"]["nodeName"] in (node, other):
        node = leading["spec"]["nodeName"]
        [other] = instances.keys() - {node}
    with both_loads(steady, rate) as pair:
        pair.safe.run_for(CALM_S)
        with cut(operators[node], instances[other]):
            began_s, _ = pair.safe.run_for(CUT_S)
            wait_until(lambda: states(steady) != {"Up"}, "the leader to miss heartbeats")
        begun_s = time.monotonic()
        wait_until(lambda: all_up(steady), "all instances to be Up")
        healed_s = time.monotonic() - begun_s

    tell(report, "partition sidecars–operator", pair, began_s, up_again_s=healed_s)
    require_undisturbed(pair)


def test_an_operator_cut_off_from_the_api_server_stops_nothing(steady, sides, rate, report):
    operators = [address for found in sides(SYSTEM, OPERATOR).values() for address in found]
    service = steady.kubectl.find("default", "service", "kubernetes")
    assert service is not None
    with both_loads(steady, rate) as pair:
        pair.safe.run_for(CALM_S)
        with cut(operators, api_addresses(service["spec"]["clusterIP"])):
            began_s, _ = pair.safe.run_for(CUT_S)
            victim = min(steady.pod_names("work"))
            steady.kube("delete", "pod", victim, "--wait=false")
            steady.await_pods("work", PODS)
            assert victim in {told["name"] for told in steady.instances("work")}, "an operator was there"
            pair.safe.run_for(CALM_S)
        begun_s = time.monotonic()
        wait_until(lambda: all_up(steady), "all instances to be Up")
        healed_s = time.monotonic() - begun_s

    await_release(steady)
    tell(report, "partition operator–API server, a pod replaced meanwhile", pair, began_s, status_true_after_s=healed_s)
    require_undisturbed(pair)


def test_a_node_that_is_lost_without_a_word_costs_no_idempotent_call(steady, rate, report):
    require_local_cluster()
    with both_loads(steady, rate) as pair:
        pair.safe.run_for(CALM_S)
        with node_cut_off():
            began_s, ended_s = pair.safe.run_for(CUT_S)
        begun_s = time.monotonic()
        await_release(steady)
        await_whole(steady)
        healed_s = time.monotonic() - begun_s

    tell(report, "node unplugged for 12 s", pair, began_s, whole_after_s=healed_s)
    assert pair.safe.figures().failed == {}
    assert set(pair.once.figures().failed) <= HONEST
    assert pair.safe.figures(began_s + 7, ended_s).p50_ms < SILENCE_MS, "the other node carries on"


def choose_ends(ones: dict[str, list[str]], others: dict[str, list[str]]) -> tuple[str, str]:
    """Two nodes, the first with some of the ones, the second with some of the others."""
    found = [(node, other) for node in ones for other in others if node != other]
    if not found:
        pytest.skip("all of it runs on one node")
    return found[0]


def states(journey) -> set[str]:
    return {instance["state"] for instance in journey.instances("work")}


def all_up(journey) -> bool:
    told = {instance["name"]: instance["state"] for instance in journey.instances("work")}
    if set(told.values()) != {"Up"} or told.keys() != journey.pod_names("work"):
        raise NotYet(told)
    return True


def linked(journey) -> list[int]:
    """How many instances the gateways see: ten new connections meet both of them."""
    return [len(journey.rest.get("agents/work/instances").body["instances"]) for _ in range(10)]


def wait_linked(journey) -> float:
    """Seconds until both gateways see all instances again."""
    begun_s = time.monotonic()

    def look() -> bool:
        counts = linked(journey)
        if set(counts) != {PODS}:
            raise NotYet(counts)
        return True

    wait_until(look, "all instances at both gateways")
    return time.monotonic() - begun_s


def tell(report, scenario: str, pair, began_s: float, **more: float) -> None:
    """Note the figures; detection: how long after the cut calls were still sent that fell into it."""
    hit = [o.sent_s - began_s for o in pair.safe.outcomes() if o.sent_s >= began_s - 0.5 and o.latency_s > 1]
    report.add_pair(scenario, pair, calls_over_1s=len(hit), last_such_sent_s=max(hit, default=0.0), **more)
