"""The server under test."""

from collections.abc import AsyncIterator

import pytest
from rest_server import Rest, serving


@pytest.fixture
async def rest() -> AsyncIterator[Rest]:
    async with serving() as found:
        yield found
