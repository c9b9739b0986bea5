"""An issuer of ServiceAccount tokens, EndpointSlices and a CA, as an installation has them; all made here."""

import datetime
import ipaddress
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from switchboard_identity.membership import CONTROLLER, MANAGED_BY_LABEL, SERVICE_LABEL
from switchboard_identity.tokens import KeySet, build_key_set
from switchboard_wire.names import LINKS_SERVICE, NODE_LABEL

ISSUER = "https://kubernetes.default.svc"
NOW = 1_800_000_000.0


@cache
def private_key(name: str) -> ec.EllipticCurvePrivateKey:
    """A key of this name, the same throughout a run."""
    return ec.generate_private_key(ec.SECP256R1())


def public_jwk(name: str) -> dict[str, Any]:
    """The public half, as a JWKS has it; the key's id is its name."""
    key: dict[str, Any] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private_key(name).public_key()))
    return key | {"kid": name, "alg": "ES256", "use": "sig"}


def key_set(*names: str, issuer: str = ISSUER) -> KeySet:
    return build_key_set(issuer, [public_jwk(name) for name in names])


@dataclass(frozen=True, slots=True)
class TokenOf:
    """What a token says; the defaults are those of a good one."""

    pod: str = "writers-1"
    pod_uid: str = "uid-1"
    namespace: str = "team"
    service_account: str = "writers"
    audience: tuple[str, ...] = ("switchboard",)
    issuer: str = ISSUER
    expires: float = NOW + 3600
    key: str = "key-1"
    algorithm: str = "ES256"
    extra: dict[str, Any] = field(default_factory=dict)

    def sign(self) -> str:
        bound = {
            "namespace": self.namespace,
            "pod": {"name": self.pod, "uid": self.pod_uid},
            "serviceaccount": {"name": self.service_account, "uid": "sa-uid"},
        }
        said = {
            "iss": self.issuer,
            "aud": list(self.audience),
            "exp": self.expires,
            "iat": self.expires - 3600,
            "nbf": self.expires - 3600,
            "sub": f"system:serviceaccount:{self.namespace}:{self.service_account}",
            "kubernetes.io": bound,
            **self.extra,
        }
        return jwt.encode(said, private_key(self.key), algorithm=self.algorithm, headers={"kid": self.key})


def pod_slice(
    node: str = "writers", *pods: tuple[str, str, str], namespace: str = "team", **changes: Any
) -> dict[str, Any]:
    """An EndpointSlice of an AgentNode's Service. pods: (name, uid, address). changes: of its labels."""
    labels = {SERVICE_LABEL: node, NODE_LABEL: node, MANAGED_BY_LABEL: CONTROLLER} | changes.get("labels", {})
    return {
        "metadata": {"name": f"{node}-abc", "namespace": namespace, "labels": labels},
        "endpoints": [
            {"addresses": [address], "targetRef": {"kind": "Pod", "name": name, "uid": uid}}
            for name, uid, address in pods
        ],
    }


def gateway_slice(*pods: tuple[str, str, str], namespace: str = "switchboard-system") -> dict[str, Any]:
    """An EndpointSlice of the gateways' Service."""
    made = pod_slice(LINKS_SERVICE, *pods, namespace=namespace)
    del made["metadata"]["labels"][NODE_LABEL]
    return made


@dataclass(frozen=True, slots=True)
class TestCa:
    """A CA that signs server certificates for names."""

    name: str
    __test__ = False

    @property
    def bundle(self) -> bytes:
        return self._certificate(self.name, self.name, is_ca=True)

    def sign(self, *names: str) -> tuple[bytes, bytes]:
        """(certificate, key) as PEM, for DNS names and addresses."""
        leaf = f"{self.name}/{names[0]}"
        key = private_key(leaf).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._certificate(leaf, leaf, names=names), key

    def write(self, folder: Path, *names: str) -> Path:
        """A folder as the mounted Secret is."""
        folder.mkdir(exist_ok=True)
        certificate, key = self.sign(*names)
        (folder / "tls.crt").write_bytes(certificate)
        (folder / "tls.key").write_bytes(key)
        (folder / "ca.crt").write_bytes(self.bundle)
        return folder

    def _certificate(self, subject: str, key: str, *, is_ca: bool = False, names: tuple[str, ...] = ()) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(self.name))
            .public_key(private_key(key).public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=24))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        return builder.sign(private_key(self.name), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
