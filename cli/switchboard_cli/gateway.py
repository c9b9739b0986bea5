"""Which gateway a command talks to, and how: the options that several commands share."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from switchboard_wire.names import (
    ENV_CA_FILE,
    ENV_CONNECT_TIMEOUT,
    ENV_GATEWAY,
    ENV_TLS,
    ENV_TOKEN,
    ENV_TOKEN_FILE,
    GATEWAY_GRPC_PORT,
)

if TYPE_CHECKING:
    from switchboard import Client
    from switchboard.credentials import AccessOptions

R = TypeVar("R")

# A gateway on the same machine or cluster answers in milliseconds; a person should not wait longer to learn of a typo
CONNECT_S = 3.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """address: host:port of its gRPC. access: what the client shows and whom it trusts. connect_timeout_s: Client's."""

    address: str
    access: "AccessOptions"
    connect_timeout_s: float = CONNECT_S

    def client(self) -> "Client":
        """A client of it, to be entered."""
        from switchboard import Client

        return Client(self.address, connect_timeout_s=self.connect_timeout_s, **self.access)


def with_gateway(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command --gateway and the options of access; it gets them as one `gateway`."""

    @functools.wraps(command)
    def run(
        gateway: str,
        connect_timeout: float,
        token_file: str | None,
        ca_file: str | None,
        tls: bool | None,
        **others: Any,
    ) -> R:
        access: AccessOptions = {}
        if token_file:
            access["token_file"] = token_file
        if ca_file:
            access["ca_file"] = ca_file
        if tls is not None:
            access["tls"] = tls
        return command(gateway=Gateway(gateway, access, connect_timeout), **others)

    made: Callable[..., R] = run
    for option in reversed(_OPTIONS):
        made = option(made)
    return made


_FILE = click.Path(exists=True, dir_okay=False)
_OPTIONS = (
    click.option(
        "--gateway",
        "-g",
        metavar="HOST:PORT",
        envvar=ENV_GATEWAY,
        default=f"localhost:{GATEWAY_GRPC_PORT}",
        show_default=True,
        show_envvar=True,
        help="The gateway's gRPC address.",
    ),
    click.option(
        "--connect-timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        envvar=ENV_CONNECT_TIMEOUT,
        default=CONNECT_S,
        show_default=True,
        show_envvar=True,
        help="How long to try to reach it.",
    ),
    click.option(
        "--token-file",
        metavar="FILE",
        type=_FILE,
        help=f"Holds the token to show.  [env var: {ENV_TOKEN_FILE}; {ENV_TOKEN} is the token itself]",
    ),
    click.option(
        "--ca-file",
        metavar="FILE",
        type=_FILE,
        help=f"Certificates to trust, as PEM; brings TLS with it.  [env var: {ENV_CA_FILE}]",
    ),
    click.option("--tls/--no-tls", default=None, help=f"Speak TLS, or plain text.  [env var: {ENV_TLS}]"),
)
