"""Runs one after the other in every process that torchrun started: `in_processes.py JOBS`, a JSON list of pretrain's
arguments, whose config is of changes to the small one."""

import json
import sys

from sctd.launch import leave
from sctd.pretrain import pretrain
from small_runs import config

if __name__ == "__main__":
    for job in json.loads(sys.argv[1]):
        changes = job.pop("changes", None)
        pretrain(**job, config=None if changes is None else config(**changes))
    leave(0)
