"""Measured step times of the methods and of what a user would run instead, interleaved in one run."""
