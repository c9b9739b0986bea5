"""What a client shows to a gateway, and whom it trusts: a token, certificates, TLS or not."""

import logging
import os
import ssl
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

from grpc import aio

from switchboard_wire.names import ENV_CA_FILE, ENV_TLS, ENV_TOKEN, ENV_TOKEN_FILE, TOKEN_FOLDER
from switchboard_wire.security import secure_channel
from switchboard_wire.sockets import DialTls
from switchboard_wire.streams import open_channel

log = logging.getLogger("switchboard.credentials")

# Where a pod that calls agents mounts its projected token, and the certificates to trust beside it
POD_TOKEN = Path(TOKEN_FOLDER) / "token"
POD_CA = Path(TOKEN_FOLDER) / "ca.crt"
AUTHORIZATION = "authorization"
_LOCAL = ("localhost:", "127.", "[::1]:", "unix:")


class AccessOptions(TypedDict, total=False):
    """How a client proves who it is, and whom it believes."""

    token: str  # or SWITCHBOARD_TOKEN
    token_file: str | os.PathLike[str]  # or SWITCHBOARD_TOKEN_FILE, or the pod's own; read anew for each connection
    ca_file: str | os.PathLike[str]  # or SWITCHBOARD_CA_FILE: certificates to trust, as PEM; brings TLS with it
    tls: bool  # or SWITCHBOARD_TLS; left out: with `ca_file` alone


class Credentials:
    """As `resolve` found them. Files are read when they are needed: kubelet brings a fresh token now and then."""

    def __init__(
        self, *, token: str = "", token_path: Path | None = None, ca_path: Path | None = None, tls: bool = False
    ) -> None:
        self._token = token
        self.token_path = token_path
        self._ca_path = ca_path
        self.tls = tls
        self._warned = False

    @staticmethod
    def resolve(given: AccessOptions, environ: Mapping[str, str] = os.environ) -> "Credentials":
        """From arguments, else from the environment, else from the files of the pod."""
        token, token_path = given.get("token", ""), _path(given.get("token_file"))
        if not token and token_path is None:
            token, token_path = environ.get(ENV_TOKEN, ""), _path(environ.get(ENV_TOKEN_FILE))
        if not token and token_path is None and POD_TOKEN.is_file():
            token_path = POD_TOKEN
        ca_path = _path(given.get("ca_file")) or _path(environ.get(ENV_CA_FILE))
        if ca_path is None and POD_CA.is_file():
            ca_path = POD_CA
        tls = given.get("tls")
        if tls is None:
            said = environ.get(ENV_TLS, "").lower()
            tls = said not in ("false", "no", "0") if said else ca_path is not None
        return Credentials(token=token, token_path=None if token else token_path, ca_path=ca_path, tls=tls)

    def token(self) -> str:
        """The token as it is now; empty when there is none. Raises OSError for a file that cannot be read."""
        return self._token if self.token_path is None else self.token_path.read_text(encoding="ascii").strip()

    def metadata(self, address: str) -> list[tuple[str, str]]:
        """What goes with each gRPC request to an address. Raises OSError."""
        token = self.token()
        if token and not self.tls and not self._warned and not address.startswith(_LOCAL):
            self._warned = True
            log.warning("the token goes over the network in plain text: use TLS", extra={"address": address})
        return [(AUTHORIZATION, f"Bearer {token}")] if token else []

    def open_channel(self, address: str) -> aio.Channel:
        """A channel of its own to a gateway. Raises OSError for certificates that cannot be read."""
        return secure_channel(address, self._bundle()) if self.tls else open_channel(address)

    def dial_tls(self, gateway: str) -> DialTls | None:
        """For the socket of a session with a gateway, whose certificate bears the name that was dialled first."""
        return DialTls(self.context, host_of(gateway)) if self.tls else None

    @cached_property
    def context(self) -> ssl.SSLContext:
        """Trusts what gRPC trusts. Raises OSError."""
        context = ssl.create_default_context(cafile=str(self._ca_path) if self._ca_path is not None else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def _bundle(self) -> bytes | None:
        """None: what grpc itself trusts, where the system keeps its certificates in no one file."""
        if self._ca_path is not None:
            return self._ca_path.read_bytes()
        system = ssl.get_default_verify_paths().cafile
        return Path(system).read_bytes() if system is not None else None


NOTHING = Credentials()


def host_of(address: str) -> str:
    """The host of host:port."""
    return address.rpartition(":")[0].strip("[]")


def _path(given: Any) -> Path | None:
    return Path(given) if given else None
