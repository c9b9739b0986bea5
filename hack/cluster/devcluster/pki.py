"""The certificates of a cluster: two authorities, what they sign, the service-account key, kubeconfigs.

Keys are elliptic curves, but for the service-account key: RS256 is what every reader of its tokens knows.
"""

import base64
import datetime
import ipaddress
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=365)
CLOCK_SKEW = datetime.timedelta(hours=1)  # certificates made on a machine whose clock is then put back stay valid


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority with its key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a certificate is for: a client when it names nobody's addresses, else a server at these."""

    name: str
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A signed certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


def make_authority(name: str, now: datetime.datetime) -> Authority:
    """Make a self-signed authority, valid for a year."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        certificate_for(subject, subject, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(key, builder.sign(key, hashes.SHA256()))


def issue(authority: Authority, identity: Identity, now: datetime.datetime) -> KeyPair:
    """Sign a certificate for the identity."""
    key = ec.generate_private_key(ec.SECP256R1())
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in identity.groups]
    subject = x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, identity.name)])
    usage = ExtendedKeyUsageOID.SERVER_AUTH if identity.addresses else ExtendedKeyUsageOID.CLIENT_AUTH
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        certificate_for(subject, authority.certificate.subject, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(issuer_key, critical=False)
    )
    if identity.addresses:
        names = x509.SubjectAlternativeName([general_name(address) for address in identity.addresses])
        builder = builder.add_extension(names, critical=False)
    signed = builder.sign(authority.key, hashes.SHA256())
    return KeyPair(signed.public_bytes(serialization.Encoding.PEM), pem_of(key))


def certificate_for(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    """Return what all certificates have in common."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
    )


def general_name(address: str) -> x509.GeneralName:
    """Return an IP address or a DNS name as certificates hold them."""
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the key in PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def make_service_account_keys() -> KeyPair:
    """Return the public (as `certificate`) and private key for service-account tokens."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return KeyPair(public, private)


def kubeconfig(server: str, authority_pem: bytes, user: KeyPair) -> str:
    """Return a kubeconfig with everything inside, so that it can be copied anywhere."""
    cluster = {"server": server, "certificate-authority-data": encoded(authority_pem)}
    credentials = {
        "client-certificate-data": encoded(user.certificate),
        "client-key-data": encoded(user.key),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "switchboard",
        "clusters": [{"name": "switchboard", "cluster": cluster}],
        "users": [{"name": "switchboard", "user": credentials}],
        "contexts": [{"name": "switchboard", "context": {"cluster": "switchboard", "user": "switchboard"}}],
    }
    return json.dumps(document, indent=1)


def encoded(content: bytes) -> str:
    """Return the content in base64."""
    return base64.b64encode(content).decode()


@dataclass(frozen=True, slots=True)
class Demand:
    """The certificates that a cluster needs: where its API server is and which nodes it has."""

    server: str
    server_addresses: tuple[str, ...]
    nodes: tuple[tuple[str, str], ...] = ()  # name, address


def write_all(folder: Path, demand: Demand, now: datetime.datetime) -> None:
    """Fill the folder, unless it was filled before: kubeconfigs that people hold stay valid over a repair."""
    done = folder / "complete"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority, front = make_authority("ca", now), make_authority("front-proxy-ca", now)
    for name, made in (("ca", authority), ("front-proxy-ca", front)):
        pem = made.certificate.public_bytes(serialization.Encoding.PEM)
        write_pair(folder, name, KeyPair(pem, pem_of(made.key)))
    servers = {"apiserver": Identity("kube-apiserver", addresses=demand.server_addresses)}
    clients = {"apiserver-kubelet-client": Identity("kube-apiserver-kubelet-client", ("system:masters",))}
    people = {
        "admin": Identity("kubernetes-admin", ("system:masters",)),
        "controller-manager": Identity("system:kube-controller-manager"),
        "scheduler": Identity("system:kube-scheduler"),
        "proxy": Identity("system:kube-proxy"),
    }
    for name, address in demand.nodes:
        servers[f"kubelet-{name}"] = Identity(f"system:node:{name}", ("system:nodes",), (name, address))
        people[f"node-{name}"] = Identity(f"system:node:{name}", ("system:nodes",))
    for name, identity in {**servers, **clients}.items():
        write_pair(folder, name, issue(authority, identity, now))
    write_pair(folder, "front-proxy-client", issue(front, Identity("front-proxy-client"), now))
    write_pair(folder, "service-account", make_service_account_keys())
    authority_pem = authority.certificate.public_bytes(serialization.Encoding.PEM)
    for name, identity in people.items():
        text = kubeconfig(demand.server, authority_pem, issue(authority, identity, now))
        write_private(folder / f"{name}.kubeconfig", text.encode())
    done.touch()


def write_pair(folder: Path, name: str, pair: KeyPair) -> None:
    """Write NAME.crt and NAME.key."""
    write_private(folder / f"{name}.crt", pair.certificate)
    write_private(folder / f"{name}.key", pair.key)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
