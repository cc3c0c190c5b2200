"""Device, driver, versions and commit of a run."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """Return the model name of the processor or GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_name()


def _cpu_name() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        info = ""
    for key in ("model name", "Model", "Hardware"):
        found = re.search(rf"^{key}\s*:\s*(.+)$", info, re.MULTILINE)
        if found and found[1].strip():
            return found[1].strip()
    return platform.processor() or platform.machine() or "unknown"


def driver(device: torch.device) -> str:
    """Return the version of the GPU's driver; "none" for a CPU."""
    if device.type != "cuda":
        return "none"
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return "unknown"
    found = re.search(r"Kernel Module.*?(\d+\.[\d.]+)", text)
    return found[1] if found else "unknown"


def device_slug(device: torch.device) -> str:
    """Return the name of a device's folder of results, such as `cpu-amd-epyc` or `nvidia-h200`."""
    name = re.sub(r"\((R|TM)\)|@.*|\bCPU\b|\bProcessor\b", " ", device_name(device), flags=re.IGNORECASE)
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"cpu-{slug}" if device.type == "cpu" else slug


def commit() -> str:
    """Return the short commit of this checkout, with `-dirty` if the measured code differs from it."""

    root = Path(__file__).parents[2]

    def git(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=False)

    try:
        head = git("rev-parse", "--short", "HEAD")
        changed = git("status", "--porcelain", "--", "sbp_kernels", "csrc", "setup.py")
    except OSError:
        return "unknown"
    if head.returncode != 0:
        return "unknown"
    return head.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")


def run_fields(device: torch.device, seed: int, preset: str, date: str) -> dict[str, object]:
    """Return the columns that all rows of a run share."""
    return {
        "threads": torch.get_num_threads(),
        "seed": seed,
        "preset": preset,
        "device": device_name(device),
        "driver": driver(device),
        "torch": torch.__version__,
        "commit": commit(),
        "date": date,
    }
