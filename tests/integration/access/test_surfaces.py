"""Every surface asks a real API server who the client is, and whether it may call."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp
import pytest
from access_ends import DEADLINE_S, SURFACES, Ports, Refused, Serve, Surface, Team, refusals_on

from switchboard import Client, NodeUnavailable, PermissionDenied, SwitchboardError, Unauthenticated
from switchboard_gateway.rest.app import build_app, routes_of

pytestmark = pytest.mark.integration

GARBAGE = "eyJhbGciOiJub25lIn0.eyJleHAiOjF9.c2ln"


async def outcome(call: Awaitable[str]) -> str:
    """The answer, or the code of the error."""
    try:
        return await call
    except (SwitchboardError, Refused) as error:
        return error.code


async def verdict(call: Callable[[], Awaitable[str]]) -> str:
    """How a call ends that could be judged: the API server's answer may come too late for one."""
    async with asyncio.timeout(DEADLINE_S):
        while (found := await outcome(call())) == "NODE_UNAVAILABLE":
            await asyncio.sleep(0.1)
    return found


async def comes(wanted: str, call: Callable[[], Awaitable[str]]) -> float:
    """Seconds until a call ends so."""
    began = time.monotonic()
    async with asyncio.timeout(DEADLINE_S):
        while (found := await verdict(call)) != wanted:
            assert found in ("hello", "PERMISSION_DENIED"), found
            await asyncio.sleep(0.1)
    return time.monotonic() - began


@pytest.mark.parametrize("surface", SURFACES.values(), ids=SURFACES)
async def test_who_shows_no_good_token_is_not_served(serving: Serve, team: Team, surface: Surface) -> None:
    team.grant("bot", "invoke")
    async with serving() as ports:
        for token in ("", GARBAGE, team.token("bot", audience="vault"), team.token("bot", audience="")):
            assert await verdict(partial(surface, ports, token)) == "UNAUTHENTICATED"
        assert ports.fake.seen == []
        assert refusals_on(ports, surface, "UNAUTHENTICATED") >= 4
        assert ports.core.metrics.reviews.values["clients", "token", "no"] >= 3


@pytest.mark.parametrize("surface", SURFACES.values(), ids=SURFACES)
async def test_a_right_is_needed_counts_and_ends(serving: Serve, team: Team, surface: Surface) -> None:
    async with serving() as ports:
        token = team.token("bot")
        assert await verdict(partial(surface, ports, token)) == "PERMISSION_DENIED"
        assert refusals_on(ports, surface, "PERMISSION_DENIED") == 1
        told = {kind for kind in ports.core.metrics.reviews.values if kind[-1] != "none"}  # asked anew after CACHE_S
        assert told == {("clients", "token", "yes"), ("clients", "access", "no")}
        role = team.grant("bot", "invoke", name="echo")
        await comes("hello", lambda: surface(ports, token))
        assert await verdict(partial(surface, ports, token, "secret")) == "PERMISSION_DENIED"
        assert ports.principals == {f"spiffe://cluster.local/ns/{team.namespace}/sa/bot"}
        team.revoke(role)
        await comes("PERMISSION_DENIED", lambda: surface(ports, token))


def unanswered(ports: Ports) -> float:
    """How many reviews have had no answer."""
    return sum(count for (_, _, answer), count in ports.core.metrics.reviews.values.items() if answer == "none")


@pytest.mark.parametrize("surface", SURFACES.values(), ids=SURFACES)
async def test_without_an_api_server_the_known_are_served_and_others_come_again(
    serving: Serve, team: Team, surface: Surface
) -> None:
    team.grant("bot", "invoke")
    team.grant("late", "invoke")
    async with serving() as ports:
        known, late = team.token("bot"), team.token("late")
        assert await verdict(partial(surface, ports, known)) == "hello"
        ports.api.status = 503
        assert await outcome(surface(ports, late)) == "NODE_UNAVAILABLE"
        assert refusals_on(ports, surface, "NODE_UNAVAILABLE") >= 1
        assert ports.core.metrics.reviews.values["clients", "token", "none"] >= 1
        asked = unanswered(ports)
        async with asyncio.timeout(DEADLINE_S):
            while unanswered(ports) == asked:  # until what is remembered is asked anew, in vain
                assert await outcome(surface(ports, known)) == "hello"
                await asyncio.sleep(0.1)
        assert await outcome(surface(ports, known)) == "hello"
        ports.api.status = 0
        async with asyncio.timeout(DEADLINE_S):
            while await outcome(surface(ports, late)) != "hello":
                await asyncio.sleep(0.1)


