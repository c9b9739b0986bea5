"""How an answering component proves itself and checks others, from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from switchboard_identity.serving import CertificateFolder
from switchboard_wire import names
from switchboard_wire.security import Dialling


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """checks: whether streams must show a token. home: the namespace of the installation.

    tls_folder: tls.crt, tls.key and ca.crt; None: plain text, or, in an operator that keeps its own CA, from that.
    plain_text: links without TLS are taken too, while an installation turns it on; their tokens are checked.
    token_path: of this process's own token. keys_path, issuer: a JWKS file, in place of the API server's keys.
    """

    checks: bool = False
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
        """Read SWITCHBOARD_*."""
        return IdentitySettings(
            checks=env.get(names.ENV_CHECK_TOKENS, "") == "true",
            home=env.get(names.ENV_POD_NAMESPACE) or "switchboard-system",
            tls_folder=_path(env, names.ENV_TLS_FOLDER),
            plain_text=env.get(names.ENV_PLAIN_TEXT, "") == "accepted",
            token_path=_path(env, names.ENV_TOKEN_FILE),
            keys_path=_path(env, names.ENV_KEYS_FILE),
            issuer=env.get(names.ENV_ISSUER, ""),
            trust_domain=env.get(names.ENV_TRUST_DOMAIN) or "cluster.local",
            check_source=env.get(names.ENV_CHECK_SOURCE, "true") != "false",
        )


def _path(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name, "")
    return Path(text) if text else None
