"""An audit finds what the watches lost, and minds what is merely on its way."""

from collections.abc import Callable

import pytest
from operator_objects import make_child, make_node

from switchboard_kube import AGENT_NODES
from switchboard_kube.testing import FakeKube
from switchboard_operator.auditing import _LABELLED, _OURS, audit_once
from switchboard_operator.indexing import INDEXES, SLICES
from switchboard_operator.objects import CHILD_KINDS, Resource
from switchboard_operator.snapshot import ChildName, Indexes


class Watches:
    """Indexes that the test fills."""

    def __init__(self, *names: str) -> None:
        self.restarts = 0
        self.names = list(names)
        self.looks: list[list[str]] = []
        self.children: dict[ChildName, list[Resource]] = {}

    async def look(self, read: Callable[[Indexes], set[str]]) -> set[str]:
        if self.looks:
            self.names = self.looks.pop(0)
        nodes = {("ns", name): [make_node(name)] for name in self.names}
        return read(Indexes(nodes=nodes, children=self.children))

    def restart(self) -> None:
        self.restarts += 1


def server(*names: str) -> FakeKube:
    """An API server that has these AgentNodes."""
    nodes = ({"metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}"}} for name in names)
    return FakeKube(*((AGENT_NODES, node) for node in nodes))


async def test_agreement_changes_nothing() -> None:
    watches = Watches("a", "b")
    assert await audit_once(server("a", "b"), watches, (), 0.0)
    assert watches.restarts == 0


async def test_a_ghost_makes_the_watches_list_anew() -> None:
    watches = Watches("a", "ghost")
    assert not await audit_once(server("a"), watches, (), 0.0)
    assert watches.restarts == 1


@pytest.mark.parametrize("kind", CHILD_KINDS)
async def test_a_child_that_is_gone_and_still_held_makes_them_list_anew(kind: str) -> None:
    watches, child = Watches("a"), make_child(kind, make_node("a"), uid="uid-of-the-child")
    watches.children = {("ns", kind, child.meta.name): [child]}
    assert not await audit_once(server("a"), watches, (), 0.0)
    assert watches.restarts == 1


def test_every_kind_that_is_watched_is_audited_but_for_slices() -> None:
    watched = {address for _, address, _ in INDEXES} - {SLICES}
    assert {(kind.group, kind.version, kind.plural) for kind in (*_OURS, *_LABELLED)} == watched


async def test_an_event_that_is_on_its_way_is_waited_for() -> None:
    watches = Watches()
    watches.looks = [["a"], ["a", "b"]]
    assert await audit_once(server("a", "b"), watches, (), 0.0)
    assert watches.restarts == 0
