"""Record the run: `make life`."""

import argparse
import sys

from demo.screen import ClaimBroken, Screen
from devcluster.settings import PROJECT
from live.gateway import reach_gateway
from live.kubectl import CommandFailed, find_kubectl
from live.page import put_between
from live.waiting import Late

from life.delays import claims
from life.page import BEGIN, END, Run, render
from life.run import record_run

PAGE = PROJECT / "docs" / "explanation" / "life-of-a-pool.md"
# Of the cluster that `make cluster` brings up, with either provider
SYNC_S = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m life", description=__doc__)
    parser.add_argument("--sync", type=float, default=SYNC_S, help="seconds between two looks of the autoscaler")
    sync_s = parser.parse_args().sync
    screen = Screen()
    screen.act("The life of a pool")
    try:
        kubectl = find_kubectl()
        with reach_gateway(kubectl) as address:
            run = record_run(screen, kubectl, address, sync_s)
        keep(run)
        for claim in claims(run.record, run.steps):
            screen.claim(claim.text, claim.holds, claim.seen)
    except (ClaimBroken, CommandFailed, Late) as error:
        screen.tell(f"The run failed after {screen.elapsed_s:.0f} s: {error}")
        return 1
    return 0


def keep(run: Run) -> None:
    """Put the run into its page, with what does not hold said to be so."""
    PAGE.write_text(put_between(PAGE.read_text(), (BEGIN, END), render(run)))


if __name__ == "__main__":
    sys.exit(main())
