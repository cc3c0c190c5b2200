"""A worker process: runs chunks of cases that Hypothesis generates from a seed, and reports what fails."""

from __future__ import annotations

import contextlib
import os
import resource
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from .in_flight import InFlight
from .targets import TARGETS, target_of

# Calls of a chunk: what one Hypothesis run generates.
CHUNK = 500
# Seconds that shrinking may take for each new kind of failure.
SHRINK_SECONDS = 5.0
# Memory that a call may allocate beyond what the process has at the start.
MEMORY = 2 << 30


class Job(NamedTuple):
    """What a worker is told once."""

    seed: int
    device: str
    only: str | None
    memory: Path


class Stop(BaseException):
    """The chunk has made all of its calls; no Exception, which Hypothesis would take for a failure and repeat."""


class Chunk:
    """One Hypothesis run of `calls` calls. Generation never depends on results, so it repeats for a seed."""

    def __init__(self, job: Job, index: int, calls: int, flight: InFlight) -> None:
        self.job, self.index, self.calls, self.flight = job, index, calls, flight
        self.target = TARGETS[target_of(index, job.only)]
        self.done = self.examples = 0
        self.failures: list[dict[str, Any]] = []

    def _generate(self, test: Any, phases: list[Phase]) -> None:
        options = settings(
            max_examples=100_000,
            database=None,
            deadline=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            report_multiple_bugs=False,
        )
        generate = seed(self.job.seed * 1_000_003 + self.index)
        generate(options(given(self.target.strategy(self.job.device))(test)))()

    def run(self, skip: int) -> None:
        """Run all cases behind the first `skip`, which ran before a crash."""

        def test(case: dict[str, Any]) -> None:
            if self.done >= self.calls:
                raise Stop
            case["calls"] = case["calls"][: self.calls - self.done]
            self.examples += 1
            self.done += len(case["calls"])
            if self.examples <= skip:
                return
            self.flight.case(self.index, self.examples, case)
            for call, problem in self.target.run(case, self.flight.call, self.job.device):
                stored, at = (case, call) if self.target.SHRINKS else ({**case, "calls": [case["calls"][call]]}, 0)
                self.failures.append({**problem._asdict(), "case": stored, "call": at, "example": self.examples})
            self.flight.idle()

        try:
            self._generate(test, [Phase.generate])
        except Stop:
            return

    def shrink(self, failure: dict[str, Any]) -> dict[str, Any]:
        """Let Hypothesis generate the chunk again up to the failure and shrink it; return the smallest case."""
        best, deadline = failure, time.monotonic() + SHRINK_SECONDS
        done = 0

        def test(case: dict[str, Any]) -> None:
            nonlocal best, done
            done += 1
            if done < failure["example"] or time.monotonic() > deadline:
                return
            for call, problem in self.target.run(case, self.flight.call, self.job.device):
                if (problem.kind, problem.title) == (failure["kind"], failure["title"]):
                    best = {**problem._asdict(), "case": case, "call": call, "example": failure["example"]}
                    raise AssertionError

        self.flight.case(self.index, failure["example"], failure["case"])
        # Whatever Hypothesis says of a test that stops failing when its time is up: the smallest case so far counts.
        with contextlib.suppress(Exception):
            self._generate(test, [Phase.generate, Phase.shrink])
        best = self._alone(best)
        self.flight.idle()
        return best

    def _alone(self, failure: dict[str, Any]) -> dict[str, Any]:
        """The failing call without those before it, if it still fails."""
        case = {**failure["case"], "calls": [failure["case"]["calls"][failure["call"]]]}
        for call, problem in self.target.run(case, self.flight.call, self.job.device):
            if (problem.kind, problem.title) == (failure["kind"], failure["title"]):
                return {**problem._asdict(), "case": case, "call": call, "example": failure["example"]}
        return failure


def limit_memory() -> None:
    """Let an allocation beyond the limit fail; sanitizers reserve terabytes themselves."""
    if os.environ.get("ASAN_OPTIONS") or os.environ.get("TSAN_OPTIONS"):
        return
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, used + MEMORY))


def prepare() -> None:
    np.seterr(all="ignore")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    limit_memory()


def work(connection: Connection, job: Job) -> None:
    """Serve requests of the parent: ("chunk", index, calls, skip), ("shrink", ...) or ("replay", case)."""
    prepare()
    flight = InFlight(job.memory, create=False)
    flight.idle()
    connection.send(("ready",))
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        if request[0] == "chunk":
            chunk = Chunk(job, request[1], request[2], flight)
            chunk.run(request[3])
            connection.send(("chunk", chunk.done, chunk.failures))
        elif request[0] == "shrink":
            chunk = Chunk(job, request[1], request[2], flight)
            connection.send(("shrink", chunk.shrink(request[3])))
        else:
            case = request[1]
            flight.case(0, 0, case)
            found = TARGETS[case["target"]].run(case, flight.call, job.device)
            flight.idle()
            connection.send(("replay", [problem._asdict() for _, problem in found]))
