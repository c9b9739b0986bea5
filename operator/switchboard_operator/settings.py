"""What the operator's Deployment tells it, from the environment."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from switchboard_identity.settings import IdentitySettings
from switchboard_operator.signals import Source
from switchboard_wire import names


@dataclass(frozen=True, slots=True)
class Settings:
    """One operator process. `namespaces` empty: all of them.

    checks_clients: the gateways ask clients for tokens; for what Agents' status tells.
    own_ca: it keeps a CA of its own; else the certificate comes from `trust.tls_folder`, or there is no TLS.
    """

    namespace: str
    identity: str
    sidecar_image: str
    host_image: str
    image_pull_policy: str
    gateways: str
    registries: str
    namespaces: tuple[str, ...]
    registry_port: int
    ops_port: int
    metrics_port: int
    metrics_apis: tuple[Source, ...]

    @property
    def source(self) -> Source:
        """From which API our autoscalers read."""
        return next((source for source in (Source.CUSTOM, Source.EXTERNAL) if source in self.metrics_apis), Source.NONE)

    own_ca: bool
    ca_settled_s: float
    checks_clients: bool
    trust: IdentitySettings

    @property
    def tls(self) -> bool:
        """Whether the streams inside the installation are TLS."""
        return self.own_ca or self.trust.tls_folder is not None


def read_settings(env: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process; every one has a default that fits the chart."""
    namespace = env.get(names.ENV_NAMESPACE, "switchboard-system")
    return Settings(
        namespace=namespace,
        identity=env.get(names.ENV_INSTANCE) or socket.gethostname(),
        sidecar_image=env.get(names.ENV_SIDECAR_IMAGE, "switchboard/sidecar:latest"),
        host_image=env.get(names.ENV_HOST_IMAGE, "switchboard/host:latest"),
        image_pull_policy=env.get(names.ENV_IMAGE_PULL_POLICY, "IfNotPresent"),
        gateways=env.get(names.ENV_GATEWAYS, f"{names.LINKS_SERVICE}.{namespace}.svc:{names.LINKS_PORT}"),
        registries=env.get(names.ENV_REGISTRIES, f"{names.REGISTRY_SERVICE}.{namespace}.svc:{names.REGISTRY_PORT}"),
        namespaces=tuple(filter(None, env.get(names.ENV_WATCH_NAMESPACES, "").replace(" ", "").split(","))),
        registry_port=int(env.get("SWITCHBOARD_REGISTRY_PORT", names.REGISTRY_PORT)),
        metrics_port=int(env.get("SWITCHBOARD_METRICS_PORT", names.METRICS_API_PORT)),
        metrics_apis=_sources(env.get(names.ENV_METRICS_APIS, "")),
        ops_port=int(env.get(names.ENV_OPS_PORT, names.OPS_PORT)),
        own_ca=env.get(names.ENV_TLS, "") == "own",
        ca_settled_s=float(env.get(names.ENV_CA_SETTLED) or 900),
        checks_clients=env.get(names.ENV_AUTH, "") == "kubernetes",
        trust=IdentitySettings.from_environment({names.ENV_POD_NAMESPACE: namespace, **env}),
    )


def _sources(text: str) -> tuple[Source, ...]:
    """The APIs that are switched on; raises ValueError for a word that is none."""
    return tuple(Source(word) for word in text.replace(" ", "").split(",") if word)
