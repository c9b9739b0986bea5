"""`python -m switchboard.host`: the entry point of the host image."""

from switchboard.host.process import run_host
from switchboard_runtime.process import run_component

if __name__ == "__main__":
    run_component("host", run_host)
