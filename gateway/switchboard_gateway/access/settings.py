"""Who may call, and how the ports of clients are protected, as the environment says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from switchboard_wire.names import ENV_AUTH, ENV_TRUST_DOMAIN, TOKEN_AUDIENCE

ENV_AUDIENCE: Final = "SWITCHBOARD_AUTH_AUDIENCE"
ENV_CACHE_SECONDS: Final = "SWITCHBOARD_AUTH_CACHE_SECONDS"
ENV_OUTAGE_SECONDS: Final = "SWITCHBOARD_AUTH_OUTAGE_SECONDS"
ENV_TLS_FOLDER: Final = "SWITCHBOARD_CLIENT_TLS_FOLDER"
NONE: Final = "none"
KUBERNETES: Final = "kubernetes"
# How long a right that was taken away may count, and how long what was granted counts without an API server
CACHE_S: Final = 30.0
OUTAGE_S: Final = 300.0
DAY_S: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """checks: clients must show a token. audience: that it must be for; empty: the API server's own.

    tls_folder: tls.crt and tls.key of the ports of clients; None: plain text. trust_domain: of the ids of
    ServiceAccounts.
    """

    checks: bool = False
    audience: str = TOKEN_AUDIENCE
    cache_s: float = CACHE_S
    outage_s: float = OUTAGE_S
    tls_folder: Path | None = None
    trust_domain: str = "cluster.local"

    @staticmethod
    def from_environment(environ: Mapping[str, str]) -> "AccessSettings":
        """Read SWITCHBOARD_AUTH… and the folder of the certificate. Raises ValueError, which names the variable."""
        auth = environ.get(ENV_AUTH) or NONE
        if auth not in (NONE, KUBERNETES):
            raise ValueError(f"{ENV_AUTH} is {auth!r}: say {NONE} or {KUBERNETES}")
        folder = environ.get(ENV_TLS_FOLDER, "")
        return AccessSettings(
            checks=auth == KUBERNETES,
            audience=environ.get(ENV_AUDIENCE, TOKEN_AUDIENCE),  # said, but empty: the API server's own
            cache_s=_seconds(environ, ENV_CACHE_SECONDS, CACHE_S, 1),
            outage_s=_seconds(environ, ENV_OUTAGE_SECONDS, OUTAGE_S, 0),
            tls_folder=Path(folder) if folder else None,
            trust_domain=environ.get(ENV_TRUST_DOMAIN) or "cluster.local",
        )


def _seconds(environ: Mapping[str, str], name: str, default: float, least: int) -> float:
    text = environ.get(name) or str(int(default))
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= DAY_S):
        raise ValueError(f"{name} is {text!r}: say a whole number from {least} to {DAY_S}")
    return float(text)
