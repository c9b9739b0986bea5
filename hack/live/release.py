"""The chart's release on the cluster: one, for the demo and the journeys alike."""

import json
import os
import subprocess
import time
from collections.abc import Sequence

from devcluster.settings import PROJECT, from_environment

from live.kubectl import CommandFailed, Kubectl, find_program

RELEASE = "switchboard"
NAMESPACE = "switchboard-system"
CHART = PROJECT / "charts" / "switchboard"
INSTALL_S = 180
# Longer than an upgrade takes here; one that is pending for longer was interrupted
INTERRUPTED_S = 60


def helm(kubectl: Kubectl, *words: str, timeout_s: float = INSTALL_S + 30) -> str:
    """Run helm to its end; what it wrote. Raises CommandFailed."""
    command = [str(find_program("helm", from_environment())), *words, "--namespace", NAMESPACE]
    environment = {**os.environ, "KUBECONFIG": str(kubectl.kubeconfig)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s)
    if done.returncode != 0:
        raise CommandFailed(f"helm {words[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def install(kubectl: Kubectl, *settings: str) -> None:
    """Install the chart with the images of the work tree, or upgrade it; returns when it is available.

    settings: more of them, as `tls.enabled=false`.
    HELM_VALUES: more values files, separated by colons; needed where `make images` has no way into the cluster.
    """
    labelled = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    kubectl.apply(labelled)
    await_others(kubectl)
    files = [option for path in values_files() for option in ("--values", path)]
    # A node's port, so that this machine reaches the gateway where it has no route to the Services' addresses
    chosen = [word for setting in ("gateway.service.type=NodePort", *settings) for word in ("--set", setting)]
    options = [*chosen, "--wait", "--timeout", f"{INSTALL_S}s"]
    helm(kubectl, "upgrade", "--install", RELEASE, str(CHART), *files, *options)


def await_others(kubectl: Kubectl) -> None:
    """Let another helm finish with the release; undo what one began that was interrupted. Raises CommandFailed."""
    deadline = time.monotonic() + INTERRUPTED_S
    while (status := release_status(kubectl)).startswith("pending-"):
        if time.monotonic() > deadline:
            # Its first revision cannot be rolled back to anything
            words = ["uninstall", RELEASE] if status == "pending-install" else ["rollback", RELEASE]
            helm(kubectl, *words)
            return
        time.sleep(1)


def release_status(kubectl: Kubectl) -> str:
    """What helm calls the state of the release; empty when there is none."""
    try:
        told = helm(kubectl, "status", RELEASE, "--output", "json")
    except CommandFailed as error:
        if "not found" in str(error):
            return ""
        raise
    return str(json.loads(told)["info"]["status"])


def values_files() -> Sequence[str]:
    """Values that name the images of this work tree, then the user's own."""
    ours = from_environment().build / "image-values.json"
    given = [path for path in os.environ.get("HELM_VALUES", "").split(":") if path]
    return [*([str(ours)] if ours.exists() else []), *given]
