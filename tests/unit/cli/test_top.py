"""What `switchboard top` prints."""

import pytest

from switchboard_cli.top import HEADINGS, SPARE, render
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1.instances_pb2 import InstanceList, InstanceReport


def report(name: str, load: pb.Load | None = None, **fields: object) -> InstanceReport:
    capacity = pb.Capacity(concurrency=16, queue=100)
    made = InstanceReport(namespace="ns", node="writers", name=name, state="Up", activity="Idle", capacity=capacity)
    if load is not None:
        made.load.CopyFrom(load)
        made.age_ms, made.score = 1200, 0.5
    return made


def test_the_busiest_instance_of_a_pool_comes_first_and_one_that_has_not_spoken_shows_no_numbers() -> None:
    busy = pb.Load(in_flight=3, queued=1, cpu=0.42, memory=0.1, messages_per_second=7.25, latency_ms=12.4)
    lines = render(InstanceList(instances=[report("a"), report("b", busy)], total=2), None)
    assert [line.split()[2] for line in lines] == [HEADINGS[2], "b", "a"]
    assert lines[1].split()[5:] == ["3/16", "1", "7.2", "0%", "12", "ms", "42%", "10%", "1.2", "s", "ago", "0.50"]
    assert set(lines[2].split()[5:]) == {"-"}


def test_what_the_limit_cut_off_is_said() -> None:
    assert render(InstanceList(instances=[report("a")], total=9), None)[-1].startswith("8 more")


def test_nothing_is_said_in_words() -> None:
    assert render(InstanceList(), 80) == ["No instances."]


@pytest.mark.parametrize("width", [200, 120, 80, 60])
def test_a_screen_shows_the_columns_for_which_it_is_wide_enough(width: int) -> None:
    load = pb.Load(in_flight=3, cpu=0.42, messages_per_second=7.25, latency_ms=12.4)
    found = InstanceList(instances=[report("writers-65888c68cb-52kt7", load)], total=2)
    lines, whole = render(found, width), render(found, None)
    assert max(map(len, lines)) <= width
    left_out = [heading for heading in HEADINGS if heading not in lines[0]]
    assert left_out == [heading for heading in HEADINGS if heading in SPARE[: len(left_out)]]
    assert (lines == whole) == (max(map(len, whole)) <= width)
    assert "writers-65888c68cb-52kt7" in lines[1]


def test_80_columns_have_room_for_the_work_of_an_instance() -> None:
    load = pb.Load(in_flight=3, queued=1, cpu=0.42, messages_per_second=7.25)
    lines = render(InstanceList(instances=[report("writers-65888c68cb-52kt7", load)], total=1), 80)
    assert lines[0].split() == ["NAMESPACE", "INSTANCE", "STATE", "IN", "FLIGHT", "QUEUED", "MSG/S", "CPU"]
    assert lines[1].split() == ["ns", "writers-65888c68cb-52kt7", "Up", "3/16", "1", "7.2", "42%"]
