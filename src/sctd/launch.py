"""`sctd pretrain --nproc N`: processes here, started and watched by torchrun's launcher; how one of many ends."""

from __future__ import annotations

import atexit
import os
import sys
import uuid
from typing import NoReturn

from sctd.errors import UserError

SAVING = 600  # seconds that processes have to save themselves in after SIGTERM; torch's default is 30


def launch(words: list[str], processes: int) -> None:
    """Run `python -m sctd WORDS` in several processes and wait for all.

    Args:
        words: the command, without --nproc.
        processes: how many; on a CPU they share its cores.

    Raises:
        UserError: a process failed, which has said why on standard error.
        KeyboardInterrupt: Ctrl-C or SIGTERM, which the processes have heard of and been waited for.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    threads = max(1, (os.cpu_count() or 1) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SAVING))
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(settings, sys.executable)("-m", "sctd", *words)
    except SignalException as stopped:
        raise KeyboardInterrupt("Stopped; what the processes said stands above.") from stopped
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if failure.exitcode == 130:
            raise KeyboardInterrupt("Stopped; what the processes said stands above.") from failed
        if failure.exitcode < 0:
            raise UserError(
                f"Process {rank} of {processes} (from 0) was ended by signal {-failure.exitcode}, as where memory ran "
                "out: set a smaller batch.micro, and go on with --resume."
            ) from failed
        raise UserError(
            f"Process {rank} of {processes} (from 0) ended with exit code {failure.exitcode}; its reason stands above."
        ) from failed


def leave(code: int) -> NoReturn:
    """End this process with this exit code; one among many without taking Python's interpreter down.

    Threads of gloo may still hold tensors of ours. One that lets go of them asks for the interpreter's lock, and in an
    interpreter that ends that aborts the process: exit code -6 after a whole run (torch 2.13, 1 of some 10 on a busy
    machine).
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
