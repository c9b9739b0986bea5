"""The ops port on a real socket."""

import asyncio
import logging
import socket
import struct
import urllib.error
import urllib.request

import pytest

from switchboard_runtime.ops import OpsRoutes, serve_ops

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0


async def logged(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    async with asyncio.timeout(PATIENCE_S):
        while not (found := [record for record in caplog.records if record.name == "switchboard.ops"]):
            await asyncio.sleep(0.01)
    return found[0]


async def test_a_request_that_fails_is_logged_and_not_printed(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def readiness() -> str | None:
        raise ValueError("no idea")

    async with serve_ops(OpsRoutes(readiness), 0, "127.0.0.1") as port:
        with pytest.raises(OSError):
            await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE_S)
        record = await logged(caplog)
    assert (record.levelname, str(record.exc_info and record.exc_info[1])) == ("ERROR", "no idea")
    assert "no idea" not in capfd.readouterr().err  # libraries may say something of their own


async def test_a_prober_that_hangs_up_is_no_news(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, "switchboard.ops")
    async with serve_ops(OpsRoutes(lambda: None), 0, "127.0.0.1") as port:
        client = socket.create_connection(("127.0.0.1", port))
        client.send(b"GET /livez HTTP/1.1\r\n")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # with a reset
        assert (await logged(caplog)).levelname == "DEBUG"
    assert "Traceback" not in capfd.readouterr().err
