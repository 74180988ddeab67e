"""`python -m sctd` is `sctd`."""

import sys

from sctd.cli import main

if __name__ == "__main__":
    sys.exit(main())
