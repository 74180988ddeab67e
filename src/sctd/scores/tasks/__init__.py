"""The downstream tasks: one table, one adapter a task, examples and metrics."""
