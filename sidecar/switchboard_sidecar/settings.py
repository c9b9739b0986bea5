"""What a sidecar is told from outside: its identity, where its files are, whom to dial."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from switchboard_wire import names


@dataclass(frozen=True, slots=True)
class Settings:
    """One sidecar. gateways, registries: `host:port` (every address behind it is dialled) or `unix:PATH`.

    tls: never dial in plain text. ca_path: certificates to trust, in place of those that the assignments bring.

    ops_port: 0 takes any free port, None serves no ops port (of use when several sidecars share a process).
    """

    namespace: str = "default"
    node: str = ""
    instance: str = ""
    pod_uid: str = ""
    socket_path: Path = Path(names.SOCKET_PATH)
    assignments_path: Path = Path(names.ASSIGNMENTS_FOLDER, names.ASSIGNMENTS_FILE)
    token_path: Path | None = None
    tls: bool = False
    ca_path: Path | None = None
    gateways: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()
    ops_port: int | None = names.OPS_PORT
    version: str = ""

    @staticmethod
    def from_environment(environment: Mapping[str, str] | None = None) -> "Settings":
        """Read SWITCHBOARD_*; what is absent or empty takes its default. Raises ValueError that names the fault."""
        env = os.environ if environment is None else environment
        token, ca = env.get(names.ENV_TOKEN_FILE, ""), env.get(names.ENV_CA_FILE, "")
        return Settings(
            namespace=env.get(names.ENV_NAMESPACE) or "default",
            node=env.get(names.ENV_NODE, ""),
            instance=env.get(names.ENV_INSTANCE) or socket.gethostname(),
            pod_uid=env.get(names.ENV_POD_UID, ""),
            socket_path=Path(env.get(names.ENV_SOCKET) or names.SOCKET_PATH),
            assignments_path=Path(
                env.get(names.ENV_ASSIGNMENTS) or Path(names.ASSIGNMENTS_FOLDER, names.ASSIGNMENTS_FILE)
            ),
            token_path=Path(token) if token else None,
            tls=env.get(names.ENV_TLS, "") == "required",
            ca_path=Path(ca) if ca else None,
            gateways=_addresses(env.get(names.ENV_GATEWAYS, "")),
            registries=_addresses(env.get(names.ENV_REGISTRIES, "")),
            ops_port=_port(env.get(names.ENV_OPS_PORT) or str(names.OPS_PORT)),
            version=_version(),
        )


def _addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(part.strip() for part in text.split(",") if part.strip())
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not address.startswith("unix:") and not (host and port.isdecimal()):
            raise ValueError(f"{address!r} is no address: give host:port or unix:PATH")
    return addresses


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError(f"{names.ENV_OPS_PORT}={text!r} is no port: give a number from 0 to 65535")
    return int(text)


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("switchboard-agents")
    except metadata.PackageNotFoundError:  # run from a source folder
        return "dev"
