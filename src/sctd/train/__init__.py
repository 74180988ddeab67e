"""The trainer: optimizer, schedule, evaluation, checkpoints, and the verb `pretrain`."""
