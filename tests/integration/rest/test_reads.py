"""What the gateway knows, and that it says so in the shape that it promises."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from rest_server import Rest, echo, eventually, fails_with, make_policy
from rest_shapes import DOCUMENT, check_shape

from switchboard_gateway.rest import build_app
from switchboard_gateway.rest.app import routes_of
from switchboard_routing.policy import BreakerPolicy, Capability
from switchboard_wire.errors import ErrorValue
from switchboard_wire.v1 import frames_pb2 as pb


async def get(rest: Rest, path: str) -> Any:
    async with rest.client.get(rest.url + path) as response:
        assert response.status == 200
        return await response.json()


def host_three(rest: Rest) -> None:
    rest.host(make_policy("echo", capabilities=(Capability("repeat", "1.0.0", "Says it again"),)), echo)
    rest.host(make_policy("draft", nodes=frozenset({"drafters"})), None)
    rest.host(make_policy("away", namespace="other"), None)


def test_the_document_is_openapi() -> None:
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


async def test_the_document_has_every_route_and_no_other(rest: Rest) -> None:
    def documented() -> Iterator[tuple[str, str]]:
        for path, item in DOCUMENT["paths"].items():
            yield from ((method.upper(), path) for method in item if method != "parameters")

    assert sorted(routes_of(build_app(rest.core))) == sorted(documented())
    assert await get(rest, "/openapi.json") == DOCUMENT


@pytest.mark.parametrize("inside", ["", "/namespaces/default"])
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["draft", "echo"]),
        ("?type=echo", ["echo"]),
        ("?capability=repeat", ["echo"]),
        ("?node=drafters", ["draft"]),
        ("?node=writers&capability=repeat&type=echo", ["echo"]),
        ("?type=echo&node=drafters", []),
        ("?state=Ready", ["echo"]),
        ("?state=Offline", ["draft"]),
        ("?zone=a", ["echo"]),
        ("?zone=b", []),
    ],
)
async def test_agents_are_listed_by_filter(rest: Rest, inside: str, query: str, names: list[str]) -> None:
    host_three(rest)
    found = await get(rest, f"/api/v1{inside}/agents{query}")
    check_shape(found, "AgentList")
    assert [agent["name"] for agent in found["agents"]] == names


async def test_a_namespace_has_its_own_agents(rest: Rest) -> None:
    host_three(rest)
    found = await get(rest, "/api/v1/namespaces/other/agents")
    assert [(agent["namespace"], agent["name"]) for agent in found["agents"]] == [("other", "away")]
    assert await get(rest, "/api/v1/namespaces/empty/agents") == {"agents": []}


async def test_one_type_is_told_with_all_its_versions(rest: Rest) -> None:
    host_three(rest)
    rest.host(make_policy("echo-2", type="echo", version="2.0.0"), None)
    found = await get(rest, "/api/v1/agents/echo")
    check_shape(found, "AgentType")
    assert (found["type"], found["instancesReady"]) == ("echo", 1)
    assert [(agent["name"], agent["version"], agent["instancesReady"]) for agent in found["agents"]] == [
        ("echo", "", 1),
        ("echo-2", "2.0.0", 0),
    ]


async def test_instances_of_a_type(rest: Rest) -> None:
    host_three(rest)
    found = await get(rest, "/api/v1/agents/echo/instances")
    check_shape(found, "InstanceList")
    assert found["instances"] == [
        {
            "agent": "echo",
            "name": "writers-1",
            "node": "writers",
            "zone": "a",
            "state": "Ready",
            "inFlight": 0,
            "concurrency": 16,
            "latencyMs": 0.0,
            "weight": 2.5,
            "circuit": "closed",
            "agents": ["echo"],
        }
    ]


@pytest.mark.parametrize(
    ("query", "count"),
    [("?state=Ready&zone=a", 1), ("?state=Draining", 0), ("?zone=b", 0), ("?circuit=open", 0), ("?agent=echo", 1)],
)
async def test_instances_are_listed_by_filter(rest: Rest, query: str, count: int) -> None:
    host_three(rest)
    assert len((await get(rest, f"/api/v1/agents/echo/instances{query}"))["instances"]) == count


async def test_a_circuit_and_what_waits_are_told(rest: Rest) -> None:
    fails_once = BreakerPolicy(consecutive_failures=1)
    failing = fails_with(ErrorValue(pb.PROCESSING_ERROR, "no", delivered=pb.DELIVERED_YES))
    rest.host(make_policy("bad", breaker=fails_once), failing)
    rest.host(make_policy("away"), None)
    async with rest.client.post(f"{rest.url}/api/v1/agents/bad/execute", json={"input": 1}) as response:
        assert response.status == 500
    waiting = asyncio.ensure_future(rest.client.post(f"{rest.url}/api/v1/agents/away/execute", json={"input": "four"}))
    await eventually(lambda: len(rest.core.held) == 1)
    bad, away = [(await get(rest, f"/api/v1/agents/{name}")) for name in ("bad", "away")]
    waiting.cancel()
    check_shape(bad, "AgentType")
    [instance] = bad["agents"][0]["instances"]
    assert instance["circuit"] == "open"
    assert 0 < instance["nextAttemptMs"] <= 30_000
    held = away["agents"][0]["held"]
    assert (away["agents"][0]["state"], held["calls"]) == ("Offline", 1)
    assert 4 < held["bytes"] < 500, "with its ids and headers"


async def test_statistics_count_calls_by_code(rest: Rest) -> None:
    host_three(rest)
    rest.host(make_policy("bad"), fails_with(ErrorValue(pb.PROCESSING_ERROR, "no", delivered=pb.DELIVERED_YES)))
    for agent in ("echo", "echo", "bad"):
        async with rest.client.post(f"{rest.url}/api/v1/agents/{agent}/execute", json={"input": 1}) as response:
            await response.read()
    found = await get(rest, "/api/v1/statistics")
    check_shape(found, "Statistics")
    assert found == {
        "namespace": "default",
        "agents": 3,
        "instances": 1,
        "calls": {"OK": 2, "PROCESSING_ERROR": 1},
        "gateway": {"sessions": 0, "held": 0, "links": 1},
    }


async def test_health(rest: Rest) -> None:
    found = await get(rest, "/health")
    check_shape(found, "Health")


@pytest.mark.parametrize("path", ["/api/v1/agents/nobody", "/api/v1/agents/nobody/instances"])
async def test_an_unknown_type_lists_those_that_there_are(rest: Rest, path: str) -> None:
    host_three(rest)
    async with rest.client.get(rest.url + path) as response:
        found = await response.json()
    check_shape(found, "Problem")
    assert (response.status, found["code"]) == (404, "AGENT_NOT_FOUND")
    assert "there is draft, echo" in found["detail"]


async def test_an_unknown_filter_is_refused(rest: Rest) -> None:
    async with rest.client.get(rest.url + "/api/v1/agents?colour=a") as response:
        found = await response.json()
    assert (response.status, found["detail"]) == (
        400,
        "the query parameter 'colour' is not known: type, capability, node, state, zone are",
    )


@pytest.mark.parametrize("path", ["/api/v1/agents", "/api/v1/agents/echo/instances"])
async def test_a_state_that_there_is_none_of_is_refused(rest: Rest, path: str) -> None:
    host_three(rest)
    async with rest.client.get(f"{rest.url}{path}?state=ready") as response:
        found = await response.json()
    assert (response.status, found["code"]) == (400, "VALIDATION_FAILED")
    assert "Ready, Loading, Failed, Draining" in found["detail"]


async def test_a_gateway_that_leaves_sends_its_clients_elsewhere(rest: Rest) -> None:
    async with rest.client.get(rest.url + "/health") as response:
        assert "Connection" not in response.headers
    rest.core.say_goodbye("it stops")
    async with rest.client.get(rest.url + "/health") as response:
        assert (response.status, response.headers["Connection"]) == (200, "close")


@pytest.mark.parametrize("agent", ["echo", "bad"])
async def test_an_execution_s_answer_has_its_shape(rest: Rest, agent: str) -> None:
    host_three(rest)
    rest.host(make_policy("bad"), fails_with(ErrorValue(pb.OVERLOADED, "no", 5, details={"a": "b"})))
    async with rest.client.post(f"{rest.url}/api/v1/agents/{agent}/execute", json={"input": 1}) as response:
        check_shape(await response.json(), "Answer" if agent == "echo" else "Problem")
