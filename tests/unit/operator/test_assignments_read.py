"""The text of assignments is parsed once, and only the latest of a ConfigMap is kept."""

from dataclasses import replace

from operator_objects import CONTEXT, come_true, make_agent, make_node, make_snapshot

from switchboard_operator import assignments
from switchboard_operator.assignments import MAX_READ, read_assignments
from switchboard_operator.objects import CONFIG_MAP, Resource
from switchboard_operator.plan import plan_node
from switchboard_wire import names


def make_config_map() -> Resource:
    snapshot = make_snapshot(make_node(), agents=[make_agent()])
    return come_true(snapshot, plan_node(snapshot, CONTEXT)).children[CONFIG_MAP]


def of_generation(held: Resource, generation: int, uid: str = "uid-of-the-map") -> Resource:
    text = f'{{"generation": "{generation}"}}'
    return replace(held, data={names.ASSIGNMENTS_FILE: text}, meta=replace(held.meta, uid=uid))


def test_a_text_is_parsed_once_and_a_newer_one_replaces_it() -> None:
    held = make_config_map()
    before = len(assignments._READ)
    first = read_assignments(of_generation(held, 1))
    assert first is not None
    assert first is read_assignments(of_generation(held, 1))
    for generation in range(2, 50):
        found = read_assignments(of_generation(held, generation))
        assert found is not None
        assert found.generation == generation
    assert len(assignments._READ) == before + 1


def test_so_many_config_maps_are_kept_and_no_more() -> None:
    held = make_config_map()
    for number in range(MAX_READ + 10):
        assert read_assignments(of_generation(held, 1, f"uid-{number}")) is not None
    assert len(assignments._READ) == MAX_READ
