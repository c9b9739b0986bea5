"""Ports for programs that are told where to listen."""

import random
import socket

# Below the ports of outgoing connections on Linux and those of NodePorts: nothing but another listener has one of these
_FIRST, _LAST = 15_000, 29_999


def free_port() -> int:
    """A port of the loopback on which nobody listens now; drawn at random, since many tests may look at once."""
    rng = random.SystemRandom()
    while True:
        port = rng.randint(_FIRST, _LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
