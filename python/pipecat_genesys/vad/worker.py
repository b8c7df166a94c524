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
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

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


@dataclass(frozen=True, slots=True)
class WorkerFailure:
    """The worker could not score the windows of a job. The call's state has not changed.

    Attributes:
        reason: What happened, as the end of a sentence about the worker.
    """

    reason: str


class Job:
    """The windows of one packet on their way through the worker.

    Attributes:
        rows: Windows of shape (windows, 320).
        state: State of the call before the first window.
        loop: Event loop of the call.
        is_abandoned: Whether the job has counted as stalled. The worker skips such a job.
    """

    def __init__(
        self,
        rows: Floats,
        state: ModelState,
        loop: asyncio.AbstractEventLoop,
        conclude: Callable[[Scores], Any],
        deliver: Callable[[Any], None],
    ) -> None:
        """Create a job.

        Args:
            rows: Windows of shape (windows, 320), at least one.
            state: State of the call before the first window.
            loop: Event loop of the call.
            conclude: Called in the worker's thread with the scores; returns the result.
            deliver: Called once in the event loop with the result, a `WorkerFailure`, or the
                exception that `conclude` raised.
        """
        self.rows = rows
        self.state = state
        self.loop = loop
        self.is_abandoned = False
        self._conclude = conclude
        self._deliver = deliver
        self._result: Any = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def watch(self, timeout: float, on_stall: Callable[[], None]) -> None:
        """Call `on_stall` and deliver a failure if there is no result after `timeout`.

        Args:
            timeout: Time in seconds.
            on_stall: Called in the event loop.
        """
        # The timeout has two steps. After the process was suspended, the first step is over at
        # once, but the worker still has the time of the second step.
        half = timeout / 2
        stalled = partial(self._stall, timeout, on_stall)
        self._stall_timer = self.loop.call_later(half, self._watch_again, half, stalled)

    def conclude(self, scores: Scores) -> None:
        """Make the result from the scores. Runs in the worker's thread."""
        try:
            self._result = self._conclude(scores)
        except Exception as error:
            self._result = error

    def fail(self, error: Exception) -> None:
        """Make a failure of the model the result. Runs in the worker's thread."""
        self._result = WorkerFailure(f"a run failed with {error!r}")

    def deliver(self) -> None:
        """Deliver the result. Runs in the event loop."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        if not self.is_abandoned:
            self._deliver(self._result)

    def _watch_again(self, timeout: float, stalled: Callable[[], None]) -> None:
        self._stall_timer = self.loop.call_later(timeout, stalled)

    def _stall(self, timeout: float, on_stall: Callable[[], None]) -> None:
        self.is_abandoned = True
        on_stall()
        self._deliver(WorkerFailure(f"its thread has not answered for {timeout:.1f} s"))


class ModelWorker:
    """A thread that scores jobs with one model. The thread starts with the first job."""

    def __init__(self, model: SpeechModel) -> None:
        """Create a worker for `model`."""
        self.model = model
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()

    def submit(self, job: Job) -> None:
        """Queue a job. Runs in the event loop of the job.

        A call must not submit a job before its previous one is delivered, because the state
        before the first window is then unknown.

        Raises:
            RuntimeError: The operating system does not allow another thread.
        """
        if self._thread is None:
            self._start()
        job.watch(STALL_TIMEOUT, partial(retire_worker, self))
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
                self._score(jobs)
                _deliver(jobs)
            if job is None:
                return
            # Release the jobs now, not when the next job arrives.
            del job, jobs

    def _score(self, jobs: Sequence[Job]) -> None:
        try:
            results = self.model.score([(job.rows, job.state) for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].fail(error)
            else:
                # One call's failure must not end the others.
                for job in jobs:
                    self._score([job])
            return
        for job, scores in zip(jobs, results, strict=True):
            if not job.is_abandoned:
                job.conclude(scores)


def call_in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call a function in an event loop from another thread. Nothing happens in a closed loop."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        logger.debug("The event loop was closed before the voice activity result was ready")


def _deliver(jobs: Sequence[Job]) -> None:
    """Deliver jobs in their event loops, with one wake-up of each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, of_loop in by_loop.items():
        call_in_loop(loop, partial(_deliver_in_loop, of_loop))


def _deliver_in_loop(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.deliver()


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
