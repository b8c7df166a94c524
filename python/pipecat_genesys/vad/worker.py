"""One thread that runs the model for all calls of the process.

A call submits the windows of one packet as a `Job`. The thread takes all waiting jobs, scores their
windows in one run of the model, and then takes the next jobs. It does not wait for more jobs: if
only one job is waiting, the run has only this job. The model runs without the GIL.
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

# If a run has this number of windows, no further job is added to it. Larger runs are not faster per
# window.
MAX_RUN_WINDOWS = 64
# Time without a result after which the worker counts as stalled, in seconds.
STALL_TIMEOUT = 2.0
# Maximum number of workers of a process. A new worker replaces a stalled worker.
MAX_WORKERS = 3
# Maximum time to wait for the thread when the process exits, in seconds.
EXIT_TIMEOUT = 5.0


class Job(Protocol):
    """The windows of one packet that the worker scores.

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
        """Process the scores. Called in the worker's thread; must not raise."""

    def deliver(self, failure: str | None) -> None:
        """Pass the result on. Called once, in the event loop of the call.

        Args:
            failure: None if `conclude` was called. Otherwise the reason why the job has no scores,
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
        # The jobs of each event loop that are not delivered, and the number of times that
        # `_check_progress` has seen each job.
        self._pending: dict[asyncio.AbstractEventLoop, dict[Job, int]] = {}

    def submit(self, job: Job) -> None:
        """Queue a job. Must be called in the event loop of the job.

        A call must not submit a job before its previous job is delivered, because that job
        determines the state before the first window.

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
        """End the thread after the queued jobs, and wait until it has ended.

        Args:
            timeout: Longest time to wait, in seconds. With 0 there is no wait, and with None there
                is no limit.
        """
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join(timeout)

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                # The `atexit` handler ends the thread. Without `daemon`, the interpreter would wait
                # for the thread before it runs the handler.
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
            # Release the jobs now. Otherwise they stay in memory until the next job arrives.
            del job, jobs

    def _score(self, jobs: Sequence[Job]) -> list[tuple[Job, str | None]]:
        """Score jobs in one run. Return each job with None, or with the reason of its failure."""
        try:
            results = self.model.score([(job.rows, job.state) for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                return [(jobs[0], f"a run failed with {error!r}")]
            # Score each job alone, so that the failure of one call does not affect other calls.
            return [outcome for job in jobs for outcome in self._score([job])]
        for job, scores in zip(jobs, results, strict=True):
            if not job.is_abandoned:
                job.conclude(scores)
        return [(job, None) for job in jobs]

    def _deliver(self, outcomes: Sequence[tuple[Job, str | None]]) -> None:
        """Deliver jobs in their event loops, with one callback for each loop."""
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
        """Find stalled jobs. This runs twice in each `STALL_TIMEOUT`."""
        pending = self._pending[loop]
        if not pending:
            del self._pending[loop]
            return
        stalled = []
        for job in pending:
            pending[job] += 1
            # Count checks instead of reading the clock, because the clock continues while the
            # process is suspended. The first check may come immediately after the submission, so a
            # third check means that at least one timeout has passed.
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
    """Call a function in an event loop from another thread. Do nothing if the loop is closed."""
    try:
        loop.call_soon_threadsafe(callback, *arguments)
    except RuntimeError:
        logger.debug("The event loop was closed before the voice activity result was ready")


class _Shared:
    """The worker of this process, or the reason why the process has no worker."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.worker: ModelWorker | None = None
        self.unusable: str | None = None
        self.retired = 0


_shared = _Shared()


def shared_worker() -> ModelWorker:
    """Return the worker of this process. The first call loads the model, which takes 0.1 s.

    After `os.fork`, the child process gets a new worker.

    Raises:
        VADModelError: The model cannot be loaded, and pipecat's own analyzer cannot be used either.
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
    """Forget the worker in a child process, where its thread does not exist.

    Locks that a thread of the parent process held stay locked in the child process.
    """
    global _shared
    _shared = _Shared()


def _stop_at_exit() -> None:
    """End the thread before the interpreter shuts down."""
    if _shared.worker is not None:
        _shared.worker.stop(EXIT_TIMEOUT)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(_stop_at_exit)
