"""Which instances can answer for which Agent: what one instance changes comes to the same as counting all anew."""

from collections.abc import Callable, Iterator

from hypothesis import given
from hypothesis import strategies as st

from switchboard_gateway.directory import build_directory
from switchboard_gateway.instances import Instance, Table
from switchboard_routing.policy import AgentPolicy
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

AGENTS = ("a", "b", "c")
NODES = ("north", "south")
POLICIES = [
    AgentPolicy(namespace="ns", name="a", type="a", nodes=frozenset(NODES)),
    AgentPolicy(namespace="ns", name="b", type="b", nodes=frozenset({"north"})),
    AgentPolicy(namespace="ns", name="c", type="c", nodes=None),
]


class Silent:
    """Nobody listens."""

    def on_open(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_control(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_lost(self, peer: Peer) -> None: ...


def new_instance(number: int) -> Instance:
    return Instance(Peer(Silent(), dialled=False), "ns", NODES[number % 2], f"pod-{number}")


def members(table: Table) -> dict[tuple[str, str], list[str]]:
    return {key: [instance.name for instance in route.instances] for key, route in table.routes.items()}


def join(table: Table, instance: Instance, hosted: frozenset[str]) -> None:
    instance.draining, instance.hosted = False, hosted
    table.instances[id(instance.peer)] = instance


def leave(table: Table, instance: Instance, _: frozenset[str]) -> None:
    table.instances.pop(id(instance.peer), None)


def host(_: Table, instance: Instance, hosted: frozenset[str]) -> None:
    instance.hosted = hosted


def drain(_: Table, instance: Instance, __: frozenset[str]) -> None:
    instance.draining = True


Change = Callable[[Table, Instance, frozenset[str]], None]
Step = tuple[Change, int, frozenset[str]]  # which instance, and what it hosts then
CHANGES: list[Change] = [join, leave, host, drain]


def new_table() -> Table:
    table = Table(lambda: 0.5, lambda route, instance, state: None, lambda route: None)
    table.rebuild(build_directory(POLICIES))
    return table


def placed_one_by_one(table: Table, steps: list[Step]) -> Iterator[Instance]:
    """Each instance that has changed and was placed."""
    instances = [new_instance(number) for number in range(6)]
    for change, number, hosted in steps:
        change(table, instances[number], hosted)
        table.place(instances[number])
        yield instances[number]


@given(
    st.lists(
        st.tuples(st.sampled_from(CHANGES), st.integers(0, 5), st.frozensets(st.sampled_from((*AGENTS, "unknown")))),
        max_size=30,
    )
)
def test_placing_one_instance_comes_to_the_same_as_a_refresh(
    changes: list[Step],
) -> None:
    table = new_table()
    for instance in placed_one_by_one(table, changes):
        placed = members(table)
        table.refresh()
        assert placed == members(table)
        if instance.node == NODES[1]:  # what was placed is remembered by a refresh as well as without one
            table.place(instance)
            assert placed == members(table)


@given(st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 5), st.frozensets(st.sampled_from(AGENTS)))))
def test_many_changes_without_a_refresh_come_to_the_same(
    changes: list[Step],
) -> None:
    table = new_table()
    for _ in placed_one_by_one(table, changes):
        pass
    placed = members(table)
    table.refresh()
    assert placed == members(table)
