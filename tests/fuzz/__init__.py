"""The project's fuzzer: random graphs and calls, held against a dense float64 oracle with a derived error bound."""
