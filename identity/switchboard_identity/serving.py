"""Server certificates that may change at any time: each handshake takes the newest."""

import asyncio
import logging
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import grpc

log = logging.getLogger("switchboard.identity")

CERTIFICATE_FILE: Final = "tls.crt"
KEY_FILE: Final = "tls.key"
BUNDLE_FILE: Final = "ca.crt"
# kubelet brings a new Secret within a minute or two; a certificate is renewed half a day before it ends
RELOAD_S: Final = 10.0

Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its key, as PEM."""

    chain: bytes
    key: bytes


class CertificateSource(Protocol):
    """Where a server's certificate comes from."""

    def read(self) -> Certificate:
        """The newest certificate. Raises OSError when there is none yet."""
        ...


class CertificateFolder:
    """A mounted Secret of type kubernetes.io/tls; it is read again when its files have changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: Stamp | None = None
        self._held: Certificate | None = None

    def read(self) -> Certificate:
        stamp = self._look()
        if self._held is None or stamp != self._stamp:
            held = Certificate((self._folder / CERTIFICATE_FILE).read_bytes(), (self._folder / KEY_FILE).read_bytes())
            if self._held is not None:
                log.info("a new certificate", extra={"folder": str(self._folder)})
            self._held, self._stamp = held, stamp
        return self._held

    def bundle(self) -> bytes:
        """The certificates to trust, as PEM; empty when there are none yet."""
        try:
            return (self._folder / BUNDLE_FILE).read_bytes()
        except OSError:
            return b""

    def _look(self) -> Stamp:
        found = (self._folder / CERTIFICATE_FILE).stat()
        return found.st_ino, found.st_mtime_ns


def server_credentials(source: CertificateSource) -> grpc.ServerCredentials:
    """For a gRPC port: server-side TLS, no client certificates. Raises OSError when there is no certificate yet."""
    held = source.read()
    current = _configuration(held)

    def fetch() -> Any:
        """Called by grpc for each handshake, in threads of its own; None keeps what is there."""
        nonlocal held
        try:
            newest = source.read()
        except OSError as error:
            log.warning("the certificate cannot be read; the former one serves", extra={"reason": str(error)})
            return None
        if newest == held:
            return None
        held = newest
        return _configuration(newest)

    return grpc.dynamic_ssl_server_credentials(current, fetch, require_client_authentication=False)


def _configuration(certificate: Certificate) -> Any:
    return grpc.ssl_server_certificate_configuration([(certificate.key, certificate.chain)])


class ReloadingContext:
    """TLS for a port of sockets: `context` is the newest certificate's after each `reload`, for new handshakes.

    clients: whether anybody may connect, as from outside; else both ends are ours and speak TLS 1.3.
    """

    def __init__(self, source: CertificateSource, *, clients: bool = False) -> None:
        self._source = source
        self._held: Certificate | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2 if clients else ssl.TLSVersion.TLSv1_3
        self.reload()

    def reload(self) -> None:
        """Take a new certificate if there is one. Raises OSError the first time, when there is none."""
        try:
            newest = self._source.read()
            if newest != self._held:
                _load(self.context, newest)
                self._held = newest
        except OSError as error:
            if self._held is None:
                raise
            log.warning("the certificate cannot be read; the former one serves", extra={"reason": str(error)})

    async def keep(self) -> None:
        """Reload for ever."""
        while True:
            await asyncio.sleep(RELOAD_S)
            self.reload()


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    # The ssl module reads files alone; this one is nobody else's, and gone at once
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate.key + certificate.chain)
        file.flush()
        context.load_cert_chain(file.name)
