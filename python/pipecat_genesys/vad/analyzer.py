"""`TelephoneVADAnalyzer`: pipecat's voice activity detection at the telephone's sample rate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from importlib import import_module

import numpy as np
from loguru import logger
from pipecat.audio.utils import exp_smoothing
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState

from .model import ModelState, Scores, UnusableModelError
from .resets import reset_rule
from .stream import SpeechStream, WindowedPacket
from .worker import call_in_loop, shared_worker

SAMPLE_RATES = (8000, 16000)
# Duration of the largest packet that the shared worker scores, in seconds. Larger packets are
# scored in a separate thread of their call, so that they do not delay other calls.
MAX_SHARED_SECONDS = 1.0

# Private members of pipecat's base class that this analyzer overrides or calls. A newer pipecat may
# not have them.
_BASE_MEMBERS = ("_get_smoothed_volume", "_run_analyzer")
# Attributes of the base class that are copied to pipecat's analyzer when it replaces this analyzer.
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

    It uses pipecat's model file and has the same parameters, states and timing, but judges the
    audio at 8 kHz, the sample rate of the telephone. All analyzers of a process share one model
    and one thread, which scores the waiting windows of all calls in one run.

    If the shared thread fails or does not answer, a separate thread of the call scores the audio,
    and a warning is logged. If that thread fails too, or the model file of the installed pipecat
    has an unknown structure, the analyzer uses pipecat's `SileroVADAnalyzer` for the rest of the
    call, and a warning is logged; `uses_pipecat` is then true.

    Analyzers in several event loops and in forked processes are supported. One analyzer belongs
    to one event loop at a time.
    """

    def __init__(self, *, sample_rate: int | None = None, params: VADParams | None = None) -> None:
        """Create an analyzer for one call. The first analyzer of a process loads the model (0.1 s).

        Args:
            sample_rate: Sample rate of the audio in Hz, 8000 or 16000. Default: the rate that
                the pipeline passes to `set_sample_rate`.
            params: Thresholds and times. Default: those of pipecat.

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
        # Held while a packet of the call is processed.
        self._turn = asyncio.Lock()
        self._turn_loop: asyncio.AbstractEventLoop | None = None
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

    def set_sample_rate(self, sample_rate: int) -> None:
        """Set the sample rate of the audio, unless the constructor has set it.

        Args:
            sample_rate: Sample rate in Hz, 8000 or 16000.

        Raises:
            ValueError: The sample rate is not supported.
        """
        _check_rate(sample_rate)
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
            self._stream = SpeechStream(self.sample_rate, reset_rule())
            self._vad_buffer = b""

    def set_params(self, params: VADParams) -> None:
        """Set thresholds and times. The state becomes `VADState.QUIET`.

        Args:
            params: Thresholds and times.
        """
        super().set_params(params)
        if self._pipecat_analyzer is not None and self._pipecat_analyzer.sample_rate:
            self._pipecat_analyzer.set_params(params)

    def num_frames_required(self) -> int:
        """Return the number of samples in a window: 512 at 16000 Hz, 256 at 8000 Hz."""
        return 512 if self.sample_rate == 16000 else 256

    async def analyze_audio(self, buffer: bytes) -> VADState:
        """Process the next audio of the call, and return the state of the detector.

        Concurrent calls of this method are processed in their order. If a call is cancelled while
        its audio is processed, the audio still changes the state.

        Args:
            buffer: 16-bit mono samples. An odd byte at the end is dropped, with one warning.

        Returns:
            The state after the last complete window of 32 ms.

        Raises:
            RuntimeError: `set_sample_rate` has not been called.
        """
        if self._pipecat_analyzer is not None:
            return await self._pipecat_analyzer.analyze_audio(buffer)
        if self._stream is None:
            raise RuntimeError("call set_sample_rate() before analyze_audio()")
        if len(buffer) % 2:
            buffer = self._without_odd_byte(buffer)
        loop = asyncio.get_running_loop()
        if self._turn_loop is not loop:
            self._turn, self._turn_loop = asyncio.Lock(), loop
        turn = self._turn
        await turn.acquire()
        try:
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

        This runs the model in the calling thread. It must not be called while `analyze_audio` runs.

        Args:
            buffer: One window of 16-bit mono samples (see `num_frames_required`).

        Returns:
            The probability from 0 to 1. For a buffer of another length: 0, with an error in the
            log.
        """
        if self._packet is not None:
            return self._next_confidence(self._packet)
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
        return self._next_confidence(packet)

    async def cleanup(self) -> None:
        """Release the resources of the analyzer. Audio that is being processed is not lost."""
        # pipecat's method has no annotations.
        await super().cleanup()  # type: ignore[no-untyped-call]
        if self._pipecat_analyzer is not None:
            await self._pipecat_analyzer.cleanup()  # type: ignore[no-untyped-call]

    def _begin(
        self, buffer: bytes, turn: asyncio.Lock, loop: asyncio.AbstractEventLoop
    ) -> VADState | asyncio.Future[VADState | None] | None:
        """Process audio immediately, or begin to process it.

        Returns:
            The state, or a future of the state; `turn` is released when the future is done. The
            state is None if pipecat's analyzer has to process the audio.
        """
        stream = self._stream
        if self._pipecat_analyzer is not None or stream is None:
            return None
        if len(buffer) > 2 * self.sample_rate * MAX_SHARED_SECONDS:
            analysis = _Analysis(self, turn, loop)
            analysis.run_in_own_thread(self._run_long, stream, buffer)
            return analysis.future
        packet = stream.cut(buffer)
        if packet is None:
            return self._run_analyzer(buffer)
        try:
            worker = shared_worker()
        except UnusableModelError as error:
            self._use_pipecat(str(error))
            return None
        analysis = _Analysis(self, turn, loop)
        worker.submit(_PacketJob(self, analysis, packet, buffer, stream.state, loop))
        return analysis.future

    def _run_long(self, stream: SpeechStream, buffer: bytes) -> VADState:
        """Cut and score long audio in this thread and update the state."""
        packet = stream.cut(buffer)
        return self._run_analyzer(buffer) if packet is None else self._run_packet(packet, buffer)

    def _run_packet(self, packet: WindowedPacket, buffer: bytes) -> VADState:
        """Let the base class process the windows of a packet and update the state."""
        self._packet = packet
        try:
            state: VADState = self._run_analyzer(buffer)
        finally:
            self._packet = None
        if not packet.is_finished:
            raise RuntimeError("pipecat's VADAnalyzer did not use the expected windows")
        return state

    def _next_confidence(self, packet: WindowedPacket) -> float:
        return packet.next_confidence(shared_worker().model, self._vad_state == VADState.QUIET)

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
    """The processing of one piece of audio in another thread, until the state is known.

    Attributes:
        future: Future of the state; None if pipecat's analyzer has to process the audio.
    """

    __slots__ = ("_analyzer", "_loop", "_turn", "future")

    def __init__(
        self, analyzer: TelephoneVADAnalyzer, turn: asyncio.Lock, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Create an analysis that releases `turn` when it is finished."""
        self.future: asyncio.Future[VADState | None] = loop.create_future()
        self._analyzer = analyzer
        self._turn = turn
        self._loop = loop

    def run_in_own_thread(self, run: Callable[..., VADState], *arguments: object) -> None:
        """Run a function in the thread of pipecat's base class, which each call has."""
        running = self._analyzer._executor.submit(run, *arguments)
        running.add_done_callback(lambda done: call_in_loop(self._loop, self._thread_done, done))

    def finish(self, result: VADState | BaseException) -> None:
        """Set the future to a state, or to None after an error, and release the turn."""
        state: VADState | None = None
        try:
            if isinstance(result, BaseException):
                self._analyzer._use_pipecat(f"the speech model failed with {result!r}")
            else:
                state = result
        except Exception as no_fallback:
            if not self.future.done():
                self.future.set_exception(no_fallback)
        else:
            # Set the result before the turn is released. Then the coroutine whose audio failed
            # resumes before the coroutine that waits for the turn.
            if not self.future.done():
                self.future.set_result(state)
        finally:
            self._turn.release()

    def _thread_done(self, done: Future[VADState]) -> None:
        self.finish(done.exception() or done.result())


class _PacketJob:
    """One packet that the shared worker scores. Implements `Job`."""

    __slots__ = (
        "_analysis",
        "_analyzer",
        "_buffer",
        "_packet",
        "_result",
        "is_abandoned",
        "loop",
        "rows",
        "state",
    )

    def __init__(
        self,
        analyzer: TelephoneVADAnalyzer,
        analysis: _Analysis,
        packet: WindowedPacket,
        buffer: bytes,
        state: ModelState,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.rows = packet.rows
        self.state = state
        self.loop = loop
        self.is_abandoned = False
        self._analyzer = analyzer
        self._analysis = analysis
        self._packet = packet
        self._buffer = buffer
        self._result: VADState | Exception = VADState.QUIET

    def conclude(self, scores: Scores) -> None:
        """See `Job.conclude`."""
        try:
            self._packet.accept(scores)
            self._result = self._analyzer._run_packet(self._packet, self._buffer)
        except Exception as error:
            self._result = error

    def deliver(self, failure: str | None) -> None:
        """See `Job.deliver`. If the worker has failed, a thread of the call scores the packet."""
        if failure is None:
            self._analysis.finish(self._result)
            return
        _warn_once(
            f"The shared speech model has failed: {failure}. Affected calls score their audio in "
            "separate threads, which takes more CPU time."
        )
        try:
            self._analysis.run_in_own_thread(self._analyzer._run_packet, self._packet, self._buffer)
        except RuntimeError as no_thread:
            self._analysis.finish(no_thread)


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
