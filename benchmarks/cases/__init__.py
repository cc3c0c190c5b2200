"""What is measured: graphs, presets of cases, the expected result and the bytes that a case moves."""
