"""`TelephoneVADAnalyzer`: pipecat's voice activity detection at the telephone's sample rate."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from loguru import logger
from pipecat.audio.utils import exp_smoothing
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState

from pipecat_genesys._native import SpeechDetector

from .loudness import WINDOW_SECONDS, VolumeScale, expected_scale, volume_scale
from .model import UnusableModelError, shared_model
from .resets import ResetRule, reset_rule

SAMPLE_RATES = (8000, 16000)
# Maximum number of windows that are processed in the event loop without a pause. Processing them
# takes about 0.25 ms. Longer audio is processed in a thread of its call.
MAX_LOOP_WINDOWS = 16

# Private members of pipecat's base class that this analyzer overrides or calls. A newer pipecat may
# not have them.
_BASE_MEMBERS = ("_get_smoothed_volume", "_run_analyzer")
# Attributes of the base class that its `_run_analyzer` changes. They are restored if the processing
# of a packet fails, and copied to pipecat's analyzer when it replaces this analyzer.
_CALL_ATTRIBUTES = (
    "_prev_volume",
    "_vad_buffer",
    "_vad_starting_count",
    "_vad_state",
    "_vad_stopping_count",
    "_volume_tracker",
)

_warnings_given: set[str] = set()


class TelephoneVADAnalyzer(VADAnalyzer):
    """A drop-in replacement for pipecat's `SileroVADAnalyzer`, for telephone calls.

    It uses pipecat's model file and has the same parameters, states and timing as
    `SileroVADAnalyzer`, but analyzes the audio at 8 kHz, the sample rate of the telephone. Native
    code computes the model. A packet takes so little time that it is processed in the event loop.
    If 17 or more windows (0.54 s) are passed at once, they are processed in a thread of their call.

    If the model file of the installed pipecat has an unknown structure, or if pipecat's base class
    is not as expected, the analyzer uses pipecat's `SileroVADAnalyzer` for the rest of the call,
    and a warning is logged; `uses_pipecat` is then true.

    Analyzers in several event loops and in forked processes are supported. Calls of the methods of
    one analyzer must not overlap in several threads.
    """

    def __init__(self, *, sample_rate: int | None = None, params: VADParams | None = None) -> None:
        """Create an analyzer for one call. The first analyzer of a process loads the model (0.1 s).

        Args:
            sample_rate: Sample rate of the audio in Hz, 8000 or 16000. Default: the rate that
                the pipeline passes to `set_sample_rate`.
            params: Thresholds and times. Default: pipecat's defaults.

        Raises:
            VADModelError: The model file or onnxruntime is missing or unusable.
            ValueError: The sample rate is not supported.
        """
        if sample_rate is not None:
            _check_rate(sample_rate)
        super().__init__(sample_rate=sample_rate, params=params)
        self._pipecat_analyzer: VADAnalyzer | None = None
        self._detector: SpeechDetector | None = None
        # Conversion of energies to volumes, or None if pipecat has to measure the volume.
        self._scale: VolumeScale | None = None
        self._resets: ResetRule | None = None
        # Whether `_run_analyzer` of the base class runs, and the energy of its newest window.
        self._is_analyzing = False
        self._energy = 0.0
        # Time at which `_is_ahead_of_real_time` was last called, and number of windows since then.
        self._pause_time = 0.0
        self._windows_without_pause = 0
        # A thread for long audio, the id of the process to which the thread belongs, and the
        # unfinished work of the thread, oldest first.
        self._thread: ThreadPoolExecutor | None = None
        self._process_id = 0
        self._in_thread: list[Future[Any]] = []
        # Parameters that take effect when the thread has finished its work.
        self._next_params: VADParams | None = None
        self._warned_of_odd_length = False
        missing = [name for name in _BASE_MEMBERS if not hasattr(VADAnalyzer, name)]
        if missing:
            self._use_pipecat(f"pipecat's VADAnalyzer has no member {', '.join(missing)}")
            return
        try:
            shared_model()
        except UnusableModelError as error:
            self._use_pipecat(str(error))

    @property
    def uses_pipecat(self) -> bool:
        """Whether pipecat's `SileroVADAnalyzer` has replaced the native model for this call."""
        return self._pipecat_analyzer is not None

    @property
    def params(self) -> VADParams:
        """The thresholds and times that were set last."""
        return self._next_params or self._params

    def set_sample_rate(self, sample_rate: int) -> None:
        """Set the sample rate of the audio, unless the constructor has set it.

        The state becomes `VADState.QUIET`. The change takes effect after the audio that was passed
        to `analyze_audio` before. If the constructor has set another rate, a warning is logged, and
        that rate stays.

        Args:
            sample_rate: Sample rate in Hz, 8000 or 16000.

        Raises:
            ValueError: The sample rate is not supported.
        """
        _check_rate(sample_rate)
        self._after_thread(partial(self._change_sample_rate, sample_rate))

    def set_params(self, params: VADParams) -> None:
        """Set thresholds and times. The state becomes `VADState.QUIET`.

        The change takes effect after the audio that was passed to `analyze_audio` before.

        Args:
            params: Thresholds and times.
        """
        self._next_params = params
        self._after_thread(partial(self._change_params, params))

    def num_frames_required(self) -> int:
        """Return the number of samples in a window of 32 ms: 512 at 16000 Hz, 256 at 8000 Hz."""
        return 512 if self.sample_rate == 16000 else 256

    async def analyze_audio(self, buffer: bytes) -> VADState:
        """Process the next audio of the call, and return the state of the detector.

        If several tasks call this method at the same time, the audio is processed in the order in
        which they call it. If a task is cancelled, its audio still changes the state.

        Args:
            buffer: 16-bit mono samples. An odd byte at the end is dropped, with one warning.

        Returns:
            The state after the last complete window of 32 ms.

        Raises:
            RuntimeError: `set_sample_rate` has not been called.
        """
        if self._pipecat_analyzer is not None:
            return await self._pipecat_analyzer.analyze_audio(buffer)
        if self._detector is None:
            raise RuntimeError("call set_sample_rate() before analyze_audio()")
        if len(buffer) % 2:
            buffer = self._without_odd_byte(buffer)
        windows = len(buffer) // (2 * self.num_frames_required())
        if self._thread_is_busy() or windows > MAX_LOOP_WINDOWS:
            state = await self._analyze_in_thread(buffer)
        else:
            state = self._analyze(buffer)
            self._windows_without_pause += windows
            if self._windows_without_pause > MAX_LOOP_WINDOWS and self._is_ahead_of_real_time():
                # This method may be called in a loop that never waits. Let the other tasks of the
                # event loop run.
                await asyncio.sleep(0)
        if state is None:
            # pipecat's analyzer has replaced this analyzer, and it has not received this audio yet.
            return await self._fallback().analyze_audio(buffer)
        return state

    def voice_confidence(self, buffer: bytes) -> float:
        """Return the probability of speech in the next window.

        Do not call this method while `analyze_audio` runs.

        Args:
            buffer: One window of 16-bit mono samples (see `num_frames_required`).

        Returns:
            The probability from 0 to 1. If the buffer has another length, or if no sample rate is
            set, an error is logged and the result is 0.
        """
        if self._is_analyzing:
            return self._next_confidence()
        if self._pipecat_analyzer is not None:
            # pipecat returns an array of one element, or the integer 0.
            return float(np.asarray(self._pipecat_analyzer.voice_confidence(buffer)).item())
        if self._detector is None or len(buffer) != 2 * self.num_frames_required():
            logger.error(
                f"TelephoneVADAnalyzer got {len(buffer)} bytes; a window has "
                f"{self.num_frames_required()} samples of 2 bytes"
            )
            return 0.0
        self._detector.process(buffer)
        return self._next_confidence()

    async def cleanup(self) -> None:
        """Release the resources of the analyzer. Audio that is being processed is not lost."""
        # pipecat's method has no annotations.
        await super().cleanup()  # type: ignore[no-untyped-call]
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None
        if self._pipecat_analyzer is not None:
            await self._pipecat_analyzer.cleanup()  # type: ignore[no-untyped-call]

    def _change_sample_rate(self, sample_rate: int) -> None:
        fixed_rate = self._init_sample_rate
        if fixed_rate and fixed_rate != sample_rate:
            logger.warning(
                f"TelephoneVADAnalyzer(sample_rate={fixed_rate}) gets audio at {sample_rate} Hz "
                "and cannot detect speech reliably. Omit sample_rate, or pass the input sample "
                "rate of the pipeline."
            )
        previous = self.sample_rate
        super().set_sample_rate(sample_rate)
        if self._pipecat_analyzer is not None:
            self._pipecat_analyzer.set_sample_rate(sample_rate)
        elif self.sample_rate != previous:
            self._new_stream()

    def _change_params(self, params: VADParams) -> None:
        super().set_params(params)
        if self._next_params is params:
            self._next_params = None
        if self._pipecat_analyzer is not None and self._pipecat_analyzer.sample_rate:
            self._pipecat_analyzer.set_params(params)

    def _new_stream(self) -> None:
        self._scale = volume_scale(self.sample_rate)
        scale = self._scale or expected_scale(self.sample_rate)
        self._detector = SpeechDetector(
            shared_model(), self.sample_rate, scale.sections, scale.half_windows
        )
        self._resets = reset_rule()
        self._vad_buffer = b""

    def _analyze(self, buffer: bytes) -> VADState | None:
        """Let the base class process the windows of a packet and update the state.

        Returns:
            The state, or None if pipecat's analyzer has to process the audio.
        """
        if self._pipecat_analyzer is not None or self._detector is None:
            return None
        before = self._call_state()
        if self._scale is None and "_volume_tracker" in before:
            # Copy pipecat's volume tracker, because measuring the volume changes the tracker
            # itself.
            before["_volume_tracker"] = copy.deepcopy(before["_volume_tracker"])
        self._is_analyzing = True
        try:
            self._detector.process(buffer)
            state: VADState = self._run_analyzer(buffer)
            if self._detector.next_window() is not None:
                raise RuntimeError("pipecat's VADAnalyzer did not use the expected windows")
        except Exception as error:
            for name, value in before.items():
                setattr(self, name, value)
            self._use_pipecat(f"the analysis failed with {error!r}")
            return None
        finally:
            self._is_analyzing = False
        return state

    def _next_confidence(self) -> float:
        """Return the probability of speech in the next window. Reset the model if it is due."""
        window = None if self._detector is None else self._detector.next_window()
        if self._detector is None or self._resets is None or window is None:
            raise RuntimeError("pipecat's VADAnalyzer did not use the expected windows")
        confidence, self._energy = window
        if self._resets.is_due(confidence, self._vad_state == VADState.QUIET):
            self._detector.reset_model()
        return confidence

    def _get_smoothed_volume(self, audio: bytes) -> float:
        """Return the volume at the end of a window, smoothed as in the base class."""
        if self._scale is None:
            return float(super()._get_smoothed_volume(audio))
        volume = self._scale.volume(self._energy)
        return float(exp_smoothing(volume, self._prev_volume, self._smoothing_factor))

    def _call_state(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in _CALL_ATTRIBUTES if hasattr(self, name)}

    def _is_ahead_of_real_time(self) -> bool:
        """Return whether the audio since the last check arrived at more than twice real time."""
        now = time.monotonic()
        elapsed, self._pause_time = now - self._pause_time, now
        windows, self._windows_without_pause = self._windows_without_pause, 0
        return elapsed < windows * WINDOW_SECONDS / 2

    async def _analyze_in_thread(self, buffer: bytes) -> VADState | None:
        loop = asyncio.get_running_loop()
        finished = asyncio.Event()
        # `asyncio.wrap_future` is not used: it would cancel work that has not begun when the task
        # is cancelled.
        work = self._submit(partial(self._analyze, buffer))
        work.add_done_callback(lambda _: _call_in_loop(loop, finished.set))
        await finished.wait()
        state: VADState | None = work.result()
        return state

    def _thread_is_busy(self) -> bool:
        if not self._in_thread:
            return False
        if self._process_id != os.getpid():
            # The process was forked while the thread had work. The thread does not exist in this
            # process, and its results are incomplete.
            self._in_thread = []
            self._is_analyzing = False
            self._new_stream()
        self._in_thread = [work for work in self._in_thread if not work.done()]
        return bool(self._in_thread)

    def _after_thread(self, change: Callable[[], None]) -> None:
        """Apply a change now, or after the unfinished work of the thread of the call."""
        if self._thread_is_busy():
            self._submit(change)
        else:
            change()

    def _submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Call a function in the thread of the call, after the functions submitted before."""
        # The thread of pipecat's base class is not used, because it ends with `cleanup` and does
        # not exist in a forked process.
        if self._thread is None or self._process_id != os.getpid():
            self._process_id = os.getpid()
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="long-speech")
        work = self._thread.submit(function)
        self._in_thread.append(work)
        return work

    def _without_odd_byte(self, buffer: bytes) -> bytes:
        if not self._warned_of_odd_length:
            self._warned_of_odd_length = True
            logger.warning(
                f"TelephoneVADAnalyzer got audio of {len(buffer)} bytes, which is not a whole "
                "number of 16-bit samples. The last byte is dropped, now and in later audio."
            )
        return buffer[:-1]

    def _fallback(self) -> VADAnalyzer:
        if self._pipecat_analyzer is None:
            raise RuntimeError("call set_sample_rate() before analyze_audio()")
        return self._pipecat_analyzer

    def _use_pipecat(self, reason: str) -> None:
        """Replace the native model by pipecat's `SileroVADAnalyzer`, and copy the state to it."""
        if self._pipecat_analyzer is not None:
            return
        _warn_once(
            f"TelephoneVADAnalyzer uses pipecat's SileroVADAnalyzer, which takes more CPU time, "
            f"because {reason}"
        )
        silero = import_module("pipecat.audio.vad.silero")
        analyzer: VADAnalyzer = silero.SileroVADAnalyzer(
            sample_rate=self._init_sample_rate, params=self._params
        )
        if self.sample_rate:
            analyzer.set_sample_rate(self.sample_rate)
            for name in _CALL_ATTRIBUTES:
                if hasattr(self, name):
                    setattr(analyzer, name, getattr(self, name))
        self._pipecat_analyzer = analyzer


def _call_in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call a function in an event loop from another thread. Do nothing if the loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)


def _warn_once(message: str) -> None:
    """Log a warning, unless this process has logged it before."""
    if message not in _warnings_given:
        _warnings_given.add(message)
        logger.warning(message)


def _check_rate(sample_rate: int) -> None:
    if sample_rate not in SAMPLE_RATES:
        raise ValueError(
            f"TelephoneVADAnalyzer supports audio at 8000 and 16000 Hz, not at {sample_rate} Hz; "
            "set the input sample rate of the pipeline to 8000 or 16000"
        )
