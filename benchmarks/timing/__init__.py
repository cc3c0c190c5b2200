"""How it is measured: checks, interleaved timing, memory, bandwidth."""
