"""Choose where the cluster comes from, and the two ways that need no programs of ours: current and kind."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from devcluster import binaries, pki
from devcluster.commands import run, succeeds
from devcluster.faults import CommandFailed, PreconditionUnmet
from devcluster.kubectl import Kubectl
from devcluster.settings import METRICS_SERVER_VERSION, PROJECT, Places
from devcluster.steps import Step, run_steps

CURRENT, KIND, LOCAL = "current", "kind", "local"
KIND_CLUSTER = "switchboard"
METRICS_SERVER = (
    f"https://github.com/kubernetes-sigs/metrics-server/releases/download/v{METRICS_SERVER_VERSION}/components.yaml"
)
# kind's kubelets have certificates of their own; 10 s as on the local provider, so that autoscalers act in tests.
METRICS_SERVER_PATCH = (
    '[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--kubelet-insecure-tls"},'
    '{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--metric-resolution=10s"},'
    '{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--kubelet-request-timeout=5s"}]'
)


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides the provider: the user's wish, if any, and whether a Docker engine answers."""

    wish: str | None
    docker_answers: bool


def choose_provider(situation: Situation) -> str:
    """Return the provider; raises PreconditionUnmet for a wish that there is no provider for."""
    if situation.wish is None:
        return KIND if situation.docker_answers else LOCAL
    if situation.wish not in (CURRENT, KIND, LOCAL):
        raise PreconditionUnmet(f"CLUSTER={situation.wish} is unknown: use current, kind or local")
    if situation.wish == KIND and not situation.docker_answers:
        raise PreconditionUnmet("CLUSTER=kind needs Docker, and `docker info` fails: start it, or leave CLUSTER unset")
    return situation.wish


def observe_situation(environment: Mapping[str, str]) -> Situation:
    """Look at the environment and ask for the Docker engine: a client alone on the PATH is not one."""
    wish = environment.get("CLUSTER") or None
    return Situation(wish, wish in (None, KIND) and succeeds(["docker", "info"], timeout_s=20))


def use_current(places: Places, environment: Mapping[str, str]) -> None:
    """Take the user's current context as the cluster; nothing is created in it."""
    kubectl = binaries.locate(places, environment).find("kubectl") or Path("kubectl")
    try:
        text = run([kubectl, "config", "view", "--minify", "--flatten", "--raw", "--output=json"])
    except CommandFailed as error:
        raise PreconditionUnmet(
            f"there is no current context to use: set one with `kubectl config` ({error})"
        ) from error
    keep_kubeconfig(places, text)
    if not Kubectl(kubectl, places.kubeconfig).is_ready():
        raise PreconditionUnmet("the cluster of the current context does not answer: check `kubectl get --raw=/readyz`")


def keep_kubeconfig(places: Places, text: str) -> None:
    """Put the kubeconfig where everything of the project looks for it."""
    places.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    pki.write_private(places.kubeconfig, text.encode())


def up_kind(places: Places, environment: Mapping[str, str]) -> None:
    """Bring up the kind cluster of kind-config.yaml with metrics-server, unless it is there."""
    found = binaries.locate(places, environment)
    recipes = [binaries.KIND] if shutil.which("kind") is None else []
    if shutil.which("kubectl") is None:
        recipes.append(binaries.CONTROL_PLANE)
    if shutil.which("helm") is None:
        recipes.append(binaries.HELM)
    for recipe in recipes:
        if found.missing(recipe):
            run_steps([Step(found.title(recipe), partial(binaries.provide, found, recipe), recipe.expected_s)])
    kind, kubectl = program(found, "kind"), Kubectl(program(found, "kubectl"), places.kubeconfig)
    places.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    if KIND_CLUSTER not in run([kind, "get", "clusters"]).split():
        config = PROJECT / "kind-config.yaml"
        create: list[str | Path] = [
            kind,
            "create",
            "cluster",
            "--name",
            KIND_CLUSTER,
            "--config",
            config,
            "--wait=180s",
        ]
        if environment.get("KIND_NODE_IMAGE"):  # another version of Kubernetes than this kind's own
            create += ["--image", environment["KIND_NODE_IMAGE"]]
        run_steps([Step("kind cluster", lambda: run([*create, "--kubeconfig", places.kubeconfig]), 90)])
    else:
        keep_kubeconfig(places, run([kind, "get", "kubeconfig", "--name", KIND_CLUSTER]))
    if not any(item["metadata"]["name"] == "metrics-server" for item in kubectl.items("deploy", "-nkube-system")):
        kubectl("apply", f"--filename={METRICS_SERVER}")
        patch = ("patch", "deployment", "metrics-server", "--namespace=kube-system", "--type=json")
        kubectl(*patch, f"--patch={METRICS_SERVER_PATCH}")
    rollout = ("rollout", "status", "deployment/metrics-server", "--namespace=kube-system", "--timeout=180s")
    kubectl(*rollout, timeout_s=200)


def down_kind(places: Places) -> None:
    """Delete the kind cluster."""
    kind = program(binaries.locate(places, os.environ), "kind")
    run([kind, "delete", "cluster", "--name", KIND_CLUSTER, "--kubeconfig", places.kubeconfig])


def load_into_kind(places: Places, reference: str) -> None:
    """Give the kind cluster's nodes an image that Docker has."""
    kind = program(binaries.locate(places, os.environ), "kind")
    run([kind, "load", "docker-image", "--name", KIND_CLUSTER, reference])


def program(found: binaries.Binaries, name: str) -> Path:
    """Return the program: the user's own from the PATH, else ours."""
    own = shutil.which(name)
    return Path(own) if own else found.path(name)
