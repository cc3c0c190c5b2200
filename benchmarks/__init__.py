"""Benchmarks of sbp_kernels against the code its users would write otherwise."""
