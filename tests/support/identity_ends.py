"""A sidecar in this process that shows a token over TLS, to gateways or operators on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from identity_fakes import NOW, TokenOf
from sidecar_ends import assignment, write_assignments

from switchboard_sidecar.settings import Settings
from switchboard_sidecar.sidecar import Sidecar

GOOD = TokenOf()
# What links and Registry refuse alike: the token, what else the sidecar says of itself, words of the reason
REFUSED_TOKENS = (
    pytest.param(replace(GOOD, expires=NOW - 60), {}, "expired", id="expired"),
    pytest.param(replace(GOOD, issuer="https://foreign"), {}, "issuer", id="of a foreign issuer"),
    pytest.param(replace(GOOD, audience=("vault",)), {}, "Audience", id="for another audience"),
    pytest.param(replace(GOOD, key="key-9"), {}, "does not publish", id="of an unknown key"),
    pytest.param(GOOD, {"node": "readers"}, "node is not its own", id="of another AgentNode"),
    pytest.param(GOOD, {"pod_uid": "uid-2"}, "pod_uid is not its own", id="of another pod"),
    pytest.param(GOOD, {"token_path": None}, "carries none", id="missing"),
)


@contextlib.asynccontextmanager
async def running_sidecar(
    folder: Path, token: TokenOf, bundle: bytes, *, plain_text: bool = False, **changes: object
) -> AsyncIterator[Sidecar]:
    """The sidecar of the pod that the token is for, in a folder of its own. plain_text: in its assignments."""
    folder.mkdir()
    (folder / "token").write_text(token.sign())
    path = folder / "assignments.json"
    write_assignments(path, assignment(http={"port": 1}), ca_bundle=bundle.decode(), plain_text=plain_text)
    settings = Settings(
        namespace=token.namespace,
        node=token.service_account,
        instance=token.pod,
        pod_uid=token.pod_uid,
        socket_path=folder / "host.sock",
        assignments_path=path,
        token_path=folder / "token",
        tls=True,
        ops_port=None,
    )
    sidecar = Sidecar(replace(settings, **changes))  # type: ignore[arg-type]
    stop = asyncio.Event()
    task = asyncio.create_task(sidecar.run(stop))
    try:
        yield sidecar
    finally:
        stop.set()
        await task
