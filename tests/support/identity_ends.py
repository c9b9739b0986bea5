"""A sidecar in this process that shows a token over TLS, to gateways or operators on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from identity_fakes import TokenOf
from sidecar_ends import assignment, write_assignments

from switchboard_sidecar.settings import Settings
from switchboard_sidecar.sidecar import Sidecar


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
