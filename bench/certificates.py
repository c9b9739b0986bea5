"""A certificate for the ports to which sidecars connect, and the settings that make both ends use it."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from switchboard_wire import names

VALID = datetime.timedelta(days=1)
SERVICES = (names.LINKS_SERVICE, names.REGISTRY_SERVICE)


@dataclass(frozen=True, slots=True)
class Tls:
    """A folder with tls.crt, tls.key and ca.crt."""

    folder: Path

    def gateway(self) -> dict[str, str]:
        """The environment of the end that answers."""
        return {names.ENV_TLS_FOLDER: str(self.folder)}

    def sidecar(self) -> dict[str, str]:
        """The environment of the end that dials."""
        return {names.ENV_TLS: "required", names.ENV_CA_FILE: str(self.folder / "ca.crt")}


def make_certificate(folder: Path) -> Tls:
    """Write a certificate of the Services of links and Registry, signed by itself, into the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names.LINKS_SERVICE)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - VALID)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(service) for service in SERVICES]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for file, content in (("tls.crt", chain), ("ca.crt", chain), ("tls.key", private)):
        (folder / file).write_bytes(content)
    return Tls(folder)
