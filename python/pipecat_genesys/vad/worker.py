"""One thread that runs the model for all telephone calls of the process.

A call submits the windows of one audio packet as a `Job`. To score a window means to compute its
probability of speech. The thread takes all waiting jobs, scores their windows in one run of the
model, and then takes the next jobs. It does not wait for more jobs: if only one job is waiting, the
run has only this job. The model runs without the GIL.
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

    Exactly one thread may store the result of a job. A thread reserves the job with `claim` before
    it stores the result; the thread that fails to reserve it must not touch the call.

    Attributes:
        loop: Event loop of the call.
    """

    loop: asyncio.AbstractEventLoop

    @property
    def is_claimed(self) -> bool:
        """Whether a thread has reserved the job."""

    @property
    def rows(self) -> Floats:
        """The windows to score, as an array of shape (windows, 512), with at least one window."""

    @property
    def state(self) -> ModelState:
        """State of the call before the first window."""

    def claim(self) -> bool:
        """Reserve the job for this thread. Return False if another thread has reserved it."""

    def conclude(self, scores: Scores) -> bool:
        """Store the scores, after `claim`.

        The worker calls this method. It must not raise an exception or run the model.

        Returns:
            True if the job is finished. False if the job needs another run, because the state was
            reset within the packet; the job is then no longer reserved.
        """

    def fail(self, reason: str) -> None:
        """Compute the scores without the worker, after `claim`. Must not raise.

        Args:
            reason: Why the worker did not compute the scores, for a log line.
        """

    def deliver(self) -> None:
        """Pass the result to the call, after `conclude`. Called in the event loop of the call."""


class ModelWorker:
    """A thread that scores jobs with one model. The thread starts with the first job."""

    def __init__(self, model: SpeechModel) -> None:
        """Create a worker for `model`."""
        self.model = model
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # Held while the thread starts, and while a job or the end mark (None) is added to the
        # queue.
        self._lock = threading.Lock()
        self._is_stopped = False
        # The jobs of each event loop that are not delivered, and the number of times that
        # `_check_progress` has seen each job.
        self._pending: dict[asyncio.AbstractEventLoop, dict[Job, int]] = {}

    def submit(self, job: Job) -> bool:
        """Queue a job. Must be called in the event loop of the job.

        A call must not submit a job before its previous job is finished, because that job
        determines the state before the first window.

        Returns:
            Whether the job was queued. False if the worker has been stopped.

        Raises:
            RuntimeError: The operating system does not allow another thread.
        """
        with self._lock:
            if self._is_stopped:
                return False
            if self._thread is None:
                self._start()
            pending = self._pending.get(job.loop)
            if pending is None:
                pending = self._watch(job.loop)
            pending[job] = 0
            self._jobs.put(job)
        return True

    def stop(self, timeout: float | None = None) -> None:
        """End the thread after the queued jobs, and wait until the thread has ended.

        Args:
            timeout: Longest time to wait, in seconds. With 0 there is no wait, and with None there
                is no limit.
        """
        with self._lock:
            self._is_stopped = True
            self._jobs.put(None)
        if self._thread is not None:
            self._thread.join(timeout)

    def _start(self) -> None:
        # The `atexit` handler ends the thread. Without `daemon`, the interpreter would wait for the
        # thread before it runs the handler.
        thread = threading.Thread(target=self._run, name="speech-model", daemon=True)
        thread.start()
        self._thread = thread

    def _run(self) -> None:
        ended = False
        # Jobs that need another run are queued again, possibly after None, which ends the thread.
        while not ended or not self._jobs.empty():
            jobs: list[Job] = []
            windows = 0
            while windows < MAX_RUN_WINDOWS:
                # Wait for a job only if no other job is ready to be scored.
                if (jobs or ended) and self._jobs.empty():
                    break
                job = self._jobs.get()
                if job is None:
                    ended = True
                elif not job.is_claimed:
                    jobs.append(job)
                    windows += len(job.rows)
            if jobs:
                self._deliver(self._score(jobs))
            # Release the jobs now. Otherwise the two variables keep the jobs in memory until the
            # next job arrives.
            del job, jobs

    def _score(self, jobs: Sequence[Job]) -> list[tuple[Job, bool]]:
        """Compute the scores of jobs in one run of the model.

        Returns:
            Pairs of a finished job, and whether its scores are stored in the job. Jobs that need
            another run, and jobs that another thread has reserved, are not returned.
        """
        try:
            results = self.model.score([(job.rows, job.state) for job in jobs])
        except Exception as error:
            if len(jobs) > 1:
                # Score each job alone, so that one call's failure does not affect other calls.
                return [outcome for job in jobs for outcome in self._score([job])]
            [job] = jobs
            if not job.claim():
                return []
            job.fail(f"a run failed with {error!r}")
            return [(job, False)]
        outcomes = []
        for job, scores in zip(jobs, results, strict=True):
            # If this worker stalled, another thread has claimed the job and scores it.
            if not job.claim():
                continue
            if job.conclude(scores):
                outcomes.append((job, True))
            else:
                self._jobs.put(job)
        return outcomes

    def _deliver(self, outcomes: Sequence[tuple[Job, bool]]) -> None:
        """Deliver jobs in their event loops, with one callback for each loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Job, bool]]] = {}
        for outcome in outcomes:
            by_loop.setdefault(outcome[0].loop, []).append(outcome)
        for loop, of_loop in by_loop.items():
            call_in_loop(loop, self._deliver_in_loop, of_loop)

    def _deliver_in_loop(self, outcomes: Sequence[tuple[Job, bool]]) -> None:
        for job, is_finished in outcomes:
            self._pending.get(job.loop, {}).pop(job, None)
            if is_finished:
                job.deliver()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> dict[Job, int]:
        for other in list(self._pending):
            if other.is_closed():
                self._pending.pop(other, None)
        loop.call_later(STALL_TIMEOUT / 2, self._check_progress, loop)
        self._pending[loop] = {}
        return self._pending[loop]

    def _check_progress(self, loop: asyncio.AbstractEventLoop) -> None:
        """Find jobs that wait too long, and let their calls process them without the worker.

        This method runs twice in each `STALL_TIMEOUT`.
        """
        pending = self._pending[loop]
        if not pending:
            del self._pending[loop]
            return
        stalled = []
        for job in list(pending):
            pending[job] += 1
            # Count checks instead of reading the clock, because the clock continues while the
            # process is suspended. The first check may come immediately after the submission, so a
            # third check means that at least `STALL_TIMEOUT` has passed. A job that another thread
            # has claimed is not stalled, because the other thread finishes the job.
            if pending[job] > 2:
                if job.claim():
                    stalled.append(job)
                if job in stalled or pending[job] > 4:
                    del pending[job]
        if stalled:
            retire_worker(self)
        for job in stalled:
            job.fail(f"its thread has not answered for {STALL_TIMEOUT:g} s")
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
    """Return the worker of this process.

    The first use of this function loads the model, which takes 0.1 s.

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

    `shared_worker` then creates another worker, up to `MAX_WORKERS` workers in a process.
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
    """Remove the worker in a child process, where the worker's thread does not exist.

    The lock is replaced too, because a lock that a thread of the parent process held stays locked.
    """
    global _shared
    _shared = _Shared()


def _stop_at_exit() -> None:
    """End the thread before the interpreter shuts down."""
    with _shared.lock:
        ending, _shared.worker = _shared.worker, None
        _shared.unusable = "the process is ending"
    if ending is not None:
        ending.stop(EXIT_TIMEOUT)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(_stop_at_exit)
