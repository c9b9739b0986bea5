"""`python -m switchboard.host`: the entry point of the host image."""

import argparse
import functools
import sys

from switchboard.host.process import NotLoaded, run_host
from switchboard_runtime.process import run_component

HELP = """Run a host: the process that holds agents, beside a sidecar; or, with
--gateway, wherever a gateway can be reached. To run agents without a cluster
use `switchboard dev`. A host is configured by the environment:

  SWITCHBOARD_SOCKET      the sidecar's socket (/run/switchboard/host.sock)
  SWITCHBOARD_CODE        folder of the code, on sys.path (/agents)
  SWITCHBOARD_MODULES     modules whose decorated agents are registered,
                          comma separated
  SWITCHBOARD_LOG_CALLS   1: a log line per message
  SWITCHBOARD_LOAD_FIRST  file of assignments: wait for a line on stdin, load
                          them, join only if all of them loaded
  SWITCHBOARD_TOKEN_FILE, SWITCHBOARD_CA_FILE, SWITCHBOARD_TLS
                          with --gateway: who we are, whom to trust
  SWITCHBOARD_LOG_LEVEL   DEBUG, INFO, WARNING (INFO)
  SWITCHBOARD_LOG_FORMAT  json or text (json)
"""


def main(arguments: list[str]) -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m switchboard.host", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--gateway",
        default="",
        metavar="HOST:PORT",
        help="attach the agents of SWITCHBOARD_MODULES to this gateway's gRPC port, without a sidecar",
    )
    given = parser.parse_args(arguments)
    try:
        run_component("host", functools.partial(run_host, gateway=given.gateway))
    except NotLoaded:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
