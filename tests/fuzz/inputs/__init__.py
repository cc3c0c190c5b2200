"""What random bytes say: graphs, feature tensors, calls, and bad arguments for them."""
