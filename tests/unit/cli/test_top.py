"""What `switchboard top` prints."""

from switchboard_cli.top import HEADINGS, render
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
    lines = render(InstanceList(instances=[report("a"), report("b", busy)], total=2))
    assert [line.split()[2] for line in lines] == [HEADINGS[2], "b", "a"]
    assert lines[1].split()[5:] == ["3/16", "1", "7.2", "0%", "12", "ms", "42%", "10%", "1.2", "s", "ago", "0.50"]
    assert set(lines[2].split()[5:]) == {"-"}


def test_what_the_limit_cut_off_is_said() -> None:
    assert render(InstanceList(instances=[report("a")], total=9))[-1].startswith("8 more")


def test_nothing_is_said_in_words() -> None:
    assert render(InstanceList()) == ["No instances."]
