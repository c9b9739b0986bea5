"""The gateways' certificate as its Secret's data, and when it must be signed anew. No I/O; `now` is given."""

import base64
import datetime
from collections.abc import Mapping
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from switchboard_operator.authority import LEAF_LIFETIME, Authority, KeyPair
from switchboard_wire import names

GATEWAY_SECRET: Final = "switchboard-gateway-tls"
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
BUNDLE: Final = "ca.crt"


def gateway_names(namespace: str) -> list[str]:
    """What a gateway is called; the first is what sidecars and other gateways ask for."""
    return [
        names.LINKS_SERVICE,
        *_names_of(names.LINKS_SERVICE, namespace),
        *_names_of(names.GATEWAY_SERVICE, namespace),
    ]


def operator_names(namespace: str) -> list[str]:
    """What an operator is called on its Registry port."""
    return [names.REGISTRY_SERVICE, *_names_of(names.REGISTRY_SERVICE, namespace)]


def is_due(data: Mapping[str, str], signer: Authority, bundle: bytes, now: datetime.datetime) -> bool:
    """Whether a Secret lacks what it should hold: a certificate of this signer with half of its life left."""
    try:
        certificate = x509.load_pem_x509_certificate(base64.b64decode(data[CERTIFICATE]))
        held = base64.b64decode(data[BUNDLE])
        certificate.verify_directly_issued_by(signer.certificate)
    except (KeyError, ValueError, TypeError, InvalidSignature):
        return True
    is_old = now >= certificate.not_valid_after_utc - LEAF_LIFETIME / 2
    return is_old or held != bundle or KEY not in data


def write_certificate(pair: KeyPair, bundle: bytes) -> dict[str, str]:
    """The `data` of the Secret."""
    parts = {CERTIFICATE: pair.certificate, KEY: pair.key, BUNDLE: bundle}
    return {name: base64.b64encode(value).decode("ascii") for name, value in parts.items()}


def _names_of(service: str, namespace: str) -> list[str]:
    return [f"{service}.{namespace}", f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local"]
