"""Ports for programs that are told where to listen."""

import random
import socket

# Below the ports of outgoing connections on Linux and those of NodePorts, so that nothing but another listener has one
# of these; above those that `switchboard dev` and a control plane of tests draw for themselves
_FIRST, _LAST = 20_000, 29_999
# A port is given once in a run: between here and the start of its program nobody listens on it
_given: set[int] = set()


def free_port() -> int:
    """A port of the loopback on which nobody listens now; drawn at random, since several runs may look at once."""
    rng = random.SystemRandom()
    while True:
        port = rng.randint(_FIRST, _LAST)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
