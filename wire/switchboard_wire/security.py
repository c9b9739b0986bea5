"""What whoever dials needs: whom to trust, and a token to show. No checks here, and no library beyond grpc and ssl.

grpc is loaded by whoever opens a channel: a sidecar never does, and spares its 14 MB.
"""

import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from switchboard_wire.limits import CHANNEL_OPTIONS
from switchboard_wire.sockets import DialTls

if TYPE_CHECKING:
    from grpc import aio

log = logging.getLogger("switchboard.security")

Options = Sequence[tuple[str, Any]]
# What gRPC speaks over TLS (RFC 9113 3.2). Links and sessions, which are no HTTP, do not look at it
_ALPN: Final = "h2"


class NoTrustYet(OSError):
    """TLS is required and the certificates to trust are not known yet: try again."""


class Dialling:
    """How a sidecar or a gateway opens streams inside the installation. Without `bundle`: in plain text.

    bundle: the certificates to trust, as PEM, asked anew for every stream, so that a new CA counts at once; empty while
    unknown. token_path: the projected token, which kubelet renews. may_be_plain: asked when the other end of a link
    speaks no TLS, whether to go on without.
    """

    def __init__(
        self,
        bundle: Callable[[], bytes] | None = None,
        token_path: Path | None = None,
        may_be_plain: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bundle = bundle
        self._token_path = token_path
        self.may_be_plain = may_be_plain
        self._context: tuple[bytes, ssl.SSLContext] | None = None

    def tls(self, service: str) -> DialTls | None:
        """For a socket: checks that who answers is the Service. None: plain text. Raises NoTrustYet, ssl.SSLError."""
        if self._bundle is None:
            return None
        bundle = _known(self._bundle())
        if self._context is None or self._context[0] != bundle:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_3  # both ends are ours
            context.set_alpn_protocols([_ALPN])
            context.load_verify_locations(cadata=bundle.decode("ascii"))
            self._context = (bundle, context)
        return DialTls(self._context[1], service)

    def open_channel(self, address: str, service: str, options: Options = CHANNEL_OPTIONS) -> "aio.Channel":
        """A gRPC channel to one address of a Service, whose name the certificate must bear. Raises NoTrustYet."""
        if self._bundle is None or address.startswith("unix:"):
            from grpc import aio

            return aio.insecure_channel(address, options=options)
        return secure_channel(address, _known(self._bundle()), options, service)

    def token(self) -> str:
        """The token as it is now; empty when there is none."""
        if self._token_path is None:
            return ""
        try:
            return self._token_path.read_text(encoding="ascii").strip()
        except OSError as error:
            log.warning("no token", extra={"path": str(self._token_path), "reason": str(error)})
            return ""


PLAIN = Dialling()


def secure_channel(
    address: str, bundle: bytes | None, options: Options = CHANNEL_OPTIONS, name: str = ""
) -> "aio.Channel":
    """A TLS channel that trusts `bundle` alone; None: what grpc trusts. name: of the certificate, when not the host."""
    import grpc
    from grpc import aio

    if name:
        options = [*options, ("grpc.ssl_target_name_override", name)]
    return aio.secure_channel(address, grpc.ssl_channel_credentials(root_certificates=bundle), options=options)


def _known(bundle: bytes) -> bytes:
    if not bundle:
        raise NoTrustYet("TLS is required, and no CA bundle is known yet")
    return bundle
