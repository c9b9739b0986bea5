"""What path and query say of a call."""

import pytest

from switchboard_gateway.rest.targets import apply_target, opened_to_many
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.v1 import frames_pb2 as pb

AGENT, CAPABILITY, TOPIC = {"agent": "echo"}, {"capability": "fly"}, {"topic": "news"}


@pytest.mark.parametrize(
    ("found", "query", "expected"),
    [
        (AGENT, {}, pb.Open(target=pb.Target(type="echo"))),
        (AGENT | {"namespace": "team"}, {}, pb.Open(target=pb.Target(type="echo", namespace="team"))),
        (AGENT, {"key": "1", "method": "sum"}, pb.Open(target=pb.Target(type="echo", key="1"), method="sum")),
        (AGENT, {"instances": "all"}, pb.Open(target=pb.Target(type="echo", all_instances=True))),
        (CAPABILITY, {"version": "^1"}, pb.Open(target=pb.Target(capability="fly", version_range="^1"))),
        (TOPIC, {"source": "me"}, pb.Open(target=pb.Target(topic="news", topic_source="me"))),
    ],
)
def test_a_request_names_its_target(found: dict[str, str], query: dict[str, str], expected: pb.Open) -> None:
    opened = pb.Open()
    apply_target(found, query, opened)
    assert opened == expected
    assert opened_to_many(opened) is ("topic" in found or "instances" in query)


@pytest.mark.parametrize(
    ("found", "query", "words"),
    [
        (AGENT, {"version": "1"}, "'version' is not known: key, method, instances may be given"),
        (TOPIC, {"key": "1"}, "'key' is not known: source may be given"),
        (AGENT, {"instances": "two"}, "instances: say all"),
        (AGENT, {"key": "\udcff"}, "not UTF-8"),
        ({"agent": "\udcff"}, {}, "not UTF-8"),
    ],
)
def test_what_cannot_be_is_refused(found: dict[str, str], query: dict[str, str], words: str) -> None:
    with pytest.raises(SwitchboardError, match=words) as raised:
        apply_target(found, query, pb.Open())
    assert raised.value.code == "VALIDATION_FAILED"
