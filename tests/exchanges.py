"""What one step of training really sends, in float32 numbers, as JSON: run by torchrun from tests/test_plan.py."""

import json
import sys

import torch
from torch.profiler import ProfilerActivity, profile

from sctd.batches.loader import TrainingBatches
from sctd.recipe import build_config
from sctd.tokens.prepared import load_prepared
from sctd.train.optimizer import build_optimizers
from sctd.train.processes import Processes
from sctd.train.setup import build_objective, read_vocabulary
from sctd.train.step import Stepper


def main():
    given = json.loads(sys.argv[1])
    processes, cpu = Processes.from_environment(), torch.device("cpu")
    processes.join(cpu)
    data, config = load_prepared(given["data"]), build_config(given["settings"])
    vocabulary = read_vocabulary(data)
    objective = build_objective(config, data, vocabulary, cpu).train()

    def optimizers(model):
        return build_optimizers(model, config.optimizer, 1e-3, "bf16")

    stepper = Stepper(objective, optimizers, "bf16", cpu, config.batch.micro, 1.0, 1, False, processes, config.parallel)
    share = config.batch.size // processes.count
    batch = TrainingBatches(data.train, vocabulary, config.masking, config.batch.size, 1).at(1)
    batch = batch.split(share)[processes.rank]
    stepper.run(batch, 1, 1e-3, given["kind"])  # DDP settles its buckets in the first
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        stepper.run(batch, 2, 1e-3, given["kind"])
    if processes.first:
        shapes = [(event.name, event.input_shapes) for event in seen.events()]
        sent = {
            "gathered": sum(of[0][0] for name, of in shapes if name == "c10d::_allgather_base_"),
            "scattered": sum(of[1][0] for name, of in shapes if name == "c10d::_reduce_scatter_base_"),
            "reduced": sum(of[0][0] for name, of in shapes if name == "gloo:all_reduce"),
        }
        print(json.dumps(sent))


if __name__ == "__main__":
    main()
