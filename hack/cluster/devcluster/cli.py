"""The commands of the tool. Output is for people, on standard error; results are on standard output."""

import argparse
import sys
from pathlib import Path

from devcluster.faults import ClusterError
from devcluster.settings import PROJECT, from_environment


def main(argv: list[str]) -> int:
    """Run one command; return the exit status: 1 with one line of explanation when it could not be done."""
    options = parser().parse_args(argv)
    try:
        options.command(options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command again continues, `make down` removes", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    top = argparse.ArgumentParser(prog="python3 hack/cluster", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("up", help="bring the cluster up, or repair it").set_defaults(command=run_up)
    commands.add_parser("down", help="take it down").set_defaults(command=run_down)
    alone = commands.add_parser("control-plane", help="an API server alone, without root")
    alone.add_argument("action", choices=["up", "down"])
    alone.add_argument("--state", type=Path, default=PROJECT / "build" / "control-plane", help="its folder")
    alone.add_argument("--with-controllers", action="store_true", help="run the controller manager, too")
    alone.set_defaults(command=run_control_plane)
    return top


def run_control_plane(options: argparse.Namespace) -> None:
    """Bring a control plane up, printing its kubeconfig, or down."""
    from devcluster import rootless

    if options.action == "down":
        rootless.stop(options.state)
    else:
        print(rootless.start(options.state, with_controllers=options.with_controllers))


def run_up(options: argparse.Namespace) -> None:
    from devcluster import local

    local.up(local.locate(from_environment()), [])


def run_down(options: argparse.Namespace) -> None:
    from devcluster import local

    local.down(local.locate(from_environment()))
