"""`TelephoneVADAnalyzer`: pipecat's voice activity detection at the telephone's sample rate."""

from __future__ import annotations

import asyncio
import copy
import os
import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module

import numpy as np
from loguru import logger
from pipecat.audio.utils import exp_smoothing
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState

from .model import Floats, ModelState, Scores, SpeechModel, UnusableModelError, VADModelError
from .resets import reset_rule
from .stream import ScoresMissingError, SpeechStream, WindowedPacket
from .worker import call_in_loop, shared_worker

SAMPLE_RATES = (8000, 16000)
# Maximum duration of audio that the shared worker scores in one packet, in seconds. Larger packets
# are scored in a separate thread of their call, so that they do not delay other calls.
MAX_SHARED_SECONDS = 1.0

# Private members of pipecat's base class that this analyzer overrides or calls. A newer pipecat may
# not have them.
_BASE_MEMBERS = ("_get_smoothed_volume", "_run_analyzer")
# Time after which a separate thread that scores audio of one call counts as stalled, in seconds.
# Such a thread needs less than 1 s for 5 minutes of audio.
THREAD_TIMEOUT = 10.0
# Time between checks whether another thread has finished with audio, in seconds.
_POLL_SECONDS = 0.005
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
    """A drop-in replacement of pipecat's `SileroVADAnalyzer` for telephone calls.

    It uses pipecat's model file and has the same parameters, states and timing as
    `SileroVADAnalyzer`, but analyzes the audio at 8 kHz, the sample rate of the telephone. All
    analyzers of a process share one model and one thread. One run of the model scores the waiting
    windows of all calls: it computes the probability of speech in each window of 32 ms.

    If the shared thread fails or does not answer, a separate thread of the call scores the audio,
    and a warning is logged. If the separate thread fails too, or the model file of the installed
    pipecat has an unknown structure, the analyzer uses pipecat's `SileroVADAnalyzer` for the rest
    of the call, and a warning is logged; `uses_pipecat` is then true.

    Analyzers in several event loops and in forked processes are supported. One analyzer belongs
    to one event loop at a time. If an event loop ends while audio is processed, the result of this
    audio is kept, and the analyzer may be used in another event loop.
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
        self._stream: SpeechStream | None = None
        # The packet whose windows `_run_analyzer` of the base class processes now, or None.
        self._packet: WindowedPacket | None = None
        # The state of the call before this packet.
        self._before: dict[str, object] = {}
        # The model that scores windows of this packet without a score, or None.
        self._packet_model: SpeechModel | None = None
        # Held while a packet of the call is processed.
        self._turn = asyncio.Lock()
        self._turn_loop: asyncio.AbstractEventLoop | None = None
        # The audio that another thread processes now, or None. Only this other thread changes the
        # state of the call until the audio is processed.
        self._analysis: _Analysis | None = None
        # Changes of the settings that wait until the audio has been processed.
        self._changes: list[Callable[[], None]] = []
        self._next_params: VADParams | None = None
        self._warned_of_odd_length = False
        missing = [name for name in _BASE_MEMBERS if not hasattr(VADAnalyzer, name)]
        if missing:
            self._use_pipecat(f"pipecat's VADAnalyzer has no member {', '.join(missing)}")
            return
        try:
            shared_worker()
        except UnusableModelError as error:
            self._use_pipecat(str(error))

    @property
    def uses_pipecat(self) -> bool:
        """Whether pipecat's `SileroVADAnalyzer` has replaced the shared model for this call."""
        return self._pipecat_analyzer is not None

    @property
    def params(self) -> VADParams:
        """The thresholds and times that were set last."""
        return self._next_params or self._params

    def set_sample_rate(self, sample_rate: int) -> None:
        """Set the sample rate of the audio, unless the constructor has set it.

        The state becomes `VADState.QUIET`. If audio is being processed, the change takes
        effect after this audio and before waiting audio.

        Args:
            sample_rate: Sample rate in Hz, 8000 or 16000.

        Raises:
            ValueError: The sample rate is not supported.
        """
        _check_rate(sample_rate)
        if self._analysis is not None:
            self._changes.append(partial(self._change_sample_rate, sample_rate))
        else:
            self._change_sample_rate(sample_rate)

    def set_params(self, params: VADParams) -> None:
        """Set thresholds and times. The state becomes `VADState.QUIET`.

        If audio is being processed, the change takes effect after this audio and before waiting
        audio.

        Args:
            params: Thresholds and times.
        """
        if self._analysis is not None:
            self._next_params = params
            self._changes.append(partial(self._change_params, params))
        else:
            self._change_params(params)

    def num_frames_required(self) -> int:
        """Return the number of samples in a window of 32 ms: 512 at 16000 Hz, 256 at 8000 Hz."""
        return 512 if self.sample_rate == 16000 else 256

    async def analyze_audio(self, buffer: bytes) -> VADState:
        """Process the next audio of the call, and return the state of the detector.

        If several tasks call this method at the same time, the audio is processed in the order in
        which they call it. If a task is cancelled while its audio is processed, the audio still
        changes the state.

        Args:
            buffer: 16-bit mono samples. An odd byte at the end is dropped, with one warning.

        Returns:
            The state after the last complete window of 32 ms.

        Raises:
            RuntimeError: `set_sample_rate` has not been called, or audio of this call is processed
                in another event loop that is running.
        """
        if self._pipecat_analyzer is not None:
            return await self._pipecat_analyzer.analyze_audio(buffer)
        if self._stream is None:
            raise RuntimeError("call set_sample_rate() before analyze_audio()")
        if len(buffer) % 2:
            buffer = self._without_odd_byte(buffer)
        loop = asyncio.get_running_loop()
        if self._turn_loop is not loop:
            self._move_to(loop)
        turn = self._turn
        await turn.acquire()
        try:
            if self._analysis is not None:
                await self._take_over(self._analysis)
            state = self._begin(buffer, turn, loop)
        except BaseException:
            turn.release()
            raise
        if isinstance(state, asyncio.Future):
            state = await state
        else:
            turn.release()
        if state is None:
            # pipecat's analyzer has replaced this analyzer, and it has not received this audio yet.
            return await self._fallback().analyze_audio(buffer)
        return state

    def voice_confidence(self, buffer: bytes) -> float:
        """Return the probability of speech in the next window.

        The method runs the model in the calling thread. Do not call it while `analyze_audio` runs.

        Args:
            buffer: One window of 16-bit mono samples (see `num_frames_required`).

        Returns:
            The probability from 0 to 1. If the buffer has another length, an error is logged and
            the result is 0.
        """
        if self._packet is not None:
            return self._next_confidence(self._packet, self._packet_model)
        if self._pipecat_analyzer is not None:
            # pipecat returns an array of one element, or the integer 0.
            return float(np.asarray(self._pipecat_analyzer.voice_confidence(buffer)).item())
        packet = None
        if self._stream is not None and len(buffer) == 2 * self.num_frames_required():
            packet = self._stream.cut(buffer)
        if packet is None:
            logger.error(
                f"TelephoneVADAnalyzer got {len(buffer)} bytes; a window has "
                f"{self.num_frames_required()} samples of 2 bytes"
            )
            return 0.0
        return self._next_confidence(packet, shared_worker().model)

    async def cleanup(self) -> None:
        """Release the resources of the analyzer. Audio that is being processed is not lost."""
        # pipecat's method has no annotations.
        await super().cleanup()  # type: ignore[no-untyped-call]
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
        if self._pipecat_analyzer is not None and self._pipecat_analyzer.sample_rate:
            self._pipecat_analyzer.set_params(params)

    def _new_stream(self) -> None:
        self._stream = SpeechStream(self.sample_rate, reset_rule())
        self._vad_buffer = b""

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use this analyzer in another event loop: create a new lock `_turn`.

        Raises:
            RuntimeError: Audio is processed in an event loop that is running.
        """
        left = self._analysis
        if left is not None and left.loop is not loop and left.loop.is_running():
            raise RuntimeError(
                "TelephoneVADAnalyzer is processing audio in another event loop, which is still "
                "running; create an analyzer for each call"
            )
        self._turn, self._turn_loop = asyncio.Lock(), loop

    async def _take_over(self, analysis: _Analysis) -> None:
        """Finish the processing of audio that was passed to an event loop that has ended."""
        if analysis.claim():
            analysis.process = os.getpid()
            analysis.run_in_own_thread()
        waited = 0.0
        while analysis.outcome is None:
            if analysis.process != os.getpid():
                # The process was forked while a thread stored the result. That thread does not
                # exist in this process, and the result is incomplete.
                self._packet = None
                self._new_stream()
                analysis.outcome = self._vad_state
                break
            if waited > THREAD_TIMEOUT:
                self._abandon(analysis)
                break
            await asyncio.sleep(_POLL_SECONDS)
            waited += _POLL_SECONDS
        if self._settle(analysis) is None:
            await self._fallback().analyze_audio(analysis.buffer)

    def _begin(
        self, buffer: bytes, turn: asyncio.Lock, loop: asyncio.AbstractEventLoop
    ) -> VADState | asyncio.Future[VADState | None] | None:
        """Process the audio now if it completes no window. Otherwise pass it to another thread.

        Returns:
            The state, or a future of the state; `turn` is released when the future is done. The
            state is None if pipecat's analyzer has to process the audio.
        """
        stream = self._stream
        if self._pipecat_analyzer is not None or stream is None:
            return None
        if len(buffer) > 2 * self.sample_rate * MAX_SHARED_SECONDS:
            analysis = _Analysis(self, stream, None, buffer, turn, loop)
            analysis.claim()
            self._analysis, self._before = analysis, self._call_state()
            analysis.run_in_own_thread()
            return analysis.future
        try:
            worker = shared_worker()
        except VADModelError as error:
            self._use_pipecat(str(error))
            return None
        packet = stream.cut(buffer)
        if packet is None:
            return self._run_analyzer(buffer)
        analysis = _Analysis(self, stream, packet, buffer, turn, loop)
        self._analysis = analysis
        try:
            # A stalled worker is stopped and replaced. This can happen in another event loop
            # between `shared_worker` and `submit`.
            while not worker.submit(analysis):
                worker = shared_worker()
        except (RuntimeError, VADModelError) as error:
            if analysis.claim():
                analysis.fail(str(error))
        return analysis.future

    def _settle(self, analysis: _Analysis) -> VADState | None:
        """Apply the result for the audio, and then the settings that were changed in the meantime.

        Returns:
            The state, or None if pipecat's analyzer has to process the audio.
        """
        self._analysis = None
        try:
            if isinstance(analysis.outcome, VADState):
                return analysis.outcome
            self._use_pipecat(f"the speech model failed with {analysis.outcome!r}")
            return None
        finally:
            changes, self._changes, self._next_params = self._changes, [], None
            for change in changes:
                change()

    def _run_here(
        self, stream: SpeechStream, packet: WindowedPacket | None, buffer: bytes
    ) -> VADState:
        """Compute the speech probabilities of audio in the calling thread, and update the state.

        Args:
            stream: Audio of the call.
            packet: The windows of `buffer`, or None if they are not cut yet.
            buffer: 16-bit mono samples.
        """
        if packet is None:
            packet = stream.cut(buffer)
        if packet is None:
            state: VADState = self._run_analyzer(buffer)
            return state
        return self._run_packet(packet, buffer, shared_worker().model)

    def _run_packet(
        self, packet: WindowedPacket, buffer: bytes, model: SpeechModel | None = None
    ) -> VADState:
        """Let the base class process the windows of a packet and update the state.

        Args:
            packet: The windows of `buffer`.
            buffer: 16-bit mono samples.
            model: Model that computes missing scores in the calling thread, or None.

        Raises:
            ScoresMissingError: A window has no score, and `model` is None. The state is as before.
            Exception: The audio has not been processed, and the state is as before.
        """
        self._before = before = self._call_state()
        if "_volume_tracker" in before and self._stream is not None and self._stream.scale is None:
            # Copy pipecat's volume tracker, because measuring the volume changes the tracker
            # itself.
            before["_volume_tracker"] = copy.deepcopy(before["_volume_tracker"])
        packet.rewind()
        self._packet, self._packet_model = packet, model
        try:
            state: VADState = self._run_analyzer(buffer)
            if not packet.is_finished:
                raise RuntimeError("pipecat's VADAnalyzer did not use the expected windows")
        except BaseException:
            self._restore(before)
            raise
        finally:
            self._packet = None
        return state

    def _call_state(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in _CALL_ATTRIBUTES if hasattr(self, name)}

    def _restore(self, state: dict[str, object]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def _abandon(self, analysis: _Analysis) -> None:
        """Stop waiting for the separate thread of this call, which does not finish."""
        # If the thread continues, it changes the state of this analyzer. The change has no effect,
        # because pipecat's analyzer replaces this analyzer, with a copy of the state before the
        # audio.
        self._restore(self._before)
        analysis.outcome = TimeoutError(f"a thread has not answered for {THREAD_TIMEOUT:g} s")

    def _next_confidence(self, packet: WindowedPacket, model: SpeechModel | None) -> float:
        return packet.next_confidence(self._vad_state == VADState.QUIET, model)

    def _get_smoothed_volume(self, audio: bytes) -> float:
        """Return the volume at the end of a window, smoothed as in the base class."""
        volume = None if self._packet is None else self._packet.volume()
        if volume is None:
            return float(super()._get_smoothed_volume(audio))
        return float(exp_smoothing(volume, self._prev_volume, self._smoothing_factor))

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
        """Replace the shared model by pipecat's `SileroVADAnalyzer`, and copy the state to it."""
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


