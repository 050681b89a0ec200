"""A process that is a member until its input ends: `python -m bench.member FOLDER`."""

import json
import sys

import kedge


def main(folder: str) -> None:
    """Join, print that, and stay."""
    with kedge.open(folder) as k, k.join():
        print(json.dumps("joined"), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
