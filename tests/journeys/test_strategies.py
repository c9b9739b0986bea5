"""Every balancing strategy, declared and named by the call, as the answers of real pods show it.

A gateway prefers instances of its own zone, so shares are compared among the instances of one zone.
"""

from collections import Counter

import pytest
from live.steady import Plan
from live.waiting import NotYet, wait_until
from pools import agent, agent_node, code

pytestmark = pytest.mark.reliability
CALLS = 600
PER_S = 400
KEYS = 40
# Too few in a zone say nothing: sessions choose their gateways, and with them zones, at random
ENOUGH = 100
STRATEGIES = (
    "RoundRobin",
    "WeightedRoundRobin",
    "LeastConnections",
    "ResponseTime",
    "ConsistentHash",
    "Random",
    "WeightedRandom",
)
# Without a key ConsistentHash takes turns
IN_TURN = ("RoundRobin", "ConsistentHash")
WEIGHTED = ("WeightedRoundRobin", "WeightedRandom")
WORK = """
import asyncio
from switchboard import agent

@agent
async def work(text: str) -> str:
    await asyncio.sleep(0.005)
    return text
"""


@pytest.fixture(scope="module")
def pools(steady_journey):
    """Two pools of two, one with three times the weight of the other; an Agent for each strategy on both."""
    namespace, label = steady_journey.namespace, {"matchLabels": {"pool": "weighed"}}
    nodes = [
        agent_node(namespace, name, replicas=2, weight=weight) for name, weight in (("light", 100), ("heavy", 300))
    ]
    for node in nodes:
        node["spec"]["source"] = {"configMap": "where"}
        node["metadata"]["labels"] = {"pool": "weighed"}
    agents = [declared(namespace, strategy) for strategy in STRATEGIES]
    for made in agents:
        del made["spec"]["nodeRef"]
        made["spec"]["nodeSelector"] = label
    steady_journey.apply(code(namespace, "where", app=WORK), *nodes, *agents)
    names = tuple(made["metadata"]["name"] for made in agents)
    steady_journey.await_ready(nodes=("light", "heavy"), agents=names)
    wait_until(lambda: are_warm(steady_journey), "instances that are not new any more")
    yield steady_journey
    steady_journey.kube("delete", "agents.switchboard.dev", *names)
    steady_journey.kube("delete", "agentnodes.switchboard.dev", "light", "heavy")


@pytest.mark.parametrize("named", [False, True], ids=["declared", "named by the call"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_calls_are_shared_out_as_the_strategy_promises(pools, rate, strategy, named):
    target, other = agent_name(strategy), agent_name("Random" if strategy != "Random" else "RoundRobin")
    per_s = max(rate, PER_S)
    plan = Plan(other, per_s, strategy=strategy) if named else Plan(target, per_s)
    with pools.steady(plan) as load:
        load.wait_for(CALLS)

    figures = load.figures()
    assert figures.failed == {}
    zones = [counts for counts in by_zone(pools, figures.by_instance) if sum(counts.values()) >= ENOUGH]
    assert zones
    for counts in zones:
        require_promised(strategy, counts)


def test_keys_stay_and_both_gateways_agree_on_their_instances(pools):
    agent_ = agent_name("ConsistentHash")

    def homes() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for key in (f"key-{number}" for number in range(KEYS)):
            answer = pools.client.request(f"{agent_}/{key}", "x", namespace=pools.namespace)
            over_rest = [pools.rest.execute(f"agents/{agent_}", "x", key=key) for _ in range(3)]
            found[key] = {answer.instance, *(reply.body["instance"] for reply in over_rest)}
        return found

    first, second = homes(), homes()

    assert all(len(instances) == 1 for instances in first.values()), "connections of REST meet both gateways"
    assert first == second
    assert len(set.union(*first.values())) == 4, f"{KEYS} keys are spread over all instances"


def require_promised(strategy: str, counts: Counter[str]) -> None:
    """Bounds of six standard deviations and more: what is outside of them is no chance."""
    total = sum(counts.values())
    shares = {name: count / total for name, count in counts.items()}
    heavy = sum(share for name, share in shares.items() if name.startswith("heavy"))
    told = f"{strategy}: {shares}"
    if strategy in WEIGHTED:
        assert 0.55 < heavy < 0.92, told  # three quarters, times what the load of each leaves of its weight
    elif strategy in IN_TURN:
        assert all(abs(share - 0.5) < 0.08 for share in shares.values()), told
    elif strategy == "ResponseTime":
        assert all(share > 0.01 for share in shares.values()), told  # the quicker one may be the quicker for long
    else:
        assert all(abs(share - 0.5) < 0.25 for share in shares.values()), told


def by_zone(journey, counts: Counter[str]) -> list[Counter[str]]:
    """Answers of each zone's instances; an instance without any counts as 0."""
    zones: dict[str, Counter[str]] = {}
    for node in ("light", "heavy"):
        for instance in journey.instances(node):
            name = instance["name"]
            zones.setdefault(instance.get("zone", ""), Counter())[name] = counts[name]
    return list(zones.values())


def are_warm(journey) -> bool:
    """Whether slow start is over on all instances, at both gateways. Raises NotYet.

    It begins with the link to each of them. A weight is whole but for the part of it that a new instance gets, which
    hardly ever leaves a whole one, let alone of four; ten new connections meet both gateways.
    """
    for _ in range(10):
        found = journey.rest.get(f"agents/{agent_name('Random')}/instances").body["instances"]
        weights = {instance["name"]: instance["weight"] for instance in found}
        if len(weights) < 4 or not all(weight > 0 and weight % 1 == 0 for weight in weights.values()):
            raise NotYet(weights)
    return True


def declared(namespace: str, strategy: str):
    return agent(namespace, agent_name(strategy), "", "app:work", loadBalancing={"strategy": strategy})


def agent_name(strategy: str) -> str:
    return f"by-{strategy.lower()}"