class _Analysis:
    """Audio of one `analyze_audio` call that another thread processes. Implements `Job`.

    The thread that has reserved the analysis with `claim` processes the audio and sets `outcome`.
    No other thread touches the call until `outcome` is set.

    Attributes:
        buffer: The audio.
        loop: Event loop of the call.
        future: Future of the state; None if pipecat's analyzer has to process the audio.
        outcome: The state after the audio, or the error that prevented the processing. None while
            the audio is being processed.
        process: Id of the process that processes the audio.
    """

    __slots__ = (
        "_analyzer",
        "_claim",
        "_is_delivered",
        "_packet",
        "_stream",
        "_turn",
        "buffer",
        "future",
        "loop",
        "outcome",
        "process",
    )

    def __init__(
        self,
        analyzer: TelephoneVADAnalyzer,
        stream: SpeechStream,
        packet: WindowedPacket | None,
        buffer: bytes,
        turn: asyncio.Lock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Create an analysis. `deliver` releases `turn`.

        Args:
            analyzer: Analyzer of the call.
            stream: Audio of the call.
            packet: The windows of `buffer`, or None if they are not cut yet.
            buffer: 16-bit mono samples.
            turn: Lock of the analyzer, which is already locked.
            loop: Event loop of the call.
        """
        self.buffer = buffer
        self.loop = loop
        self.future: asyncio.Future[VADState | None] = loop.create_future()
        self.outcome: VADState | Exception | None = None
        self.process = os.getpid()
        self._analyzer = analyzer
        self._stream = stream
        self._packet = packet
        self._turn = turn
        self._is_delivered = False
        # The lock marks the reservation, because taking it without blocking is an atomic operation.
        self._claim = threading.Lock()

    @property
    def is_claimed(self) -> bool:
        """See `Job.is_claimed`."""
        return self._claim.locked()

    @property
    def rows(self) -> Floats:
        """See `Job.rows`."""
        return self._windows().missing_rows

    @property
    def state(self) -> ModelState:
        """See `Job.state`."""
        return self._stream.state

    def claim(self) -> bool:
        """See `Job.claim`."""
        return self._claim.acquire(blocking=False)

    def conclude(self, scores: Scores) -> bool:
        """See `Job.conclude`."""
        packet = self._windows()
        try:
            packet.accept(scores)
            self.outcome = self._analyzer._run_packet(packet, self.buffer)
        except ScoresMissingError:
            self._claim.release()
            return False
        except Exception as error:
            self.outcome = error
        return True

    def fail(self, reason: str) -> None:
        """See `Job.fail`. A thread of the call scores the packet."""
        _warn_once(
            f"The shared speech model has failed: {reason}. Affected calls score their audio in "
            "separate threads, which takes more CPU time."
        )
        self.run_in_own_thread()

    def deliver(self) -> None:
        """Set the future to the state, or to None after an error, and release the lock."""
        if self._is_delivered:
            # The event loop has stopped waiting for the thread, and the result was delivered
            # without it.
            return
        self._is_delivered = True
        state: VADState | None = None
        try:
            # If this loop did not run for some time, another event loop may have taken over the
            # call.
            if self._analyzer._analysis is self:
                state = self._analyzer._settle(self)
        except Exception as no_fallback:
            if not self.future.done():
                self.future.set_exception(no_fallback)
        else:
            # Set the result before the lock is released. The coroutine that waits for this result
            # then resumes before the coroutine that waits for the lock.
            if not self.future.done():
                self.future.set_result(state)
        finally:
            self._turn.release()

    def run_in_own_thread(self) -> None:
        """Process the audio in a new thread, after `claim`."""
        # The thread of pipecat's base class is not used, because it ends with `cleanup` and does
        # not exist in a forked process.
        try:
            threading.Thread(target=self._run_here, name="speech-model-of-a-call").start()
            call_in_loop(self.loop, self._check, 0)
        except RuntimeError as no_thread:
            self.outcome = no_thread
            call_in_loop(self.loop, self.deliver)

    def _check(self, checks: int) -> None:
        """Stop waiting for the thread of this audio if it has stalled. Runs in the event loop."""
        if self._is_delivered or self._analyzer._analysis is not self:
            return
        # Count checks instead of reading the clock, because the clock continues while the process
        # is suspended.
        if checks > 2 and self.outcome is None:
            self._analyzer._abandon(self)
            self.deliver()
        else:
            self.loop.call_later(THREAD_TIMEOUT / 2, self._check, checks + 1)

    def _run_here(self) -> None:
        try:
            self.outcome = self._analyzer._run_here(self._stream, self._packet, self.buffer)
        except Exception as error:
            self.outcome = error
        call_in_loop(self.loop, self.deliver)

    def _windows(self) -> WindowedPacket:
        if self._packet is None:
            raise RuntimeError("the audio of this analysis is not cut into windows")
        return self._packet


def _warn_once(message: str) -> None:
    """Log a warning, unless this process has logged it before."""
    if message not in _warnings_given:
        _warnings_given.add(message)
        logger.warning(message)


def _check_rate(sample_rate: int) -> None:
    if sample_rate not in SAMPLE_RATES:
        raise ValueError(
            f"TelephoneVADAnalyzer supports audio at 8000 and 16000 Hz, not at {sample_rate} Hz; "
            "set the input sample rate of the pipeline to one of these"
        )
