"""Many calls, many graphs, many threads and processes: memory stays flat and bits stay the same."""
