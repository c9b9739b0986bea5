"""Where the agents of an AgentNode are, summed up once, and which of them a change of an instance concerns."""

from dataclasses import replace

import pytest
from operator_objects import make_meta, make_node, make_pod

from switchboard_operator.hosting import Hosting, Hostings, hosting_of
from switchboard_operator.instances import Instance
from switchboard_operator.registry import HostedState


def make_instance(name: str, *agents: tuple[str, str], state: str = "Up", is_cut: bool = False) -> Instance:
    hosted = tuple(HostedState(agent, told, "no module" if told == "Failed" else "") for agent, told in agents)
    return Instance(make_pod(name), "", state, "Idle", "0.1.0", hosted, is_cut=is_cut)


@pytest.mark.parametrize(
    ("instances", "hosting"),
    [
        pytest.param([], Hosting(), id="no instance"),
        pytest.param([make_instance("x", ("a", "Ready"))], Hosting(1, 1), id="ready on one"),
        pytest.param([make_instance("x", ("b", "Ready"))], Hosting(1, 0), id="another is"),
        pytest.param(
            [make_instance("x", ("a", "Ready"), state="Draining")], Hosting(1, 0), id="an instance that drains"
        ),
        pytest.param([make_instance("x", ("a", "Failed"), state="Down")], Hosting(0, 0), id="an instance that is lost"),
        pytest.param(
            [make_instance("x", ("a", "Failed")), make_instance("y", ("a", "Failed"))],
            Hosting(2, 0, 0, "on x: no module"),
            id="failed: the first says why",
        ),
        pytest.param(
            [make_instance("x", ("b", "Ready"), is_cut=True), make_instance("y", ("a", "Ready"), is_cut=True)],
            Hosting(2, 1, 1),
            id="an instance that has not said all may host it",
        ),
        pytest.param([make_instance("x", state="Starting", is_cut=True)], Hosting(1, 0, 0), id="not one that starts"),
    ],
)
def test_an_agent_on_the_instances_of_its_agentnode(instances: list[Instance], hosting: Hosting) -> None:
    assert hosting_of(instances).of("a") == hosting


def test_only_the_agents_are_named_for_which_a_change_is_news() -> None:
    held, node, agents = Hostings(), make_node(), ["a", "b"]
    assert held.get(node) is None
    assert held.update(node, [make_instance("x", ("a", "Ready"))], agents) == ["a", "b"], "nothing was known"
    assert held.update(node, [make_instance("x", ("a", "Ready"))], agents) == []
    both = make_instance("x", ("a", "Ready"), ("b", "Loading"))
    assert held.update(node, [both], agents) == [], "an agent that loads is not ready yet, as before"
    assert held.update(node, [make_instance("x", ("a", "Ready"), ("b", "Ready"))], agents) == ["b"]
    assert held.update(node, [both, make_instance("y")], agents) == ["a", "b"], "an instance more is news for all"
    hosting = held.get(node)
    assert hosting is not None
    assert hosting.of("a") == Hosting(2, 1)


def test_nothing_is_known_of_another_agentnode_of_the_name_nor_after_it_is_forgotten() -> None:
    held, node = Hostings(), make_node()
    held.update(node, [make_instance("x", ("a", "Ready"))], ["a"])
    another = replace(node, meta=make_meta(uid="another"))
    assert held.get(another) is None
    assert held.update(another, [make_instance("x", ("a", "Ready"))], ["a"]) == ["a"]
    held.forget(("ns", "writers"))
    assert held.get(another) is None
    held.update(node, [], [])
    held.clear()
    assert held.get(node) is None
