"""Checks how a session is opened, and which medium `opened` selects."""

from __future__ import annotations

import re
from typing import Any

from pipecat_genesys.conformance.check import (
    CONNECTOR,
    DOCUMENTED,
    FIELD,
    MEASURED,
    MONITOR,
    REFERENCE,
    WARNING,
    check,
)
from pipecat_genesys.conformance.connection import Message, parameters_of, shown
from pipecat_genesys.conformance.errors import CheckFailedError
from pipecat_genesys.conformance.target import PCMU_STEREO, Target
from pipecat_genesys.protocol.types import AudioHookChannel, AudioHookMediaFormat
from pipecat_genesys.simulator import PCMU_EXTERNAL, as_probe, medium

from .recorded_calls import sample_call

_L16_EXTERNAL = dict(medium(AudioHookChannel.EXTERNAL, format=AudioHookMediaFormat.L16))
_CLIENT_LANGUAGE = re.compile("[a-z]{2,3}-[A-Za-z]{2,3}")
_UNSUPPORTED_MEDIUM = {**PCMU_EXTERNAL, "format": "OPUS", "rate": 48000}


def _selected_media(opened: Message) -> list[Any]:
    media = parameters_of(opened).get("media")
    if not isinstance(media, list):
        raise CheckFailedError(
            f"'opened' has no list 'media' in its parameters: {shown(opened.get('parameters'))}"
        )
    return media


async def _offer_only(target: Target, only_medium: dict[str, Any]) -> None:
    """Offer one medium. The server must select it, select no medium, or refuse the call."""
    async with target.connection(target.new_call(media=(only_medium,))) as connection:
        answer = await connection.answer_to_open()
        if answer["type"] == "opened":
            selected = _selected_media(answer)
            if selected not in ([], [only_medium]):
                raise CheckFailedError(
                    f"'open' offered {shown(only_medium)}, 'opened' selected {shown(selected)}"
                )


@check(f"{REFERENCE}; {MEASURED}")
async def opened_in_time(target: Target) -> None:
    """The server answers `open` with `opened` within 5 s."""
    async with target.connection() as connection:
        await connection.open_session()


@check(f"{REFERENCE}; {MEASURED}")
async def opened_comes_first(target: Target) -> None:
    """The server sends `opened` before any other message and before any audio."""
    connection = await sample_call(target)
    if not connection.received:
        raise CheckFailedError("the server sent nothing")
    first = connection.received[0].content
    if isinstance(first, bytes):
        raise CheckFailedError(f"the server sent {len(first)} bytes of audio before 'opened'")
    if not isinstance(first, dict) or first.get("type") != "opened":
        what = first.get("type") if isinstance(first, dict) else first
        raise CheckFailedError(f"the server sent {shown(what)} before 'opened'")


@check(MEASURED)
async def opened_media_offered(target: Target) -> None:
    """`opened` selects a medium of the offer and repeats its fields unchanged."""
    async with target.connection() as connection:
        offer = [dict(entry) for entry in connection.call.media]
        for selected in _selected_media(await connection.open_session()):
            if selected not in offer:
                raise CheckFailedError(f"'open' did not offer the medium {shown(selected)}")


@check(MEASURED)
async def opened_one_medium(target: Target) -> None:
    """`opened` selects at most one medium."""
    async with target.open_call(target.new_call(media=(PCMU_EXTERNAL, PCMU_STEREO))) as connection:
        count = len(_selected_media(connection.of_type("opened")[0]))
        if count > 1:
            raise CheckFailedError(f"'opened' selected {count} media")


@check(f"{REFERENCE}, media selection")
async def opened_only_l16(target: Target) -> None:
    """A server that is offered only L16 selects L16 or no medium, or refuses the call."""
    await _offer_only(target, _L16_EXTERNAL)


@check(f"{REFERENCE}, conformance test 'Inverted'", modes=MONITOR)
async def opened_inverted_channels(target: Target) -> None:
    """`opened` lists the channels in the order of the offer."""
    await _offer_only(target, {**PCMU_STEREO, "channels": ["internal", "external"]})


@check(f"{CONNECTOR}; {MEASURED}")
async def opened_nothing_fits(target: Target) -> None:
    """A server that supports no offered medium selects none, or refuses the call."""
    await _offer_only(target, _UNSUPPORTED_MEDIUM)


@check(REFERENCE)
async def start_paused_boolean(target: Target) -> None:
    """`startPaused` in `opened`, if present, is true or false."""
    async with target.open_call() as connection:
        value = parameters_of(connection.of_type("opened")[0]).get("startPaused", False)
        if not isinstance(value, bool):
            raise CheckFailedError(f"'startPaused' is {shown(value)}, not true or false")


