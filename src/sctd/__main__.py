"""`python -m sctd` is `sctd`."""

import os
import signal
from types import FrameType

from sctd.cli import main
from sctd.launch import leave


def stop_as_ctrl_c_does() -> None:
    """Have SIGTERM, by which queues and supervisors end a process, do what Ctrl-C does."""
    own = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == own:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)  # a child that took this over: a pool ends its processes so
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, stop)


def start() -> None:
    """Run the command line and leave with its exit code."""
    stop_as_ctrl_c_does()
    leave(main())


if __name__ == "__main__":
    start()
