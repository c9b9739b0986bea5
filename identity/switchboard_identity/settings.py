"""How an answering component proves itself and checks others, from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from switchboard_identity.serving import CertificateFolder
from switchboard_wire import names
from switchboard_wire.security import Dialling

BY_KEYS: Final = "keys"
BY_REVIEW: Final = "tokenReview"
# Tokens of streams that live are asked about every five minutes, so that each of them counts for nine more at least
OUTAGE_S: Final = 900.0
DAY_S: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """checks: whether streams must show a token. home: the namespace of the installation.

    reviews: TokenReview says what a token is, not the API server's keys; outage_s: for how long its yes counts when it
    does not answer any more.

    tls_folder: tls.crt, tls.key and ca.crt; None: plain text, or, in an operator that keeps its own CA, from that.
    plain_text: links without TLS are taken too, while an installation turns it on; their tokens are checked.
    token_path: of this process's own token. keys_path, issuer: a JWKS file, in place of the API server's keys.
    """

    checks: bool = False
    reviews: bool = False
    outage_s: float = OUTAGE_S
    home: str = "switchboard-system"
    tls_folder: Path | None = None
    plain_text: bool = False
    token_path: Path | None = None
    keys_path: Path | None = None
    issuer: str = ""
    trust_domain: str = "cluster.local"
    check_source: bool = True

    def dialling(self) -> Dialling:
        """How this process opens streams to others of its installation."""
        folder = CertificateFolder(self.tls_folder) if self.tls_folder is not None else None
        return Dialling(folder.bundle if folder is not None else None, self.token_path)

    @staticmethod
    def from_environment(env: Mapping[str, str]) -> "IdentitySettings":
        """Read SWITCHBOARD_*. Raises ValueError, which names the variable."""
        how = env.get(names.ENV_POD_TOKENS) or BY_KEYS
        if how not in (BY_KEYS, BY_REVIEW):
            raise ValueError(f"{names.ENV_POD_TOKENS} is {how!r}: say {BY_KEYS} or {BY_REVIEW}")
        return IdentitySettings(
            checks=env.get(names.ENV_CHECK_TOKENS, "") == "true",
            reviews=how == BY_REVIEW,
            outage_s=_seconds(env, names.ENV_POD_TOKENS_OUTAGE, OUTAGE_S),
            home=env.get(names.ENV_POD_NAMESPACE) or "switchboard-system",
            tls_folder=_path(env, names.ENV_TLS_FOLDER),
            plain_text=env.get(names.ENV_PLAIN_TEXT, "") == "accepted",
            token_path=_path(env, names.ENV_TOKEN_FILE),
            keys_path=_path(env, names.ENV_KEYS_FILE),
            issuer=env.get(names.ENV_ISSUER, ""),
            trust_domain=env.get(names.ENV_TRUST_DOMAIN) or "cluster.local",
            check_source=env.get(names.ENV_CHECK_SOURCE, "true") != "false",
        )


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name) or str(int(default))
    if not (text.isascii() and text.isdecimal() and int(text) <= DAY_S):
        raise ValueError(f"{name} is {text!r}: say a whole number from 0 to {DAY_S}")
    return float(text)


def _path(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name, "")
    return Path(text) if text else None