@check(f"{REFERENCE}, OpenedParameters", severity=WARNING)
async def languages_asked_for(target: Target) -> None:
    """`opened` has `supportedLanguages` only if `open` asked for the languages."""
    async with target.open_call() as connection:
        if "supportedLanguages" in parameters_of(connection.of_type("opened")[0]):
            raise CheckFailedError("'opened' lists languages, but 'open' did not ask for them")


@check(f"{REFERENCE}, OpenedParameters")
async def languages_list(target: Target) -> None:
    """`supportedLanguages` in `opened`, if present, is a list of strings."""
    async with target.open_call(target.new_call(supported_languages=True)) as connection:
        parameters = parameters_of(connection.of_type("opened")[0])
        languages = parameters.get("supportedLanguages", [])
        if not (isinstance(languages, list) and all(isinstance(one, str) for one in languages)):
            raise CheckFailedError(
                f"'supportedLanguages' is {shown(languages)}, not a list of strings"
            )


@check(
    f"{REFERENCE}, conformance test of the client, which takes codes such as 'en-US' only",
    severity=WARNING,
)
async def languages_form(target: Target) -> None:
    """Each code in `supportedLanguages` has a language and a region of letters, such as `en-US`."""
    async with target.open_call(target.new_call(supported_languages=True)) as connection:
        parameters = parameters_of(connection.of_type("opened")[0])
        languages = parameters.get("supportedLanguages", [])
        wrong = [
            one
            for one in (languages if isinstance(languages, list) else [])
            if isinstance(one, str) and not _CLIENT_LANGUAGE.fullmatch(one)
        ]
        if wrong:
            raise CheckFailedError(
                f"Genesys's client refuses the languages {shown(wrong)}; a code must have the form "
                "'en-US'"
            )


@check(f"{DOCUMENTED}, OpenParameters")
async def open_without_variables(target: Target) -> None:
    """The server accepts an `open` without `inputVariables` and `customConfig`."""
    async with target.open_call(target.new_call(input_variables=None)):
        pass


@check(DOCUMENTED)
async def open_language_forms(target: Target) -> None:
    """The server accepts the languages `en` and `es-419`, and an `open` without `language`."""
    for language in ("en", "es-419", None):
        try:
            async with target.open_call(target.new_call(language=language)):
                pass
        except CheckFailedError as error:
            used = "'open' without 'language'" if language is None else f"language {language!r}"
            raise CheckFailedError(f"{used}: {error}") from None


@check(f"{DOCUMENTED}, compatibility")
async def open_unknown_fields(target: Target) -> None:
    """The server ignores unknown fields in `open`."""
    async with target.connection() as connection:
        await connection.open_session({"futureParameter": {"a": [1]}}, futureField=True)


@check(REFERENCE)
async def open_other_version(target: Target) -> None:
    """The server does not accept an `open` of another protocol version."""
    async with target.connection() as connection:
        await connection.send_open(version="3")
        # A server may refuse the message with `disconnect`, close the WebSocket, or stay silent.
        if await connection.receives("opened", unless="disconnect", within=target.timeouts.open):
            raise CheckFailedError("the server answered an 'open' of version '3' with 'opened'")


@check(f"{DOCUMENTED}, session walkthrough")
async def open_after_retry(target: Target) -> None:
    """The server accepts a connection that is a retry (`Audiohook-Retry-Attempt: 1`)."""
    retry = {"Audiohook-Retry-Attempt": "1"}
    async with target.connection(extra_headers=retry) as connection:
        await connection.open_session()


@check(f"{DOCUMENTED}, reconnection", modes=MONITOR)
async def open_continues(target: Target) -> None:
    """The server accepts an `open` that continues an earlier session at a later position."""
    earlier = {"id": target.new_call().session_id, "serverseq": 3, "clientseq": 5}
    async with target.connection() as connection:
        await connection.open_session({"continuedSessions": [earlier]}, position="PT12.5S")


@check(f"{REFERENCE}, connection probe")
async def probe_answered(target: Target) -> None:
    """The server answers `open` and `close` of a connection probe."""
    async with target.open_call(as_probe(target.new_call())) as connection:
        await connection.close_session()


@check(f"{DOCUMENTED}; {FIELD}", severity=WARNING)
async def probe_quiet(target: Target) -> None:
    """The server sends no audio and no events to a connection probe."""
    async with target.open_call(as_probe(target.new_call())) as connection:
        await connection.observe()
        if connection.of_type("event"):
            raise CheckFailedError("the server sent an 'event' to a probe")
        if any(isinstance(one.content, bytes) for one in connection.received):
            raise CheckFailedError("the server sent audio to a probe")
