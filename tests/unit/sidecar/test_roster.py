"""What is hosted, where it goes, whether the instance is ready."""

from collections.abc import Sequence

import pytest
from sidecar_ends import assignment
from sidecar_memory import Recorder

from switchboard_sidecar.roster import Roster
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

READY, LOADING, FAILED = pb.HOSTED_READY, pb.HOSTED_LOADING, pb.HOSTED_FAILED


def host() -> Peer:
    return Peer(Recorder(), dialled=False)


def said(*agents: tuple[str, int], generation: int = 1) -> pb.Hosted:
    states = [pb.HostedAgent(name=name, type=name, state=pb.HostedState.ValueType(state)) for name, state in agents]
    return pb.Hosted(generation=generation, agents=states)


def states(roster: Roster) -> dict[str, str]:
    return {agent.name: pb.HostedState.Name(agent.state).removeprefix("HOSTED_") for agent in roster.hosted().agents}


def make(*agents: pb.Assignment, **fields: int) -> Roster:
    roster = Roster()
    roster.apply(pb.Assignments(generation=1, agents=agents, **fields))  # type: ignore[arg-type]
    return roster


http = assignment("web", http=pb.HttpHandler(port=8000))


@pytest.mark.parametrize(
    ("agents", "expected"),
    [
        pytest.param([], None, id="no agent yet: nothing is missing"),
        pytest.param([assignment("a")], "no host is connected", id="a python agent needs its host"),
        pytest.param([assignment("a", registered=True)], "no host is connected", id="code of the host's as well"),
        pytest.param([http], "web: nothing answers on port 8000", id="an http agent needs its port"),
    ],
)
def test_readiness_without_a_host(agents: Sequence[pb.Assignment], expected: str | None) -> None:
    assert make(*agents).why_not_ready() == expected


def test_without_assignments_it_is_not_ready() -> None:
    assert Roster().why_not_ready() == "no assignments yet"


def test_ready_once_everything_was_loaded_and_a_later_agent_does_not_take_it_back() -> None:
    roster, peer = make(assignment("a")), host()
    roster.host_came(peer)
    roster.host_said(peer, said(("a", LOADING)))
    assert roster.why_not_ready() == "the host is loading its agents"
    roster.host_said(peer, said(("a", FAILED)))
    assert roster.why_not_ready() is None
    roster.apply(pb.Assignments(generation=2, agents=[assignment("a"), assignment("b")]))
    assert roster.why_not_ready() is None
    assert states(roster) == {"a": "FAILED", "b": "LOADING"}


def test_agents_that_code_registers_are_loaded_before_it_is_ready() -> None:
    roster, peer = make(dynamic=True), host()
    roster.host_came(peer)
    roster.host_said(peer, said(("own", LOADING)))
    assert roster.why_not_ready() == "the host is loading its agents"
    roster.host_said(peer, said(("own", READY)))
    assert roster.why_not_ready() is None


def test_an_answer_to_older_assignments_does_not_make_it_ready() -> None:
    roster, peer = make(assignment("a")), host()
    roster.apply(pb.Assignments(generation=2, agents=[assignment("a")]))
    roster.host_came(peer)
    roster.host_said(peer, said(("a", READY), generation=1))
    assert roster.why_not_ready() == "the host is loading its agents"


def test_calls_go_to_the_newest_host_and_the_word_of_an_old_one_does_not_count() -> None:
    roster, old, new = make(assignment("a")), host(), host()
    roster.host_came(old)
    roster.host_said(old, said(("a", READY)))
    roster.host_came(new)
    roster.host_said(new, said(("a", READY)))
    roster.host_said(old, said(("a", FAILED)))
    roster.host_left(old)
    assert roster.by_type["a"].peer is new
    roster.host_left(new)
    assert roster.by_type["a"].peer is None
    assert states(roster) == {"a": "LOADING"}


def test_an_http_agent_is_ready_while_its_port_answers_without_any_host() -> None:
    roster, port = make(http), host()
    roster.http_answers("web", port)
    assert (roster.by_type["web"].peer, roster.why_not_ready()) == (port, None)
    roster.http_answers("web", None)
    assert roster.by_type["web"].peer is None
    assert roster.hosted().agents[0].message == "nothing answers on port 8000"


def test_the_host_is_not_told_of_http_agents() -> None:
    roster = make(assignment("a"), http, concurrency=3)
    told = roster.for_host()
    assert ([agent.name for agent in told.agents], told.generation, told.concurrency) == (["a"], 1, 3)


def test_counters_survive_new_assignments() -> None:
    roster = make(assignment("a"))
    entry = roster.by_name["a"]
    roster.apply(pb.Assignments(generation=2, agents=[assignment("a", concurrency=3)]))
    assert roster.by_name["a"] is entry
    assert entry.lane.concurrency == 3


@pytest.mark.parametrize(
    ("dynamic", "expected"), [(False, {"a": "READY"}), (True, {"a": "READY", "own": "READY"})], ids=str
)
def test_agents_of_the_code_are_visible_only_where_registration_is_dynamic(
    dynamic: bool, expected: dict[str, str]
) -> None:
    roster, peer = make(assignment("a"), dynamic=dynamic), host()
    roster.host_came(peer)
    roster.host_said(peer, said(("a", READY), ("own", READY)))
    assert states(roster) == expected
    roster.host_left(peer)
    assert states(roster) == {"a": "LOADING"}


def test_everybody_is_told_of_changes() -> None:
    roster = make(assignment("a"))
    told: list[dict[str, str]] = []
    roster.on_change.append(lambda: told.append(states(roster)))
    peer = host()
    roster.host_came(peer)
    roster.host_said(peer, said(("a", READY)))
    assert told == [{"a": "LOADING"}, {"a": "READY"}]


def test_what_code_registers_is_bounded_and_has_proper_types() -> None:
    roster, peer = make(dynamic=True), host()
    roster.host_came(peer)
    agents = [("no label!", READY), ("a/k", READY), *((f"a{number}", READY) for number in range(500))]
    roster.host_said(peer, said(*agents))
    assert 100 < len(roster.by_name) <= 200
    assert "no label!" not in roster.by_name
    assert "a/k" not in roster.by_name
