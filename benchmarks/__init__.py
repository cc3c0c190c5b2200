"""Benchmarks of sbp_kernels, and of the code that users would write without it."""
