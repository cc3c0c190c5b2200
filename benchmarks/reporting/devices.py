"""The processors that the pages show, each with the results in its own folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .markdown import NOT_RUN
from .result_files import find
from .targets import Runs, read

# Folder of results: name. The pages show both, measured or not.
EXPECTED = {"cpu-amd-epyc": "AMD EPYC", "cpu-intel-xeon": "Intel Xeon"}


@dataclass(frozen=True)
class Device:
    """A processor, its folder, and its latest runs; None if there are none."""

    name: str
    folder: Path
    runs: Runs | None


def devices(results: Path, preset: str, slug: str | None = None) -> list[Device]:
    """Return the processors in `EXPECTED` and those with a run of this preset, or only the one of the slug.

    Raises FileNotFoundError or ValueError if none of them has a run.
    """
    if slug is not None:
        runs, folder = read(results, slug, preset), find(results, slug, "propagate.csv").parent
        return [Device(runs.propagate[0]["device"], folder, runs)]
    found = []
    for folder in sorted(path.parent for path in results.glob("cpu-*/propagate.csv")):
        try:
            runs = read(results, folder.name, preset)
        except ValueError:
            continue
        found.append(Device(EXPECTED.get(folder.name, runs.propagate[0]["device"]), folder, runs))
    for name, expected in EXPECTED.items():
        # A folder with the exact model, such as cpu-intel-xeon-platinum-8480, stands for the name as well.
        if not any(device.folder.name.startswith(name) for device in found):
            found.append(Device(expected, results / name, None))
    if not measured(found):
        raise FileNotFoundError(f"no folder cpu-* of {results} holds a propagate.csv with a run of preset {preset!r}")
    return sorted(found, key=lambda device: device.folder.name)


def measured(found: Sequence[Device]) -> list[tuple[Device, Runs]]:
    """Return the devices that have runs, with the runs."""
    return [(device, device.runs) for device in found if device.runs is not None]


def sections(found: Sequence[Device], table: Callable[[Device, Runs], str]) -> str:
    """Return one table per device, with the device as heading."""
    parts = (f"{NOT_RUN}." if device.runs is None else table(device, device.runs) for device in found)
    return "\n\n".join(f"### {device.name}\n\n{part}" for device, part in zip(found, parts, strict=True))


def commits(found: Sequence[Device]) -> str:
    """Return the sentence about the commits of the runs: which devices are compared at different code or not run."""
    at = {device.name: runs.propagate[0]["commit"] for device, runs in measured(found)}
    listed = ", ".join(f"{name}: {commit}" for name, commit in at.items())
    missing = "".join(f" {device.name}: {NOT_RUN}." for device in found if device.runs is None)
    if len(set(at.values())) > 1:
        return f"The rows of one step are of different commits ({listed}).{missing}"
    return f"The rows of one step are of commit {next(iter(at.values()))}.{missing}"
