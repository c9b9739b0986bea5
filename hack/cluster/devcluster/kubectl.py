"""Ask and tell a cluster through kubectl."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.commands import run, succeeds
from devcluster.faults import CommandFailed


@dataclass(frozen=True, slots=True)
class Kubectl:
    """A kubectl and the cluster that it talks to."""

    program: Path
    kubeconfig: Path

    def __call__(self, *words: str, stdin: str | None = None, timeout_s: float = 60) -> str:
        """Run kubectl with the words; raises CommandFailed."""
        return run([self.program, f"--kubeconfig={self.kubeconfig}", *words], stdin=stdin, timeout_s=timeout_s)

    def is_ready(self) -> bool:
        """Tell whether the API server says that it is ready."""
        return succeeds([self.program, f"--kubeconfig={self.kubeconfig}", "get", "--raw=/readyz"], timeout_s=5)

    def server_version(self) -> str:
        """Return the version that the API server says it is, v1.36.3 for example; raises CommandFailed."""
        return str(json.loads(self("get", "--raw=/version"))["gitVersion"])

    def items(self, *words: str) -> list[dict[str, Any]]:
        """Return the objects that `get` with these words finds; none when the cluster does not answer."""
        try:
            found: list[dict[str, Any]] = json.loads(self("get", *words, "--output=json", timeout_s=10))["items"]
        except CommandFailed:
            return []
        return found

    def apply(self, manifest: str) -> None:
        """Apply the manifest."""
        self("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=manifest)


def is_true(condition: str, item: dict[str, Any]) -> bool:
    """Tell whether an object's status has the condition with status True."""
    conditions = item.get("status", {}).get("conditions", [])
    return any(entry["type"] == condition and entry["status"] == "True" for entry in conditions)
