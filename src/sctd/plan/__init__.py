"""What a run will take on a machine that is not here: memory, time and what its processes exchange."""
