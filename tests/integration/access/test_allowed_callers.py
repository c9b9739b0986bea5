"""Agents that name their callers, on every surface of clients and by tokens of a real API server."""

from dataclasses import replace

import pytest
from access_ends import SURFACES, Refused, Serve, Surface, Team
from rest_server import make_policy

from switchboard import SwitchboardError
from switchboard_gateway.core import Core

pytestmark = pytest.mark.integration


def restrict(core: Core, namespace: str, *callers: str) -> None:
    """Let `echo` be called by these; `secret` by everybody."""
    plain = [make_policy(name, namespace=namespace) for name in ("echo", "secret")]
    core.set_directory([replace(plain[0], allowed_callers=callers), plain[1]])


async def refusal(surface: Surface, *arguments: object) -> tuple[str, str]:
    """Code and words of the error."""
    with pytest.raises((SwitchboardError, Refused)) as caught:
        await surface(*arguments)
    error = caught.value
    if isinstance(error, Refused):
        return error.code, str(error.problem.get("detail") or error.problem.get("message"))
    return error.code, str(error)


@pytest.mark.parametrize("surface", SURFACES.values(), ids=SURFACES)
async def test_an_agent_takes_calls_of_those_it_names_alone(serving: Serve, team: Team, surface: Surface) -> None:
    for account in ("bot", "stranger"):
        team.grant(account, "invoke")
    async with serving() as ports:
        restrict(ports.core, team.namespace, f"spiffe://cluster.local/ns/{team.namespace}/sa/bot", "user:*")
        bot, stranger = team.token("bot"), team.token("stranger")
        assert await surface(ports, bot) == "hello"
        code, words = await refusal(surface, ports, stranger)
        assert code == "PERMISSION_DENIED"
        name = f"spiffe://cluster.local/ns/{team.namespace}/sa/stranger"
        assert f"{name} may not call Agent 'echo' in namespace '{team.namespace}'" in words
        assert await surface(ports, stranger, "secret") == "hello"
        assert [opened.principal for opened in ports.fake.seen if opened.agent == "echo"] == [
            f"spiffe://cluster.local/ns/{team.namespace}/sa/bot"
        ]
        restrict(ports.core, team.namespace, f"spiffe://cluster.local/ns/{team.namespace}/sa/*")
        assert await surface(ports, stranger) == "hello"


@pytest.mark.parametrize("surface", SURFACES.values(), ids=SURFACES)
async def test_without_tokens_an_agent_that_names_its_callers_takes_none(
    serving: Serve, team: Team, surface: Surface
) -> None:
    async with serving(checks=False) as ports:
        restrict(ports.core, team.namespace, "spiffe://cluster.local/ns/*/sa/*", "user:*")
        code, words = await refusal(surface, ports, "")
        assert (code, "gateway.auth" in words) == ("PERMISSION_DENIED", True), words
        assert await surface(ports, "", "secret") == "hello"
