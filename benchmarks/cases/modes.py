"""Names of steps and modes that result rows carry."""

from __future__ import annotations

# Our own calls, as the column `method` names them.
OURS = "sbp_kernels"
FORWARD, BACKWARD = "forward", "forward+backward"
# A mode beyond these names what requires grad besides x.
MODES = (FORWARD, BACKWARD)
LEARNABLE = {"learnable coefficients": "coefficients", "learnable weights": "weights"}
# The step of `bench_build` that a user waits for before the first forward pass.
BUILD = "build"
