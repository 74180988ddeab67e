"""`python -m sctd` is `sctd`."""

from sctd.cli import main
from sctd.launch import leave


def start() -> None:
    """Run the command line and leave with its exit code."""
    leave(main())


if __name__ == "__main__":
    start()
