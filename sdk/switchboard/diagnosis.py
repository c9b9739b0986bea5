"""Why a gateway cannot be reached, in words that say what to change: gRPC itself only says that it failed."""

import asyncio
import contextlib
import ssl
from typing import Final

from switchboard.credentials import Credentials, host_of

# The other end is there, or it is not; this is only about what it speaks
PROBE_S: Final = 2.0


async def explain(address: str, credentials: Credentials, details: str) -> str:
    """What is wrong with a connection that failed. details: what gRPC says of it."""
    try:
        if not credentials.tls:
            return await _explain_plain(address, details)
        return await _explain_tls(address, credentials, details)
    except (OSError, TimeoutError, ValueError):  # nobody is there, or it is no host:port: nothing more to tell
        return details


async def _explain_plain(address: str, details: str) -> str:
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE  # nothing is said on this connection
    try:
        await _shake_hands(address, anybody)
    except ssl.SSLError:
        return details
    return (
        "it speaks TLS, and this client plain text: set tls=True (--tls), or ca_file (--ca-file) for a CA of your own"
    )


async def _explain_tls(address: str, credentials: Credentials, details: str) -> str:
    try:
        await _shake_hands(address, credentials.context)
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message.rstrip(".")
        return f"its certificate is not trusted ({why}): ca_file (--ca-file) must have its CA, and the address its name"
    except (ssl.SSLError, ConnectionResetError):
        return "it speaks plain text, and this client TLS: set tls=False (--no-tls)"
    return details


async def _shake_hands(address: str, context: ssl.SSLContext) -> None:
    context.set_alpn_protocols(["h2"])
    host, port = host_of(address), int(address.rpartition(":")[2])
    async with asyncio.timeout(PROBE_S):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
