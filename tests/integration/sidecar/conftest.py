"""What the sidecar did is shown with each failure; servers that a test starts are stopped, however it ends."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "sidecar")


@pytest.fixture
async def start() -> AsyncIterator[Callable[[Any], Awaitable[Any]]]:
    """Start a fake end and return it; it is stopped after the test."""
    started: list[Any] = []

    async def begin(server: Any) -> Any:
        await server.start()
        started.append(server)
        return server

    yield begin
    for server in started:
        await server.stop()
