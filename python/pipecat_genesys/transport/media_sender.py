"""Reduces the CPU time that Pipecat's media sender needs to wait for frames.

The media sender of Pipecat's output transport waits for each frame with `asyncio.wait_for`, to
report after some seconds without a frame that the bot has stopped speaking. `asyncio.wait_for`
starts a timer for each frame, and on Python 3.11 also a task. This takes an eighth of the CPU time
of a call in which the bot speaks. `_next_frames` does the same with one timer for many frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import CodeType
from typing import Any

from pipecat.frames.frames import Frame
from pipecat.transports.base_output import BaseOutputTransport

try:
    from pipecat.transports.base_output import BOT_VAD_STOP_FALLBACK_SECS
except ImportError:  # pipecat versions before 1.14 do not have this name
    BOT_VAD_STOP_FALLBACK_SECS = 0

# The names that Pipecat's function uses. If another version of Pipecat uses other names, its
# function may process frames differently, so the function is then not replaced.
_KNOWN_NAMES = {
    *("asyncio", "wait_for", "_audio_queue", "get", "_filter_audio", "_apply_volume"),
    *("task_done", "TimeoutError", "_bot_stopped_speaking"),
}


def _is_known() -> bool:
    method = getattr(BaseOutputTransport.MediaSender, "_next_frame", None)
    constants = [] if method is None else method.__code__.co_consts
    functions = [one for one in constants if isinstance(one, CodeType)]
    names = [set(one.co_names) for one in functions if one.co_name == "without_mixer"]
    return names == [_KNOWN_NAMES]


_IS_KNOWN = _is_known()


def save_timers(sender: Any) -> None:
    """Make a media sender without a mixer use one timer for many frames.

    The media sender must not have run yet. `restore` breaks the reference cycle that this function
    makes. With a version of Pipecat that waits in another way, the media sender is not changed.

    Args:
        sender: Pipecat's media sender.
    """
    if _IS_KNOWN:
        sender._next_frame = lambda: _next_frames(sender)


def restore(sender: Any) -> None:
    """Remove the change of `save_timers`, if there is one."""
    vars(sender).pop("_next_frame", None)


async def _next_frames(sender: Any) -> AsyncGenerator[Frame, None]:
    """Yield the frames of a media sender's queue."""
    queue = sender._audio_queue
    silence = _SilenceTimer(sender)
    try:
        while True:
            frame = await queue.get()
            await sender._filter_audio(frame)
            sender._apply_volume(frame)
            yield frame
            queue.task_done()
            if sender._bot_speaking:
                silence.restart()
    finally:
        silence.cancel()


class _SilenceTimer:
    """Reports that the bot has stopped speaking if no frame follows for some seconds."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._silent_at = 0.0

    def restart(self) -> None:
        """Begin to wait again, because a frame has arrived."""
        self._silent_at = self._loop.time() + BOT_VAD_STOP_FALLBACK_SECS
        if self._timer is None:
            self._timer = self._loop.call_at(self._silent_at, self._check)

    def cancel(self) -> None:
        """Stop waiting."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        self._timer = None
        if not self._sender._bot_speaking:
            return
        if self._loop.time() < self._silent_at:
            self._timer = self._loop.call_at(self._silent_at, self._check)
        else:
            self._sender._transport.create_task(self._sender._bot_stopped_speaking())
