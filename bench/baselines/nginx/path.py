"""nginx with grpc_pass between h2load and an echo server, all of it C."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path as File

from bench.building import c_program, require
from bench.h2load import Request, load
from bench.load import Measured, Task
from bench.paths import Path
from bench.processes import free_port, process, wait_for_port

NAME = "nginx"
# Of 1, 4, 16, 32 and 128 connections, and of one worker and two, on two cores: the least CPU time per call
CONNECTIONS = 4
# Nothing on the disk, no log, connections to the server that are kept, one for each call under way
CONFIGURATION = """\
daemon off;
worker_processes 2;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000; keepalive_timeout 1h; http2_max_concurrent_streams 1024;
  client_body_buffer_size 64k; client_max_body_size 0; tcp_nodelay on;
  upstream server {{ server 127.0.0.1:{server_port}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} http2 reuseport; location / {{ grpc_pass grpc://server; }} }}
}}
"""


@contextlib.contextmanager
def nginx_path() -> Iterator[Path]:
    """Raises Unavailable."""
    (nginx,) = require("nginx-light", "nginx")
    require("nghttp2-client", "h2load")
    echo = c_program(File(__file__).with_name("echo.c"), "libnghttp2-dev", "-lnghttp2")
    port, server_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        configuration = File(folder, "nginx.conf")
        configuration.write_text(CONFIGURATION.format(folder=folder, port=port, server_port=server_port))
        with (
            process([echo, str(server_port)]) as server,
            process([nginx, "-c", configuration, "-e", "stderr"]) as proxy,
        ):
            wait_for_port(server_port)
            wait_for_port(port)
            headers = ("content-type: application/grpc", "te: trailers")
            url = f"http://127.0.0.1:{port}/bench.Direct/Echo"

            def measure(task: Task) -> Measured:
                return load(Request(url, b"x" * task.payload, headers, task.payload), task, CONNECTIONS)

            yield Path(NAME, {"nginx": proxy, "server": server}, measure)
