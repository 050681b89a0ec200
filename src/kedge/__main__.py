"""`python -m kedge`: the command line."""

import sys

from kedge.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
