"""What was read of an object is kept as long as it says the same."""

from typing import Any

import pytest

from switchboard_gateway.readings import Readings
from switchboard_kube import Json


def agent(name: str, generation: int | None = 1, uid: str | None = "uid-1", **more: Any) -> Json:
    return {"metadata": {"name": name, "generation": generation, "uid": uid}, **more}


@pytest.mark.parametrize(
    ("first", "second", "reads"),
    [
        pytest.param(agent("a"), agent("a", status={"readyInstances": 3}), 1, id="its status changes"),
        pytest.param(agent("a"), agent("a", generation=2), 2, id="its spec changes"),
        pytest.param(agent("a"), agent("a", uid="uid-2"), 2, id="another of its name"),
        pytest.param(agent("a", None), agent("a", None), 2, id="one that does not say its generation"),
    ],
)
def test_an_object_is_read_again_when_it_says_something_new(first: Json, second: Json, reads: int) -> None:
    seen: list[Json] = []

    def read(manifest: Json) -> int:
        seen.append(manifest)
        return len(seen)

    readings = Readings(read, "generation")
    assert readings.of({("ns", "a"): first}) == {("ns", "a"): 1}
    assert readings.of({("ns", "a"): second}) == {("ns", "a"): reads}


def test_what_is_gone_is_forgotten() -> None:
    readings = Readings(lambda manifest: str(manifest["metadata"]["name"]), "generation")
    assert readings.of({("ns", "a"): agent("a"), ("ns", "b"): agent("b")}) == {("ns", "a"): "a", ("ns", "b"): "b"}
    assert readings.of({("ns", "b"): agent("b")}) == {("ns", "b"): "b"}
    assert readings.of({}) == {}
