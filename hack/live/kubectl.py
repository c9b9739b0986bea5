"""kubectl as a person would run it; objects as plain dicts."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import binaries
from devcluster.settings import Places, from_environment

Json = dict[str, Any]

AGENTS = "agents.switchboard.dev"  # other operators have a resource `agents`, too
AGENT_NODES = "agentnodes.switchboard.dev"


class CommandFailed(Exception):
    """A program ended with another status than 0; the text is its error output."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl against the cluster of a kubeconfig."""

    program: Path
    kubeconfig: Path

    def try_run(self, *words: str, stdin: object = None, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run it to its end, however that is. stdin: text, or objects to be written as JSON."""
        text = stdin if stdin is None or isinstance(stdin, str) else json.dumps(stdin)
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        command = [str(self.program), *words]
        return subprocess.run(
            command, input=text, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s
        )

    def __call__(self, *words: str, stdin: object = None, timeout_s: float = 120) -> str:
        """What it wrote. Raises CommandFailed."""
        done = self.try_run(*words, stdin=stdin, timeout_s=timeout_s)
        if done.returncode != 0:
            raise CommandFailed(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Apply objects, which name their namespaces."""
        self("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": list(objects)})

    def find(self, namespace: str, kind: str, name: str) -> Json | None:
        """One object; None when it is not there."""
        text = self("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        found: Json | None = json.loads(text) if text.strip() else None
        return found

    def items(self, namespace: str, kind: str, selector: str = "") -> list[Json]:
        """The objects of a kind in a namespace, by name."""
        text = self("get", kind, "-n", namespace, "-o", "json", *(["-l", selector] if selector else []))
        found: list[Json] = json.loads(text)["items"]
        return sorted(found, key=lambda item: item["metadata"]["name"])


def find_kubectl() -> Kubectl:
    """kubectl for the cluster of `make cluster`. Raises CommandFailed when there is none."""
    places = from_environment()
    if not places.kubeconfig.exists():
        raise CommandFailed("there is no cluster: run `make cluster`")
    return Kubectl(find_program("kubectl", places), places.kubeconfig)


def find_program(name: str, places: Places) -> Path:
    """The cluster tool's own program, else the user's. Raises CommandFailed."""
    ours = binaries.locate(places, os.environ).find(name)
    theirs = shutil.which(name)
    if ours is None and theirs is None:
        raise CommandFailed(f"{name} is missing: `make cluster` brings it")
    return ours or Path(theirs or "")


def condition(found: Json | None, type_: str) -> Json:
    """One condition of an object's status; empty when it is not there, or is about an older generation."""
    if found is None:
        return {}
    for told in found.get("status", {}).get("conditions", ()):
        if told["type"] == type_:
            current = told.get("observedGeneration", 0) >= found["metadata"]["generation"]
            return dict(told) if current else {}
    return {}


def is_ready(pod: Json) -> bool:
    """Whether a pod is ready and not on its way out."""
    told = pod["status"].get("conditions", ())
    ready = any(found["type"] == "Ready" and found["status"] == "True" for found in told)
    return ready and "deletionTimestamp" not in pod["metadata"]
