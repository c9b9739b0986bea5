"""The operator's certificate authorities: made, kept as a Secret's data, and what they sign. No I/O; `now` is given.

There are one or two: a successor is in the bundle for a while before it signs, and its predecessor stays in it, so that
whoever checks a certificate knows both ends of a rotation.
"""

import base64
import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BUNDLE: Final = "ca.crt"  # keys of the Secret: certificates, and their keys in the same order; the newest first
KEYS: Final = "ca.key"

AUTHORITY_LIFETIME: Final = datetime.timedelta(days=365)
# Renewed at half of its life, in memory: nobody has to revoke what ends within a day
LEAF_LIFETIME: Final = datetime.timedelta(hours=24)
# Every reader of the bundle has read it anew by then
SETTLED: Final = datetime.timedelta(minutes=15)
# Clocks of a cluster differ by less
CLOCK_SKEW: Final = datetime.timedelta(minutes=5)
# The newest and the one before
MOST: Final = 2

Key: TypeAlias = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Authority:
    """A key with its self-signed certificate."""

    key: Key
    certificate: x509.Certificate

    @property
    def made(self) -> datetime.datetime:
        """When it was made."""
        return self.certificate.not_valid_before_utc + CLOCK_SKEW


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A signed certificate and its key, both PEM, and when to have a new one."""

    certificate: bytes
    key: bytes
    renew_at: datetime.datetime


def make_authority(now: datetime.datetime) -> Authority:
    """A new authority, valid for AUTHORITY_LIFETIME."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "switchboard")])
    usage = {"digital_signature": True, "key_cert_sign": True, "crl_sign": True} | dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = (
        _certificate(name, name, key, now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(key, builder.sign(key, hashes.SHA256()))


def renew(
    authorities: Sequence[Authority],
    now: datetime.datetime,
    *,
    asked: bool = False,
    settled: datetime.timedelta = SETTLED,
) -> tuple[Authority, ...]:
    """The authorities as they should be: a successor from half of the newest one's life on, the newest first.

    asked: a successor is wanted now. It waits until all that the newest one's predecessor has signed is replaced.
    """
    due = AUTHORITY_LIFETIME / 2 if not asked else 2 * settled
    if authorities and now - authorities[0].made < due:
        return tuple(authorities)
    return (make_authority(now), *authorities)[:MOST]


def choose_signer(
    authorities: Sequence[Authority], now: datetime.datetime, settled: datetime.timedelta = SETTLED
) -> Authority:
    """The newest that everybody knows by now; the oldest when none has had the time."""
    return next((one for one in authorities if now - one.made >= settled), authorities[-1])


def issue(authority: Authority, dns_names: Iterable[str], now: datetime.datetime) -> KeyPair:
    """A certificate for a server of these names."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(name) for name in dns_names]
    # A common name holds 64 characters at most; who verifies looks at the alternative names
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0].value[:64])])
    issuer = authority.certificate
    builder = (
        _certificate(subject, issuer.subject, key, now, LEAF_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    signed = builder.sign(authority.key, hashes.SHA256())
    return KeyPair(_pem(signed), _pem_of_key(key), now + LEAF_LIFETIME / 2)


def bundle_of(authorities: Iterable[Authority]) -> bytes:
    """The certificates of all of them, PEM."""
    return b"".join(_pem(authority.certificate) for authority in authorities)


def write_authorities(authorities: Iterable[Authority]) -> dict[str, str]:
    """The `data` of their Secret."""
    kept = tuple(authorities)
    keys = b"".join(_pem_of_key(authority.key) for authority in kept)
    return {name: base64.b64encode(value).decode() for name, value in ((BUNDLE, bundle_of(kept)), (KEYS, keys))}


def read_authorities(data: Mapping[str, str]) -> tuple[Authority, ...]:
    """What is in a Secret's `data`, the newest first; raises ValueError when it is not what we write."""
    try:
        certificates = x509.load_pem_x509_certificates(base64.b64decode(data[BUNDLE]))
        blocks = base64.b64decode(data[KEYS]).split(_END)
        keys = [serialization.load_pem_private_key(block + _END, None) for block in blocks if block.strip()]
    except KeyError as missing:
        raise ValueError(f"the Secret has no {missing}") from missing
    authorities = [
        Authority(key, certificate)
        for key, certificate in zip(keys, certificates, strict=True)
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == certificate.public_key()
    ]
    if len(authorities) != len(certificates) or not authorities:
        raise ValueError("the keys of the Secret are not those of its certificates")
    return tuple(authorities)


_END: Final = b"-----END PRIVATE KEY-----\n"


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: Key, now: datetime.datetime, lifetime: datetime.timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
