"""What whoever dials needs: whom to trust, and a token to show. No checks here, and no library beyond grpc."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from switchboard_wire.limits import CHANNEL_OPTIONS

log = logging.getLogger("switchboard.security")

Options = Sequence[tuple[str, Any]]


class NoTrustYet(Exception):
    """TLS is required and the certificates to trust are not known yet: try again."""


@dataclass(frozen=True, slots=True)
class Dialling:
    """How a sidecar or a gateway opens streams inside the installation. Without `bundle`: in plain text.

    bundle: the certificates to trust, as PEM, asked anew for every channel, so that a new CA counts at once; empty
    while unknown. token_path: the projected token, which kubelet renews.
    """

    bundle: Callable[[], bytes] | None = None
    token_path: Path | None = None

    def open_channel(self, address: str, service: str, options: Options = CHANNEL_OPTIONS) -> aio.Channel:
        """A channel to one address of a Service, whose name the certificate must bear. Raises NoTrustYet."""
        if self.bundle is None or address.startswith("unix:"):
            return aio.insecure_channel(address, options=options)
        return secure_channel(address, self.bundle(), options, service)

    def token(self) -> str:
        """The token as it is now; empty when there is none."""
        if self.token_path is None:
            return ""
        try:
            return self.token_path.read_text(encoding="ascii").strip()
        except OSError as error:
            log.warning("no token", extra={"path": str(self.token_path), "reason": str(error)})
            return ""


def secure_channel(address: str, bundle: bytes, options: Options = CHANNEL_OPTIONS, name: str = "") -> aio.Channel:
    """A TLS channel that trusts `bundle` alone. name: what the certificate must bear, when not the address's host."""
    if not bundle:
        raise NoTrustYet(f"no CA bundle yet to trust {address} by")
    if name:
        options = [*options, ("grpc.ssl_target_name_override", name)]
    return aio.secure_channel(address, grpc.ssl_channel_credentials(root_certificates=bundle), options=options)
