"""Run the demo: `make demo`."""

import subprocess
import sys

from devcluster.provider import CURRENT
from devcluster.settings import PROJECT, from_environment
from live.gateway import Rest, reach_gateway
from live.kubectl import CommandFailed, find_kubectl
from live.waiting import Late

from demo import acts
from demo.pool import NAMESPACE, Pool
from demo.screen import ClaimBroken, Screen
from switchboard import SwitchboardError, SyncClient

CLEAN_UP = f"`kubectl delete namespace {NAMESPACE}` takes the demo away, `make down` the cluster"


def main() -> int:
    screen = Screen()
    try:
        run(screen)
    except KeyboardInterrupt:
        screen.say()
        screen.tell(f"Interrupted. What is there works: `make demo` goes on; {CLEAN_UP}.")
        return 130
    except (ClaimBroken, CommandFailed, Late, SwitchboardError) as error:
        screen.say()
        screen.tell(f"The demo failed after {screen.elapsed_s:.0f} s: {error}")
        screen.tell(f"Everything stays for you to look at. {CLEAN_UP}.")
        return 1
    return 0


def run(screen: Screen) -> None:
    """All acts. Raises what ends the demo."""
    screen.act("A real Kubernetes, and images of this work tree")
    bring_up("up")
    if from_environment().provider.read_text() != CURRENT:
        bring_up("images")
    kubectl = find_kubectl()
    stage = acts.Stage(screen, kubectl, Pool(kubectl))
    acts.install_chart(stage)
    acts.start_agents(stage)
    with reach_gateway(kubectl) as address, SyncClient(address.grpc, timeout_s=30) as client:
        rest = Rest(address.http, NAMESPACE)
        acts.send_messages(stage, client, rest)
        acts.show_spread(stage, client)
        acts.scale_and_kill(stage, client)
        acts.calm_down(stage, client)
        acts.say_what_next(stage, rest)
    screen.say()
    screen.say(f"Every ✓ was looked up in the cluster. {screen.elapsed_s / 60:.1f} minutes.")


def bring_up(what: str) -> None:
    """Run the cluster tool, which tells its progress itself. Raises CommandFailed."""
    command = [sys.executable, str(PROJECT / "hack" / "cluster"), what]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        raise CommandFailed("the cluster tool said why")


if __name__ == "__main__":
    sys.exit(main())
