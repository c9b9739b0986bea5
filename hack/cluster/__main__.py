"""Run the cluster tool: `python3 hack/cluster --help`."""

import sys

from devcluster.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
