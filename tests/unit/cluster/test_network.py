"""The plan of the local cluster's network."""

import pytest
from devcluster.network import find_clash, plan_network, plan_pod_routes
from devcluster.settings import NODE_CIDR, NODES, POD_CIDR, SERVICE_CIDR


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        pytest.param("default", None, id="the default route overlaps nothing"),
        pytest.param("192.168.0.0/16", None, id="a home network does not overlap"),
        pytest.param("10.217.3.0/24", POD_CIDR, id="a part of the pods' range overlaps"),
        pytest.param("10.218.0.7", SERVICE_CIDR, id="a single address of the Services' range overlaps"),
        pytest.param("10.0.0.0/8", POD_CIDR, id="a wider range overlaps"),
        pytest.param("10.219.77.128/25", NODE_CIDR, id="a part of the nodes' range overlaps"),
    ],
)
def test_clash(destination: str, expected: str | None) -> None:
    assert find_clash(destination) == expected


def test_every_namespace_is_made_before_it_is_used() -> None:
    made: set[str] = set()
    for command in plan_network(NODES):
        if command[:3] == ("ip", "netns", "add"):
            made.add(command[3])
        if command[1] == "-n":
            assert command[2] in made
        if "netns" in command[2:]:
            assert command[-1] in made
    assert made == {node.netns for node in NODES}


def test_every_node_reaches_services_itself() -> None:
    plan = plan_network(NODES)
    for node in NODES:
        assert any(command[:6] == ("ip", "-n", node.netns, "route", "add", SERVICE_CIDR) for command in plan)


def test_pods_are_reached_through_their_node_from_everywhere_else() -> None:
    a, b = NODES
    assert set(plan_pod_routes({a.name: "10.217.0.0/24", b.name: "10.217.1.0/24"}, NODES)) == {
        ("ip", "route", "replace", "10.217.0.0/24", "via", a.address),
        ("ip", "route", "replace", "10.217.1.0/24", "via", b.address),
        ("ip", "-n", b.netns, "route", "replace", "10.217.0.0/24", "via", a.address),
        ("ip", "-n", a.netns, "route", "replace", "10.217.1.0/24", "via", b.address),
    }


def test_device_names_fit_the_kernel() -> None:
    names = [command[-1] for command in plan_network(NODES) if command[-2] == "dev"]
    names += [f"to-{node.name}" for node in NODES]
    assert max(map(len, names)) <= 15
