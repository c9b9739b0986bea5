"""The public gRPC port: its services and its limits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from grpc import aio

from switchboard_gateway import health
from switchboard_gateway.access.certificate import ClientCertificate
from switchboard_gateway.grpc_limits import GrpcLimits
from switchboard_gateway.public import PublicApi
from switchboard_identity.serving import server_credentials

SERVICE: Final = "switchboard.v1.Gateway"
# Streams are closed after this when the other end does not
STOP_GRACE_S: Final = 0.5


@asynccontextmanager
async def serve_grpc(
    address: str,
    public: PublicApi,
    checks: health.HealthApi,
    limits: GrpcLimits,
    certificate: ClientCertificate | None = None,
) -> AsyncIterator[int]:
    """Serve while open; yields the port bound. certificate: None: plain text."""
    server = aio.server(options=limits.server_options())
    server.add_generic_rpc_handlers((public.handler(), checks.handler()))
    if limits.reflection:
        # Imported here: it loads the descriptors of a protocol that few installations use
        from grpc_reflection.v1alpha import reflection

        reflection.enable_server_reflection((SERVICE, health.SERVICE, reflection.SERVICE_NAME), server)
    if certificate is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, server_credentials(certificate.source))
    await server.start()
    try:
        yield port
    finally:
        await server.stop(STOP_GRACE_S)
