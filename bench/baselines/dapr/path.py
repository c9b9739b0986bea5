"""Two daprd sidecars with mTLS and gRPC proxying between a Go client and a Go server."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path as File

from bench.building import go_program
from bench.paths import Path, loader
from bench.processes import free_port, process, wait_for_port

NAME, DIRECT = "Dapr", "Dapr's client, direct"
# The name resolver only fills a pattern with the app's id, so the id is the server's host
SERVER_ID = "localhost"
CONFIGURATION = """\
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {{name: bench}}
spec:
  nameResolution:
    component: nameformat
    configuration: {{format: "{{appid}}:{port}"}}
"""


@contextlib.contextmanager
def dapr_path(connections: int = 1) -> Iterator[Path]:
    """client → daprd → daprd → server. Raises Unavailable."""
    program, server_port, api_port = go_program("dapr"), free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        start = stack.enter_context
        internal_port, sentry_port = free_port(), free_port()
        configuration = File(folder, "config.yaml")
        configuration.write_text(CONFIGURATION.format(port=internal_port))
        shared = ["-config", str(configuration)]
        start(process([program, "sentry", "-credentials", folder, "-port", str(sentry_port), *shared]))
        wait_for_port(sentry_port)
        server = start(process([program, "serve", "-port", str(server_port)]))
        wait_for_port(server_port)
        shared += ["-anchors", f"{folder}/ca.crt", "-sentry", f"127.0.0.1:{sentry_port}"]

        def daprd(app: str, api: int, internal: int, *more: str) -> int:
            ports = ["-grpc-port", api, "-internal-port", internal, "-http-port", free_port(), "-metrics-port"]
            words = [str(word) for word in (*ports, free_port(), *more)]
            return start(process([program, "daprd", "-app-id", app, *words, *shared]))

        far = daprd(SERVER_ID, free_port(), internal_port, "-app-port", str(server_port))
        near = daprd("caller", api_port, free_port())
        for port in (internal_port, api_port):
            wait_for_port(port)
        load = start(
            loader(
                [
                    program,
                    "load",
                    "-address",
                    f"127.0.0.1:{api_port}",
                    "-app-id",
                    SERVER_ID,
                    "-connections",
                    str(connections),
                ]
            )
        )
        yield Path(NAME, {"caller's": near, "server's": far, "server": server}, load.measure)


@contextlib.contextmanager
def direct_path(connections: int = 1) -> Iterator[Path]:
    """The same client and server without anything in between. Raises Unavailable."""
    program, port = go_program("dapr"), free_port()
    with process([program, "serve", "-port", str(port)]) as server:
        wait_for_port(port)
        with loader([program, "load", "-address", f"127.0.0.1:{port}", "-connections", str(connections)]) as load:
            yield Path(DIRECT, {"server": server}, load.measure)
