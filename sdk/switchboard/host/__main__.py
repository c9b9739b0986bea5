"""`python -m switchboard.host`: the entry point of the host image."""

import argparse
import sys

from switchboard.host.process import run_host
from switchboard_runtime.process import run_component

HELP = """Run a host: the process that holds agents, beside a sidecar. To run agents on
this machine use `switchboard dev`. A host is configured by the environment:

  SWITCHBOARD_SOCKET      the sidecar's socket (/run/switchboard/host.sock)
  SWITCHBOARD_CODE        folder of the code, on sys.path (/agents)
  SWITCHBOARD_MODULES     modules whose decorated agents are registered,
                          comma separated
  SWITCHBOARD_LOG_CALLS   1: a log line per message
  SWITCHBOARD_LOG_LEVEL   DEBUG, INFO, WARNING (INFO)
  SWITCHBOARD_LOG_FORMAT  json or text (json)
"""


def main(arguments: list[str]) -> None:
    """Run until SIGTERM; an argument is a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m switchboard.host", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(arguments)
    run_component("host", run_host)


if __name__ == "__main__":
    main(sys.argv[1:])
