"""How agents and their instances are printed."""

from switchboard_cli.listing import format_agent
from switchboard_cli.tables import cut_lines, format_columns
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1 import gateway_pb2 as api


def test_columns_are_two_blanks_apart() -> None:
    assert format_columns([("A", "LONG"), ("abc", "x")]) == ["A    LONG", "abc  x"]


def test_lines_are_cut_for_a_screen_and_nowhere_else() -> None:
    assert cut_lines(["x" * 81, "y" * 80], 80) == ["x" * 79 + "…", "y" * 80]
    assert cut_lines(["x" * 200], None) == ["x" * 200]


def test_an_agent_is_told_with_its_instances_and_why_one_failed() -> None:
    agent = api.AgentDescription(
        name="echo",
        version="1.0.0",
        state="Ready",
        instances_ready=1,
        nodes=["pool"],
        strategy="RoundRobin",
        key_affinity="None",
        weight=100,
        timeout_ms=30_000,
        max_payload_bytes=1000,
        attempts=3,
        idempotent=True,
        allowed_callers=["spiffe://cluster.local/ns/web/sa/*", "user:jane"],
        hedging=api.HedgingDescription(delay_ms=80, attempts=2),
        topics=[pb.Subscription(topic="news"), pb.Subscription(topic="orders.", prefix=True)],
        held_calls=2,
        held_bytes=5,
        instances=[
            api.InstanceDescription(
                name="pool-1", node="pool", state="Ready", circuit="open", next_attempt_ms=4000, in_flight=1,
                concurrency=16, latency_ms=1.25, weight=25,
            ),
            api.InstanceDescription(name="pool-2", node="pool", state="Failed", circuit="closed", message="no x"),
        ],
    )  # fmt: skip
    assert format_agent(agent) == [
        "Name:         echo 1.0.0",
        "State:        Ready, 1 ready",
        "Topics:       news, orders.*",
        "Nodes:        pool",
        "Balancing:    RoundRobin, key affinity None, weight 100",
        "Limits:       30 s, 1000 bytes",
        "Retries:      3 attempts, idempotent, hedged after 80 ms",
        "Callers:      spiffe://cluster.local/ns/web/sa/*, user:jane",
        "Waiting:      2 calls, 5 bytes",
        "",
        "INSTANCE  NODE  ZONE  STATE   CIRCUIT       IN FLIGHT  LATENCY  WEIGHT",
        "pool-1    pool  -     Ready   open for 4 s  1/16       1.2 ms   25",
        "pool-2    pool  -     Failed  closed        0/0        0.0 ms   0",
        "pool-2: no x",
    ]


def test_the_instances_of_an_agent_fit_a_screen() -> None:
    pod = api.InstanceDescription(
        name="writers-7999f67667-dwcvq", node="writers", zone="zone-a", state="Ready", circuit="open",
        next_attempt_ms=12_000, concurrency=16, latency_ms=123.45, weight=66.505,
    )  # fmt: skip
    agent = api.AgentDescription(name="echo", state="Ready", instances=[pod])
    *_, headings, row = format_agent(agent)
    assert (headings.split()[1], row.split()[-1]) == ("NODE", "66.5")
    *_, headings, row = format_agent(agent, 80)
    assert len(row) <= 80
    assert headings.split() == ["INSTANCE", "ZONE", "STATE", "CIRCUIT", "IN", "FLIGHT", "LATENCY"]


def test_an_agent_without_instances_has_no_table() -> None:
    assert format_agent(api.AgentDescription(name="echo", state="Offline"))[-1].startswith("Limits:")
