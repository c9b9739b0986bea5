"""The commands of the tool. What it tells people goes to standard error, results go to standard output."""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

from devcluster.faults import ClusterError, PreconditionUnmet
from devcluster.kubectl import Kubectl
from devcluster.settings import PROJECT, Places, from_environment
from devcluster.steps import show

NEEDED_PYTHON = (3, 11)


def main(argv: list[str]) -> int:
    """Run one command; return the exit status: 1 with one line of explanation when it could not be done."""
    options = parser().parse_args(argv)
    try:
        require_python()
        options.command(options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command continues, `make down` removes", file=sys.stderr)
        return 130
    return 0


def require_python() -> None:
    """Raise PreconditionUnmet when this interpreter lacks what the tool imports."""
    if sys.version_info < NEEDED_PYTHON:
        raise PreconditionUnmet("Python 3.11 or newer is needed")
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise PreconditionUnmet("run `make venv` and use .venv/bin/python: `cryptography` is missing") from error


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    top = argparse.ArgumentParser(prog="python3 hack/cluster", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("up", help="bring the cluster up, or repair it").set_defaults(command=run_up)
    commands.add_parser("down", help="take it down").set_defaults(command=run_down)
    commands.add_parser("env", help="print what a shell needs to use it").set_defaults(command=run_env)
    images = commands.add_parser("images", help="build the images and bring them in")
    images.add_argument("--also", metavar="TAG", help="a second tag for each, to roll out as a new image")
    images.set_defaults(command=run_images)
    alone = commands.add_parser("control-plane", help="an API server alone, without root")
    alone.add_argument("action", choices=["up", "down"])
    alone.add_argument("--state", type=Path, default=PROJECT / "build" / "control-plane", help="its folder")
    alone.add_argument("--with-controllers", action="store_true", help="run the controller manager, too")
    alone.set_defaults(command=run_control_plane)
    return top


def run_up(options: argparse.Namespace) -> None:
    """Bring up the cluster of the provider that fits, and say how to use it."""
    from devcluster import binaries, cluster

    places, begun = from_environment(), time.monotonic()
    with binaries.locked(places.cache / "cluster.lock"):
        name = cluster.up(places)
    version = kubectl_of(places, places.kubeconfig).server_version()
    show(f"The cluster ({name}, Kubernetes {version}) is ready after {time.monotonic() - begun:.0f} s. To use it:")
    show('    eval "$(python3 hack/cluster env)"')


def run_down(options: argparse.Namespace) -> None:
    """Take down the cluster that this tool made."""
    from devcluster import binaries, cluster

    places = from_environment()
    with binaries.locked(places.cache / "cluster.lock"):
        cluster.down(places)


def run_env(options: argparse.Namespace) -> None:
    """Print shell commands which lead kubectl and helm to the cluster."""
    for line in environment_lines(from_environment()):
        print(line)


def environment_lines(places: Places) -> list[str]:
    """Return shell commands which set KUBECONFIG, and PATH where kubectl and helm are ours."""
    from devcluster import binaries

    found = binaries.locate(places, os.environ)
    folders = [str(folder) for folder in found.folders if folder.is_dir()]
    path = ":".join([*folders, "$PATH"])
    return [f"export KUBECONFIG={shlex.quote(str(places.kubeconfig))}", f'export PATH="{path}"']


def run_images(options: argparse.Namespace) -> None:
    """Build the project's images, bring them into the cluster and print where their tags are written."""
    from devcluster import binaries, images

    places = from_environment()
    with binaries.locked(places.cache / "images.lock"):
        print(images.provide(places, options.also, compiled=os.environ.get("COMPILED_IMAGES") == "yes"))


def run_control_plane(options: argparse.Namespace) -> None:
    """Bring a control plane up, printing its kubeconfig, or down."""
    from devcluster import rootless

    if options.action == "down":
        rootless.stop(options.state)
    else:
        kubeconfig = rootless.start(options.state, with_controllers=options.with_controllers)
        show(f"The API server is Kubernetes {kubectl_of(from_environment(), kubeconfig).server_version()}")
        print(kubeconfig)


def kubectl_of(places: Places, kubeconfig: Path) -> Kubectl:
    """Return kubectl for the cluster: ours when it is there, else the user's own."""
    from devcluster import binaries

    return Kubectl(binaries.locate(places, os.environ).find("kubectl") or Path("kubectl"), kubeconfig)
