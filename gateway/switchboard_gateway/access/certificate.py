"""The certificate of the ports of clients, from a mounted Secret that may change at any time."""

import logging
import ssl
import tempfile
from pathlib import Path

from switchboard_identity.serving import CERTIFICATE_FILE, KEY_FILE, Certificate, CertificateFolder, ReloadingContext

log = logging.getLogger("switchboard.gateway.access")


class NoCertificate(Exception):
    """TLS is asked for and there is no certificate to show. The text says which file is at fault, and what to do."""


class SoundFolder:
    """A mounted Secret whose certificate is tried before it is used: a broken one never takes a sound one's place.

    Has `read` as a CertificateSource has it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._source = CertificateFolder(folder)
        self._sound: Certificate | None = None
        self._seen: Certificate | None = None

    def read(self) -> Certificate:
        """The newest sound certificate. Raises OSError when there has been none yet."""
        found = self._source.read()
        if found != self._seen:
            self._seen = found
            try:
                _try(found)
            except OSError as error:
                if self._sound is None:
                    self._seen = None
                    raise
                extra = {"folder": str(self._folder), "reason": str(error)}
                log.error("the new certificate is not sound; the former one serves", extra=extra)
                return self._sound
            self._sound = found
        assert self._sound is not None
        return self._sound


class ClientCertificate:
    """For all ports of clients: `context` for sockets, `source` for gRPC. TLS 1.2 at least, also over gRPC, whose own
    minimum that is."""

    def __init__(self, folder: Path) -> None:
        """Raises NoCertificate."""
        self.source = SoundFolder(folder)
        try:
            self._reloading = ReloadingContext(self.source, clients=True)
        except FileNotFoundError as error:
            raise NoCertificate(
                f"{error.filename} is not there: the Secret needs {CERTIFICATE_FILE} and {KEY_FILE}"
            ) from error
        except OSError as error:
            raise NoCertificate(
                f"{folder}: {CERTIFICATE_FILE} and {KEY_FILE} are no certificate chain with its key, as PEM: {error}"
            ) from error

    @property
    def context(self) -> ssl.SSLContext:
        return self._reloading.context

    async def keep(self) -> None:
        """Take a new certificate when the Secret changes, for ever."""
        await self._reloading.keep()


def _try(certificate: Certificate) -> None:
    """Raise OSError (ssl.SSLError is one) for what cannot be shown to a client."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate.key + certificate.chain)
        file.flush()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file.name)
