"""`python -m live`: install the chart with the images of the work tree, or upgrade it."""

import sys

from live.kubectl import CommandFailed, find_kubectl
from live.release import install


def main() -> int:
    try:
        install(find_kubectl())
    except CommandFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
