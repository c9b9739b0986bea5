"""The ops port of every component: GET /livez, /readyz, /metrics, and what a component adds.

It runs in threads of its own, so that it answers while the event loop is busy, and can say when the loop hangs.
"""

import asyncio
import contextlib
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

log = logging.getLogger("switchboard.ops")

# Longer than any pause of a healthy loop, shorter than three probe periods of 10 s
LOOP_STALL_S = 15.0
# A client that sends nothing must not hold a thread for ever
IDLE_CLIENT_S = 60.0

Answer = tuple[int, str]  # HTTP status and a line of text


@dataclass(frozen=True, slots=True)
class OpsRoutes:
    """What the ops port answers. The callables run in a thread and may block; ready and livez must not.

    readiness: None when ready, else why not.  extra: GET path → answer.
    """

    readiness: Callable[[], str | None]
    extra: Mapping[str, Callable[[], Answer]] = field(default_factory=dict)
    registry: CollectorRegistry = REGISTRY


class _LoopPulse:
    """When the event loop last turned, by the monotonic clock."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    async def beat(self) -> None:
        while True:
            self._last = time.monotonic()
            await asyncio.sleep(1)

    def age_s(self) -> float:
        return time.monotonic() - self._last


@contextlib.asynccontextmanager
async def serve_ops(routes: OpsRoutes, port: int, host: str = "") -> AsyncIterator[int]:
    """Serve the ops port while the context is open; yields the port bound (of use when 0 was asked for)."""
    pulse = _LoopPulse()
    server = _Server((host, port), _handler(routes, pulse))
    thread = threading.Thread(target=server.serve_forever, name="ops", daemon=True)
    thread.start()
    beat = asyncio.create_task(pulse.beat())
    try:
        yield server.server_address[1]
    finally:
        beat.cancel()
        await asyncio.to_thread(server.shutdown)
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log as everything else does, where the base class prints. A prober that hangs up is no news."""
        error = sys.exc_info()[1]
        level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
        log.log(level, "request to the ops port failed", exc_info=error, extra={"from": str(client_address[0])})


def _handler(routes: OpsRoutes, pulse: _LoopPulse) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = IDLE_CLIENT_S

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, generate_latest(routes.registry), CONTENT_TYPE_LATEST)
                return
            status, text = self._text(path)
            self._answer(status, f"{text}\n".encode(), "text/plain; charset=utf-8")

        def _text(self, path: str) -> Answer:
            if path == "/livez":
                age = pulse.age_s()
                return (200, "ok") if age < LOOP_STALL_S else (503, f"event loop has not turned for {age:.0f} s")
            if path == "/readyz":
                reason = routes.readiness()
                return (200, "ok") if reason is None else (503, reason)
            extra = routes.extra.get(path)
            return extra() if extra else (404, "not found: /livez, /readyz, /metrics are here")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes every second are not news."""

    return Handler
