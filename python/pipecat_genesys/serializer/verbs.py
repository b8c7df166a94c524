"""What the application says to Genesys, beyond audio and the frames pipecat has for it.

How a message gets to a socket is not told here: `Verbs._push` is for whoever knows.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from pipecat_genesys.protocol import (
    MAX_MESSAGE_BYTES,
    AudioHookMessageType,
    AudioHookSession,
    DisconnectReason,
    Draft,
    State,
    events,
    fields,
    server_messages,
)
from pipecat_genesys.protocol.entities import Entity, Token, Transcript

from .answers import Answers
from .messages import string_map

# What the envelope takes; an id may have 256 characters.
_MAX_EVENT_BYTES = MAX_MESSAGE_BYTES - 2000
_UNOPENED = (State.PREPARING, State.OPENING)


class Verbs(Answers):
    """The verbs; each returns whether its message is on its way.

    It is not where the session does not allow it any more (or not yet): after ``close``, say. As
    callers hang up when they like, that is no error.
    """

    _session: AudioHookSession
    _is_open: bool
    _output_variables: dict[str, Any] | None

    async def pause(self) -> bool:
        """Ask Genesys to stop the audio; it answers ``paused``.

        Before ``opened`` is sent: open the session paused. In ``on_updating``: answer the update
        so, as the protocol wants it for a language that is not supported.

        Returns:
            Whether it is on its way. Genesys takes 2 a second.
        """
        if self._session.state in _UNOPENED:
            self._start_paused = True
            return True
        if self._asking is events.UpdateReceived:
            self._instead = server_messages.pause()
            return True
        return await self._push(server_messages.pause())

    async def resume(self) -> bool:
        """Ask Genesys for the audio after a pause.

        It answers ``resumed``, or ``paused`` while it is paused for reasons of its own; audio
        comes when those end.

        Returns:
            Whether it is on its way. Genesys takes 2 a second.
        """
        if self._session.state in _UNOPENED:
            self._start_paused = False
            return True
        return await self._push(server_messages.resume())

    async def send_event(self, entity: Entity | str, data: Any = None) -> bool:
        """Report something.

        Args:
            entity: One of `pipecat_genesys.protocol.entities`, or the name of one of your own.
            data: With a name, its data: anything JSON has.

        Returns:
            Whether it is on its way.

        Raises:
            ValueError: If JSON cannot encode the data, or it is too large for a message.
        """
        draft = (
            server_messages.event(entity, data)
            if isinstance(entity, str)
            else server_messages.entity(entity)
        )
        name = draft.parameters["entities"][0]["type"]
        try:
            size = fields.wire_size(fields.encode(draft.parameters))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"event {name!r} cannot be sent: {error}") from None
        if size > _MAX_EVENT_BYTES:
            raise ValueError(
                f"event {name!r} takes {size} bytes; Genesys accepts {MAX_MESSAGE_BYTES} in a "
                "message"
            )
        return await self._push(draft)

    async def send_transcript(
        self,
        text: str,
        *,
        offset: Any,
        duration: Any,
        channel: str = "external",
        is_final: bool = True,
        confidence: float = 1.0,
        language: str | None = None,
        tokens: Sequence[Token] | None = None,
        id: str | None = None,
    ) -> bool:
        """Report what was said.

        Args:
            text: What was said.
            offset: Where it begins on the stream's timeline, in seconds; `stream_offset` knows.
            duration: How long it is, in seconds.
            channel: Whose voice: ``external`` or ``internal``.
            is_final: Whether this will not change any more.
            confidence: 0 to 1.
            language: Code of what was spoken.
            tokens: The words, where they are known.
            id: A UUID that the interim results and the final one of an utterance share; by
                default a new one.

        Returns:
            Whether it is on its way.

        Raises:
            ValueError: If something makes no sense (the message names it), or the session's
                medium does not carry the channel.
        """
        media = self._session.media
        if media is None:
            return False
        transcript = Transcript.of(
            text,
            id=id or str(uuid.uuid4()),
            channel_id=media.channel_id(channel),
            offset=offset,
            duration=duration,
            is_final=is_final,
            confidence=confidence,
            language=language,
            tokens=tokens,
        )
        return await self.send_event(transcript)

    async def disconnect(
        self,
        reason: str = "completed",
        *,
        info: str | None = None,
        output_variables: dict[str, Any] | None = None,
    ) -> bool:
        """End the session; Genesys answers ``close``.

        In ``on_opening`` it refuses the session. A bot that speaks first waits for
        ``on_playback_completed``. Frames that end the pipeline say it too, but pipecat's
        transport then closes the socket at once; after this verb Genesys does, as it should.

        Args:
            reason: ``completed``, ``error`` (the flow's failure path; may be retried) or
                ``unauthorized``.
            info: A line for Genesys's log; no personal data.
            output_variables: Variables for the Architect flow; by default those that were set.

        Returns:
            Whether it is on its way; at most one is sent.

        Raises:
            ValueError: If the reason is another, or JSON cannot encode a variable.
        """
        if reason not in set(DisconnectReason):
            known = ", ".join(DisconnectReason)
            raise ValueError(f"disconnect reason {reason!r}; Genesys knows {known}")
        if output_variables is not None:
            server_messages.to_string_map(output_variables)
        variables = self._output_variables if output_variables is None else output_variables
        draft = server_messages.disconnect(
            reason, info=info, output_variables=string_map(variables, self._log.once)
        )
        if self._asking in (events.OpenReceived, events.UpdateReceived):
            if self._instead is not None and self._instead.type is AudioHookMessageType.DISCONNECT:
                return False
            self._instead = draft
            return True
        return await self._push(draft)

    async def reconnect(self, info: str | None = None) -> bool:
        """Ask Genesys to continue in a new session (Monitor; where it is configured to).

        This one goes on until Genesys closes it with the reason ``reconnect``.

        Args:
            info: A line for Genesys's log; no personal data.

        Returns:
            Whether it is on its way.
        """
        return await self._push(server_messages.reconnect(info))

    async def connection_lost(self) -> None:
        """Take note that the socket is gone; without ``closed`` it is an end of its own kind.

        Calls ``on_connection_lost``, once.
        """
        event = self._session.connection_lost()
        if event is None:
            return
        self._is_open = False
        self._log.line("INFO", f"AudioHook connection lost while {event.state}")
        await self._call_event_handler("on_connection_lost", event)

    async def _push(self, draft: Draft) -> bool:
        """Send a message, in the order of the calls; says whether it is on its way."""
        raise NotImplementedError