async def test_a_session_goes_on_with_a_socket_that_knows_its_client(serving: Serve, team: Team) -> None:
    role = team.grant("bot", "invoke", name="echo")
    async with serving() as ports, Client(ports.grpc, token=team.token("bot")) as client:
        await client.request("echo", "hello")
        async with asyncio.timeout(DEADLINE_S):
            while type(client._connection.peer).__name__ != "SocketPeer":
                await asyncio.sleep(0.01)
        assert (await client.request("echo", "on a socket")).value == "on a socket"
        with pytest.raises(PermissionDenied, match="may not invoke Agent 'secret'"):
            await client.request("secret", "x")
        assert ports.principals == {f"spiffe://cluster.local/ns/{team.namespace}/sa/bot"}
        team.revoke(role)
        await comes("PERMISSION_DENIED", lambda: _ask(client))


async def _ask(client: Client) -> str:
    return str((await client.request("echo", "hello")).value)


async def test_lists_and_descriptions_need_rights_of_their_own(serving: Serve, team: Team) -> None:
    team.grant("bot", "invoke")
    team.grant("viewer", "get", "list", "watch")
    team.grant("narrow", "get", name="echo")
    async with serving() as ports:
        for account, asked in (("bot", ["agents", "describe"]), ("narrow", ["agents"]), ("nobody", ["agents"])):
            async with Client(ports.grpc, token=team.token(account)) as client:
                for method in asked:
                    with pytest.raises(PermissionDenied):
                        await (client.agents() if method == "agents" else client.describe("echo"))
        async with Client(ports.grpc, token=team.token("viewer")) as client:
            assert [agent.name for agent in await client.agents()] == ["echo", "secret"]
            async with contextlib.aclosing(client.watch_agents()) as lists:  # type: ignore[type-var]
                assert len(await anext(lists)) == 2
            assert (await client.describe("secret")).type == "secret"
            with pytest.raises(PermissionDenied, match="agentnodes"):
                await client.instances()
        async with Client(ports.grpc, token=team.token("narrow")) as client:
            assert (await client.describe("echo")).type == "echo"
            with pytest.raises(PermissionDenied):
                await client.describe("secret")
        with pytest.raises(Unauthenticated):
            await Client(ports.grpc).agents()


async def test_every_path_of_rest_asks_for_a_token_but_health_and_the_description(serving: Serve, team: Team) -> None:
    async with serving() as ports, aiohttp.ClientSession() as session:
        for method, path in routes_of(build_app(ports.core)):
            url = f"http://localhost:{ports.http}" + path.format(
                namespace=ports.namespace, agent="echo", capability="c", topic="t"
            )
            headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
            headers |= {"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="} if path == "/ws" else {}
            async with session.request(method, url, headers=headers if path == "/ws" else {}) as response:
                assert response.status == (200 if path in ("/health", "/openapi.json") else 401), path
                if response.status == 401:
                    assert response.headers["WWW-Authenticate"] == "Bearer"
                    assert (await response.json())["code"] == "UNAUTHENTICATED"


async def test_a_refusal_names_the_rule_that_would_help(serving: Serve, team: Team) -> None:
    async with serving() as ports:
        with pytest.raises(Refused) as caught:
            await SURFACES["REST"](ports, team.token("bot"))
    problem = caught.value.problem
    assert (caught.value.status, problem["code"]) == (403, "PERMISSION_DENIED")
    user = f"system:serviceaccount:{team.namespace}:bot"
    assert problem["detail"] == (
        f"{user} may not invoke Agent 'echo' in namespace '{team.namespace}': a Role there grants it with the rule "
        "apiGroups [switchboard.dev], resources [agents], verbs [invoke], resourceNames [echo]"
    )


async def test_without_an_api_server_the_error_says_when_to_come_again(serving: Serve, team: Team) -> None:
    async with serving() as ports:
        token = team.token("bot")
        ports.api.status = 503
        with pytest.raises(Refused) as caught:
            await SURFACES["REST"](ports, token)
        assert (caught.value.status, caught.value.problem["retryAfterMs"]) == (503, 1000)
        with pytest.raises(NodeUnavailable):
            await SURFACES["unary gRPC"](ports, token)
