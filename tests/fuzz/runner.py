"""The parent process: hands chunks to workers, survives their crashes and hangs, and shows progress."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .failures import Failures
from .in_flight import InFlight
from .targets import TARGETS
from .worker import CHUNK, Job, work

# A call that takes longer than this many seconds hangs.
HANG = 60.0
# Kinds of failure that are shrunk.
SHRUNK = 60
Request = tuple[Any, ...]


class Crash(Exception):
    """A worker died or hung; carries the failure with the case that it had in flight."""

    def __init__(self, failure: dict[str, Any], chunk: int, example: int) -> None:
        super().__init__(failure["title"])
        self.failure, self.chunk, self.example = failure, chunk, example


class Worker:
    """A worker process, started again after each crash."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.request: Request | None = None
        self.process: Any = None
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.flight = InFlight(self.job.memory, create=True)
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, self.job), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False

    def send(self, request: Request) -> None:
        self.request = request
        if self.ready:
            self.connection.send(request)

    def receive(self) -> Any:
        """The answer to the request, None while there is none; raises Crash."""
        try:
            if self.connection.poll():
                answer = self.connection.recv()
                if answer[0] != "ready":
                    self.request = None
                    return answer
                self.ready = True
                if self.request is not None:
                    self.connection.send(self.request)
        except (EOFError, OSError):
            self.process.join(5)
            raise self._crash(_death(self.process.exitcode)) from None
        if self.flight.age() > HANG:
            self.process.kill()
            self.process.join()
            raise self._crash(f"hang of more than {HANG:.0f} s")
        return None

    def _crash(self, what: str) -> Crash:
        chunk, example, call, case = self.flight.read()
        if case is None:
            raise RuntimeError(f"a worker ended by {what} with no call in flight, request {self.request!r:.300}")
        kind = "hang" if what.startswith("hang") else "crash"
        words = _words(case["calls"][min(call, len(case["calls"]) - 1)])
        if not TARGETS[case["target"]].SHRINKS:
            case, call = {**case, "calls": [case["calls"][call]]}, 0
        title = f"{what} in {case['target']}: {words}"
        detail = f"chunk {chunk}, example {example}, call {call}"
        return Crash({"kind": kind, "title": title, "detail": detail, "case": case, "call": call}, chunk, example)

    def stop(self) -> None:
        self.connection.close()
        self.process.join(2)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def _death(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"


def _words(call: dict[str, Any]) -> str:
    return " ".join(str(call[k]) for k in ("op", "mode", "function", "argument", "value", "how") if k in call)


class Pool:
    """Workers that answer requests in turn."""

    def __init__(self, jobs: int, make: Callable[[Path], Job], failures: Failures) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        self.failures = failures
        self.workers = [Worker(make(Path(self.folder.name) / str(i))) for i in range(jobs)]

    def run(self, requests: deque[Request]) -> Iterator[tuple[Request, Any]]:
        """Yield (request, answer), or (request, Crash), as they come; the caller may append more requests."""
        while requests or any(worker.request for worker in self.workers):
            for worker in self.workers:
                if worker.request is None and requests:
                    worker.send(requests.popleft())
            busy: list[Connection] = [worker.connection for worker in self.workers if worker.request is not None]
            multiprocessing.connection.wait(busy, timeout=1.0)
            for worker in self.workers:
                if worker.request is None:
                    continue
                request = worker.request
                try:
                    answer = worker.receive()
                except Crash as crash:
                    worker.request = None
                    worker.start()
                    yield request, crash
                else:
                    if answer is not None:
                        yield request, answer

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.folder.cleanup()


def fuzz(pool: Pool, calls: int, tell: Callable[[int, int], None]) -> int:
    """Make `calls` calls; return how many were made. `tell` hears of (calls, failures) so far."""
    requests: deque[Request] = deque()
    for index in range((calls + CHUNK - 1) // CHUNK):
        requests.append(("chunk", index, min(CHUNK, calls - index * CHUNK), 0))
    made = shrunk = 0
    for request, answer in pool.run(requests):
        if isinstance(answer, Crash):
            if request[0] == "chunk":
                pool.failures.add(answer.failure)
                requests.appendleft((*request[:3], answer.example))
        elif request[0] == "shrink":
            pool.failures.replace(request[3], answer[1])
        else:
            made += answer[1]
            for failure in answer[2]:
                shrinks = TARGETS[failure["case"]["target"]].SHRINKS
                if shrinks and pool.failures.is_new(failure) and shrunk < SHRUNK:
                    shrunk += 1
                    requests.append(("shrink", *request[1:3], failure))
                pool.failures.add(failure)
        tell(made, sum(pool.failures.count.values()))
    return made


def replay(pool: Pool, cases: list[dict[str, Any]]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Run cases again; yield the position of each and its problems."""
    requests: deque[Request] = deque(("replay", failure["case"], index) for index, failure in enumerate(cases))
    for request, answer in pool.run(requests):
        yield request[2], [answer.failure] if isinstance(answer, Crash) else answer[1]
