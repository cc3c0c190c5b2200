"""Write the results of a study as JSON and CSV."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import sbp_kernels

from ..training.files import json_document, write
from ..training.result import Result


def document(command: str, results: Sequence[Result]) -> str:
    """Return the results as one JSON document. Only `seconds` and `environment` differ between repetitions."""
    content = {
        "graph": results[0].graph,
        "results": [result.to_dict() for result in results],
        "environment": {
            "sbp_kernels": sbp_kernels.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
    }
    return json_document(command, **content)


def write_csv(path: Path, results: Sequence[Result]) -> None:
    """Write one row per setting as CSV."""
    write_rows(path, [_row(result) for result in results], line_end="\r\n")


def write_rows(path: Path, rows: Sequence[dict[str, Any]], line_end: str = "\n") -> None:
    """Write rows with the same columns as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator=line_end)
    writer.writeheader()
    writer.writerows(rows)
    write(path, text.getvalue())


def _row(result: Result) -> dict[str, Any]:
    config, spread = result.config, result.accuracy()
    return {
        "dataset": config.dataset,
        "label": result.label,
        "backbone": config.backbone,
        "layers": config.layers,
        "lam": config.lam,
        "beta": config.beta,
        "test_mean": spread and round(spread[0], 4),
        "test_std": spread and round(spread[1], 4),
        "dirichlet_energy": result.dirichlet_energy,
        "effective_rank": result.effective_rank,
        "runs": len(result.runs),
    }
