"""An operator's Registry port without a cluster behind it: it takes every sidecar, and has no assignments for any.

`python -m bench.loaders.registry PORT [FOLDER]`: FOLDER has tls.crt and tls.key; without it in plain text.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvloop

from switchboard_identity.serving import CertificateFolder, server_credentials
from switchboard_operator.demand import Demands
from switchboard_operator.registry import Registry
from switchboard_operator.registry_server import Answering, Board, RegistryService, serve_registry
from switchboard_wire.v1.instances_pb2 import InstanceList, InstanceQuery

NAME, POOL = "bench-operator", ("default", "bench")
INTERVAL_MS = 2000


async def answer(query: InstanceQuery, context: Any) -> InstanceList:
    """Nobody asks here."""
    return InstanceList(operator=NAME)


async def main(port: int, folder: Path | None) -> None:
    board = Board()
    board.set_interval(POOL, INTERVAL_MS)
    service = RegistryService(Registry(started=0.0), board, Demands(), lambda pool: None, NAME)
    credentials = server_credentials(CertificateFolder(folder)) if folder is not None else None
    async with serve_registry(Answering(service.connect, answer), port, "127.0.0.1", credentials):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
