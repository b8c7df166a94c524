"""What the application may still decide before Genesys gets its answer.

pipecat's events run in the background, after the answer was built. The hooks here are awaited
before it is, for as long as `SerializerParams.hook_timeout_secs`: within one, a handler can set
languages, variables or a pause, send last events, or refuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipecat_genesys.protocol import Draft, events, format_duration
from pipecat_genesys.protocol.entities import seconds

from .call_log import CallLog
from .params import SerializerParams

HOOKS: Mapping[type[events.Event], str] = {
    events.OpenReceived: "on_opening",
    events.UpdateReceived: "on_updating",
    events.CloseReceived: "on_closing",
}


class Answers:
    """Hooks before an answer, and what it is made of."""

    _params: SerializerParams
    _log: CallLog
    # Events and hooks that have handlers: without one nothing is awaited.
    _handled: set[str]
    # What the hook that runs now is about, and the answer it wants instead of the ordinary one.
    _asking: type[events.Event] | None = None
    _instead: Draft | None = None
    # What the application wants of `opened`; None where it said nothing.
    _start_paused: bool | None = None
    _languages: list[str] | None = None
    _discard_to: str | None = None

    if TYPE_CHECKING:

        async def _call_event_handler(self, event_name: str, *args: Any, **kwargs: Any) -> None:
            """Is pipecat's."""

    def set_supported_languages(self, languages: Sequence[str]) -> None:
        """Set the languages to name when Genesys asks; of use until ``opened`` is sent.

        Args:
            languages: Codes such as ``en-US``; replaces the parameter of this name.

        Raises:
            TypeError: If they are not a list of strings.
        """
        if isinstance(languages, str) or not all(isinstance(code, str) for code in languages):
            raise TypeError("supported languages are a list of codes such as 'en-US'")
        self._languages = list(languages)

    def set_discard_to(self, position: Any) -> None:
        """Ask Genesys not to send the audio before a position; of use until ``opened`` is sent.

        After a reconnection Genesys offers up to 20 s of what was said before; this says how far
        the application had come.

        Args:
            position: A position as Genesys counts them, which ``open`` and every message after it
                name: seconds, or the protocol's text (``PT1.5S``).

        Raises:
            ValueError: If it is neither, or negative.
        """
        self._discard_to = format_duration(seconds(position))

    async def _consult(self, event: events.Event) -> Draft | None:
        """Run the hook of an event, if it has one.

        Returns:
            The answer that the application wants instead of the ordinary one.
        """
        name = HOOKS.get(type(event))
        if name not in self._handled:
            return None
        if isinstance(event, events.UpdateReceived) and event.reply is None:
            return None
        self._asking, self._instead = type(event), None
        limit = self._params.hook_timeout_secs
        try:
            async with asyncio.timeout(limit):
                await self._call_event_handler(name, event.raw)
        except TimeoutError:
            self._log.once(
                "ERROR", f"{name} took longer than {limit} s; the answer goes out without it", name
            )
        finally:
            self._asking = None
        return self._instead
