"""Token shards to batches: order and masking, each a function of (seed, step, sample) and nothing else."""
