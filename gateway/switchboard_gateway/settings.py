"""What the gateway is told from outside, read once at the start."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from switchboard_gateway.access.settings import AccessSettings
from switchboard_gateway.grpc_limits import GrpcLimits
from switchboard_identity.settings import IdentitySettings
from switchboard_wire import names

ENV_DIRECTORY = "SWITCHBOARD_DIRECTORY"  # kubernetes (the default), or announced
ENV_BIND = "SWITCHBOARD_BIND"
ENV_GRPC_PORT = "SWITCHBOARD_GRPC_PORT"
ENV_HTTP_PORT = "SWITCHBOARD_HTTP_PORT"
ENV_LINKS_PORT = "SWITCHBOARD_LINKS_PORT"
ENV_SESSION_PORT = "SWITCHBOARD_SESSION_PORT"
ENV_ZONE = "SWITCHBOARD_ZONE"
ENV_SESSION_AGENTS = "SWITCHBOARD_SESSION_AGENTS"  # true (the default) or false


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """announced: no Kubernetes; the agents are those that hosts announce. bind: address of the public ports.

    registries: host:port whose every address is an operator; empty: none.
    namespaces: those whose Agents are served; empty: all. zone: where this replica runs; empty: as the EndpointSlice of
    its pod, of UID `pod_uid`, says. session_port: of sessions that leave gRPC, 0 for any; reached_at: the IP address
    under which clients find it, empty when none is known. identity: TLS and tokens of the links. gateways: host:port
    whose every address is a peer; pod_ip: this replica's own. session_agents: clients' sessions may host agents.
    grpc: what a client on grpc_port may cost. access: who may call, and TLS of the clients' ports.
    """

    namespace: str = "default"
    instance: str = "gateway"
    pod_uid: str = ""
    zone: str = ""
    announced: bool = False
    namespaces: tuple[str, ...] = ()
    registries: str = ""
    gateways: tuple[str, ...] = ()
    pod_ip: str = ""
    session_agents: bool = True
    bind: str = "0.0.0.0"
    grpc_port: int = names.GATEWAY_GRPC_PORT
    http_port: int = names.GATEWAY_HTTP_PORT
    links_port: int = names.LINKS_PORT
    session_port: int = names.SESSION_PORT
    reached_at: str = ""
    ops_port: int = names.OPS_PORT
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    grpc: GrpcLimits = field(default_factory=GrpcLimits)
    access: AccessSettings = field(default_factory=AccessSettings)

    @staticmethod
    def from_environment(environ: Mapping[str, str] = os.environ) -> "GatewaySettings":
        """Read SWITCHBOARD_*. Raises ValueError, which names the variable."""
        directory = environ.get(ENV_DIRECTORY, "kubernetes")
        if directory not in ("kubernetes", "announced"):
            raise ValueError(f"{ENV_DIRECTORY} is {directory!r}: say kubernetes or announced")
        session_agents = environ.get(ENV_SESSION_AGENTS) or "true"
        if session_agents not in ("true", "false"):
            raise ValueError(f"{ENV_SESSION_AGENTS} is {session_agents!r}: say true or false")
        return GatewaySettings(
            namespace=environ.get(names.ENV_NAMESPACE, "default"),
            instance=environ.get(names.ENV_INSTANCE, "gateway"),
            pod_uid=environ.get(names.ENV_POD_UID, ""),
            zone=environ.get(ENV_ZONE, ""),
            announced=directory == "announced",
            namespaces=_list(environ, names.ENV_WATCH_NAMESPACES),
            registries=environ.get(names.ENV_REGISTRIES, ""),
            gateways=_list(environ, names.ENV_GATEWAYS),
            pod_ip=environ.get(names.ENV_POD_IP, ""),
            session_agents=session_agents == "true",
            bind=environ.get(ENV_BIND, "0.0.0.0"),
            grpc_port=_port(environ, ENV_GRPC_PORT, names.GATEWAY_GRPC_PORT),
            http_port=_port(environ, ENV_HTTP_PORT, names.GATEWAY_HTTP_PORT),
            links_port=_port(environ, ENV_LINKS_PORT, names.LINKS_PORT),
            session_port=_port(environ, ENV_SESSION_PORT, names.SESSION_PORT),
            reached_at=environ.get(names.ENV_POD_IP) or _own(environ.get(ENV_BIND, "")),
            ops_port=_port(environ, names.ENV_OPS_PORT, names.OPS_PORT),
            identity=IdentitySettings.from_environment(environ),
            grpc=GrpcLimits.from_environment(environ),
            access=AccessSettings.from_environment(environ),
        )


def _list(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in environ.get(name, "").split(",") if item.strip())


def _own(bind: str) -> str:
    """The address that the gateway listens on, when that is one and not all."""
    return "" if bind in ("", "0.0.0.0", "::") else bind


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError(f"{name} is {text!r}: say a port between 0 and 65535")
    return int(text)
