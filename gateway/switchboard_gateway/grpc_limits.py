"""What one gRPC client may cost the gateway on its public port."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from switchboard_wire.limits import MAX_MESSAGE_BYTES

ENV_MAX_REQUEST_BYTES: Final = "SWITCHBOARD_GRPC_MAX_REQUEST_BYTES"
ENV_MAX_METADATA_BYTES: Final = "SWITCHBOARD_GRPC_MAX_METADATA_BYTES"
ENV_MAX_STREAMS: Final = "SWITCHBOARD_GRPC_MAX_STREAMS"
ENV_HANDSHAKE_SECONDS: Final = "SWITCHBOARD_GRPC_HANDSHAKE_SECONDS"
ENV_CONNECTION_AGE_SECONDS: Final = "SWITCHBOARD_GRPC_CONNECTION_AGE_SECONDS"
ENV_CONNECTION_GRACE_SECONDS: Final = "SWITCHBOARD_GRPC_CONNECTION_GRACE_SECONDS"
ENV_REFLECTION: Final = "SWITCHBOARD_GRPC_REFLECTION"
DAY_S: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """Sizes in bytes, times in seconds."""

    # One request without a session; the SDK's sessions send 256 KiB at a time, so less than this would break them
    max_request_bytes: int = MAX_MESSAGE_BYTES
    # Headers of one request, names and values
    max_metadata_bytes: int = 16 * 1024
    # Requests at once on one connection: one that has more waits in its client
    max_streams: int = 1000
    # A connection that has not finished its HTTP/2 preface, or TLS, by then is closed
    handshake_s: int = 5
    # Connections and sessions are asked to begin anew after this time, so that new replicas get their share; 0: never
    connection_age_s: float = 1800
    # What calls on them may take after that
    connection_grace_s: float = 600
    # Tell anybody which services there are
    reflection: bool = False

    @staticmethod
    def from_environment(environ: Mapping[str, str]) -> "GrpcLimits":
        """Read SWITCHBOARD_GRPC_*. Raises ValueError, which names the variable."""
        usual = GrpcLimits()
        return GrpcLimits(
            max_request_bytes=_number(environ, ENV_MAX_REQUEST_BYTES, usual.max_request_bytes, MAX_MESSAGE_BYTES),
            max_metadata_bytes=_number(environ, ENV_MAX_METADATA_BYTES, usual.max_metadata_bytes, 1024),
            max_streams=_number(environ, ENV_MAX_STREAMS, usual.max_streams, 1),
            handshake_s=_number(environ, ENV_HANDSHAKE_SECONDS, usual.handshake_s, 1),
            connection_age_s=_number(environ, ENV_CONNECTION_AGE_SECONDS, int(usual.connection_age_s), 0),
            connection_grace_s=_number(environ, ENV_CONNECTION_GRACE_SECONDS, int(usual.connection_grace_s), 0),
            reflection=_flag(environ, ENV_REFLECTION),
        )

    def server_options(self) -> list[tuple[str, int]]:
        """For grpc.aio.server. grpc itself spreads the age by a tenth in either direction."""
        options = [
            ("grpc.max_receive_message_length", self.max_request_bytes),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            # Between the two, grpc refuses at random: one limit is easier to explain
            ("grpc.max_metadata_size", self.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.max_metadata_bytes),
            ("grpc.max_concurrent_streams", self.max_streams),
            ("grpc.server_handshake_timeout_ms", self.handshake_s * 1000),
            ("grpc.so_reuseport", 0),
        ]
        if self.connection_age_s:
            options += [
                ("grpc.max_connection_age_ms", int(self.connection_age_s * 1000)),
                ("grpc.max_connection_age_grace_ms", int(self.connection_grace_s * 1000)),
            ]
        return options


def _number(environ: Mapping[str, str], name: str, default: int, least: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= least):
        raise ValueError(f"{name} is {text!r}: say a whole number from {least}")
    return int(text)


def _flag(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name) or "false"
    if text not in ("true", "false"):
        raise ValueError(f"{name} is {text!r}: say true or false")
    return text == "true"
