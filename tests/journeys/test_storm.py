"""Everything goes, one after the other and all at once, under load; no idempotent call is lost."""

import random

import pytest
from journey import require_no_failure
from live.release import NAMESPACE as SYSTEM
from live.traffic import Load
from pools import agent, agent_node, code
from reliability import await_release

SLOW = """
import asyncio
from switchboard import agent

@agent
async def work(text: str) -> str:
    await asyncio.sleep(0.05)
    return text
"""
ROUNDS = 12


@pytest.mark.long
def test_a_storm_of_losses_costs_no_idempotent_call(journey):
    chance = random.Random(7)
    journey.apply(
        code(journey.namespace, "work", app=SLOW),
        agent_node(journey.namespace, "work", replicas=3, concurrency=4),
        agent(journey.namespace, "work", "work", "app:work", retries={"attempts": 5, "idempotent": True}),
    )
    journey.await_ready(nodes=("work",), agents=("work",))
    journey.await_pods("work", 3)
    blows = [kill_an_instance, replace_an_instance, replace_a_gateway, kill_an_operator]

    with journey.traffic(Load("work", "hello", senders=12, per_second=60)) as tally:
        for number in range(ROUNDS):
            blows[number % len(blows)](journey, chance)
            if number >= 2 * len(blows):  # the last rounds come two by two
                blows[(number + 1) % len(blows)](journey, chance)
            tally.wait_for(100)
            journey.await_pods("work", 3)
            await_release(journey)

    require_no_failure(tally)


def kill_an_instance(journey, chance) -> None:
    victim = chance.choice(sorted(journey.pod_names("work")))
    journey.kube("delete", "pod", victim, "--grace-period=0", "--force", "--wait=false")


def replace_an_instance(journey, chance) -> None:
    journey.kube("delete", "pod", chance.choice(sorted(journey.pod_names("work"))), "--wait=false")


def replace_a_gateway(journey, chance) -> None:
    journey.kubectl("delete", "pod", "-n", SYSTEM, chance.choice(names_of(journey, "gateway")), "--wait=false")


def kill_an_operator(journey, chance) -> None:
    victim = chance.choice(names_of(journey, "operator"))
    journey.kubectl("delete", "pod", "-n", SYSTEM, victim, "--grace-period=0", "--force", "--wait=false")


def names_of(journey, component: str) -> list[str]:
    pods = journey.kubectl.items(SYSTEM, "pods", f"app.kubernetes.io/component={component}")
    return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
