"""The pings of a stream, by which either end notices that the other is cut off.

Free of gRPC, whose import costs a preStop hook more than all else that it does.
"""

import asyncio
from collections.abc import Callable

from switchboard_wire.limits import PING_INTERVAL_S, SILENT_PINGS
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

LoadReport = Callable[[], pb.Load]


class SilentError(Exception):
    """Nothing came from the other end for so long that it counts as cut off."""


async def keep_alive(peer: Peer, load: LoadReport | None) -> None:
    """Ping the other end for ever. Raises SilentError when nothing came from it for 2.3 to 2.9 s."""
    silent = 0
    number = 0
    while True:
        number += 1
        peer.send(pb.Frame(kind=pb.PING, ping=pb.Ping(number=number, load=load() if load else None)))
        await asyncio.sleep(PING_INTERVAL_S)
        silent = 0 if peer.heard else silent + 1
        peer.heard = False
        if silent >= SILENT_PINGS:
            raise SilentError(f"silent for {SILENT_PINGS * PING_INTERVAL_S:.1f} s")
