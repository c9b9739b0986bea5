"""Who asks, as the API server in front says it: its client certificate, and headers that count only with it. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

# The ConfigMap that every API server with an aggregation layer publishes
NAMESPACE: Final = "kube-system"
CONFIG_MAP: Final = "extension-apiserver-authentication"


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """Which proxy is believed, and where it writes whom it speaks for. No allowed_names: whoever the CA has signed."""

    ca: str
    allowed_names: tuple[str, ...]
    user_headers: tuple[str, ...]
    group_headers: tuple[str, ...]
    extra_prefixes: tuple[str, ...]
    uid_headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class User:
    """For whom a request is made."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


def read_front_proxy(data: Mapping[str, str]) -> FrontProxy | None:
    """What the ConfigMap says; None when the API server has no aggregation layer. Raises ValueError."""
    if not (ca := data.get("requestheader-client-ca-file", "").strip()):
        return None
    return FrontProxy(
        ca=ca,
        allowed_names=_names(data, "requestheader-allowed-names"),
        user_headers=_names(data, "requestheader-username-headers"),
        group_headers=_names(data, "requestheader-group-headers"),
        extra_prefixes=_names(data, "requestheader-extra-headers-prefix"),
        uid_headers=_names(data, "requestheader-uid-headers"),
    )


def identify(proxy: FrontProxy, common_name: str | None, headers: Iterable[tuple[str, str]]) -> User | None:
    """The user of a request; None unless the peer has shown a certificate of the proxy's CA with an allowed name."""
    if common_name is None or (proxy.allowed_names and common_name not in proxy.allowed_names):
        return None
    sent = [(name.lower(), value) for name, value in headers if value]
    names = _values(sent, proxy.user_headers)
    if not names:
        return None
    uids = _values(sent, proxy.uid_headers)
    groups = tuple(_values(sent, proxy.group_headers))
    return User(names[0], groups, uids[0] if uids else "", _extra(sent, proxy.extra_prefixes))


def common_name_of(certificate: Mapping[str, Any] | None) -> str | None:
    """The common name of a verified peer certificate, in the form of the ssl module; None without one."""
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None


def _names(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    listed = json.loads(data.get(key) or "[]")
    if not isinstance(listed, list):
        raise ValueError(f"{key} of ConfigMap {NAMESPACE}/{CONFIG_MAP} is no list")
    return tuple(str(name) for name in listed)


def _values(sent: Sequence[tuple[str, str]], wanted: Iterable[str]) -> list[str]:
    lowered = [name.lower() for name in wanted]
    return [value for name in lowered for header, value in sent if header == name]


def _extra(sent: Sequence[tuple[str, str]], prefixes: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, list[str]] = {}
    for prefix in (prefix.lower() for prefix in prefixes):
        for header, value in sent:
            if header.startswith(prefix):
                found.setdefault(unquote(header.removeprefix(prefix)), []).append(value)
    return tuple(sorted((key, tuple(values)) for key, values in found.items()))
