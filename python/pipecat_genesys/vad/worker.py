"""One thread that runs the model for all calls of the process.

A call submits the windows of one packet as a `Job`. The thread takes all jobs that wait, scores
their windows in one run of the model, and then takes the next. It never waits for a batch to fill:
if one job waits, one job runs. While the model runs, the GIL is free.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Protocol

from loguru import logger

from .model import Floats, ModelState, Scores, SpeechModel, UnusableModelError, load_model

# Number of windows at which a run takes no further job. Larger runs are not faster per window.
MAX_RUN_WINDOWS = 64
# Time without a result after which the worker counts as stalled, in seconds.
STALL_TIMEOUT = 2.0
# Number of workers that a process makes at most, one after another.
MAX_WORKERS = 3
# Longest wait for the thread when the process exits, in seconds.
EXIT_TIMEOUT = 5.0


class Job(Protocol):
    """The windows of one packet on their way through the worker.

    Attributes:
        rows: Windows of shape (windows, 512), at least one.
        state: State of the call before the first window.
        loop: Event loop of the call.
        is_abandoned: Set by the worker when the job counts as stalled.
    """

    rows: Floats
    state: ModelState
    loop: asyncio.AbstractEventLoop
    is_abandoned: bool

    def conclude(self, scores: Scores) -> None:
        """Take the scores. Called in the worker's thread; must not raise."""

    def deliver(self, failure: str | None) -> None:
        """Pass the result on. Called once, in the event loop of the call.

        Args:
            failure: None after `conclude`. Otherwise the job has no scores, and this is the reason
                as the end of a sentence about the worker.
        """


class ModelWorker:
    """A thread that scores jobs with one model. The thread starts with the first job."""

    def __init__(self, model: SpeechModel) -> None:
        """Create a worker for `model`."""
        self.model = model
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        # For each event loop with jobs that are not delivered: these jobs, and how often
        # `_check_progress` has seen them.
        self._pending: dict[asyncio.AbstractEventLoop, dict[Job, int]] = {}

    def submit(self, job: Job) -> None:
        """Queue a job. Must be called in the event loop of the job.

        A call must not submit a job before its previous one is delivered, because the state
        before the first window is then unknown.

        Raises:
            RuntimeError: The operating system does not allow another thread.
        """
        if self._thread is None:
            self._start()
        pending = self._pending.get(job.loop)
        if pending is None:
            pending = self._watch(job.loop)
        pending[job] = 0
        self._jobs.put(job)

    def stop(self, timeout: float | None = None) -> None:
        """End the thread after the jobs that are queued, and wait for its end.

        Args:
            timeout: Longest wait in seconds; 0 does not wait, None waits without limit.
        """
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join(timeout)

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                # A daemon, so that the interpreter does not wait for it before it runs the
                # `atexit` handler, which ends it.
                thread = threading.Thread(target=self._run, name="speech-model", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            jobs = []
            windows = 0
            while job is not None:
                if not job.is_abandoned:
                    jobs.append(job)
                    windows += len(job.rows)
                if windows >= MAX_RUN_WINDOWS or self._jobs.empty():
                    break
                job = self._jobs.get()
            if jobs:
                self._deliver(self._score(jobs))
            if job is None:
                return
            # Release the jobs now, not when the next job arrives.
            del job, jobs

    def _score(self, jobs: Sequence[Job]) -> list[tuple[Job, str | None]]:
        """Score jobs in one run and return each with None or the reason of a failure."""
        try:
            results = self.model.score([(job.rows, job.state) for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                return [(jobs[0], f"a run failed with {error!r}")]
            # Each alone, so that one call's failure does not affect the others.
            return [outcome for job in jobs for outcome in self._score([job])]
        for job, scores in zip(jobs, results, strict=True):
            if not job.is_abandoned:
                job.conclude(scores)
        return [(job, None) for job in jobs]

    def _deliver(self, outcomes: Sequence[tuple[Job, str | None]]) -> None:
        """Deliver jobs in their event loops, with one wake-up of each loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Job, str | None]]] = {}
        for outcome in outcomes:
            by_loop.setdefault(outcome[0].loop, []).append(outcome)
        for loop, of_loop in by_loop.items():
            call_in_loop(loop, self._deliver_in_loop, of_loop)

    def _deliver_in_loop(self, outcomes: Sequence[tuple[Job, str | None]]) -> None:
        for job, failure in outcomes:
            if not job.is_abandoned:
                del self._pending[job.loop][job]
                job.deliver(failure)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> dict[Job, int]:
        for other in list(self._pending):
            if other.is_closed():
                del self._pending[other]
        loop.call_later(STALL_TIMEOUT / 2, self._check_progress, loop)
        self._pending[loop] = {}
        return self._pending[loop]

    def _check_progress(self, loop: asyncio.AbstractEventLoop) -> None:
        """Twice in a stall timeout: count for how long jobs have been waiting."""
        pending = self._pending[loop]
        if not pending:
            del self._pending[loop]
            return
        stalled = []
        for job in pending:
            pending[job] += 1
            # Not by the clock, which goes on while the whole process is suspended. The first
            # check can follow the submission at once, so the second proves half a timeout.
            if pending[job] > 2:
                stalled.append(job)
        if stalled:
            retire_worker(self)
        for job in stalled:
            job.is_abandoned = True
            del pending[job]
            job.deliver(f"its thread has not answered for {STALL_TIMEOUT:g} s")
        loop.call_later(STALL_TIMEOUT / 2, self._check_progress, loop)


def call_in_loop(
    loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: object
) -> None:
    """Call a function in an event loop from another thread. Nothing happens in a closed loop."""
    try:
        loop.call_soon_threadsafe(callback, *arguments)
    except RuntimeError:
        logger.debug("The event loop was closed before the voice activity result was ready")


class _Shared:
    """The worker of this process, or the reason why there is none."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.worker: ModelWorker | None = None
        self.unusable: str | None = None
        self.retired = 0


_shared = _Shared()


def shared_worker() -> ModelWorker:
    """Return the worker of this process. The first call loads the model, which takes 0.1 s.

    A child process after `os.fork` gets a worker of its own.

    Raises:
        VADModelError: The model cannot be loaded at all.
        UnusableModelError: pipecat's own analyzer has to be used.
    """
    worker = _shared.worker
    if worker is not None:
        return worker
    with _shared.lock:
        if _shared.worker is None and _shared.unusable is None:
            try:
                _shared.worker = ModelWorker(load_model())
            except UnusableModelError as error:
                _shared.unusable = str(error)
        if _shared.worker is None:
            raise UnusableModelError(_shared.unusable)
        return _shared.worker


def retire_worker(worker: ModelWorker) -> None:
    """Stop using a worker that does not answer.

    The next call of `shared_worker` makes another worker, up to `MAX_WORKERS` in a process.
    """
    with _shared.lock:
        if _shared.worker is not worker:
            return
        _shared.worker = None
        _shared.retired += 1
        if _shared.retired == MAX_WORKERS:
            _shared.unusable = f"the shared speech model stalled {MAX_WORKERS} times"
    worker.stop(timeout=0)


def _forget_after_fork() -> None:
    """In a child process, the worker's thread does not exist and its locks may be held."""
    global _shared
    _shared = _Shared()


def _stop_at_exit() -> None:
    """End the thread before the interpreter shuts down."""
    if _shared.worker is not None:
        _shared.worker.stop(EXIT_TIMEOUT)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(_stop_at_exit)
