"""An audit finds what the watches lost, and minds what is merely on its way."""

from collections.abc import Callable

from operator_objects import make_node

from switchboard_kube import AGENT_NODES
from switchboard_kube.testing import FakeKube
from switchboard_operator.auditing import audit_once
from switchboard_operator.snapshot import Indexes


class Watches:
    """Indexes that the test fills."""

    def __init__(self, *names: str) -> None:
        self.restarts = 0
        self.names = list(names)
        self.looks: list[list[str]] = []

    async def look(self, read: Callable[[Indexes], set[str]]) -> set[str]:
        if self.looks:
            self.names = self.looks.pop(0)
        return read(Indexes(nodes={("ns", name): [make_node(name)] for name in self.names}))

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


async def test_an_event_that_is_on_its_way_is_waited_for() -> None:
    watches = Watches()
    watches.looks = [["a"], ["a", "b"]]
    assert await audit_once(server("a", "b"), watches, (), 0.0)
    assert watches.restarts == 0
