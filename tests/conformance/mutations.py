"""Servers for the tests of the checks: for each check, one server breaks its rule."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from pipecat_genesys.auth import SignatureVerifier
from pipecat_genesys.protocol import Draft, Rule, events, server_messages
from reference_server import SECOND, ReferenceCall
from websockets.asyncio.server import Request

_C = TypeVar("_C", bound=type[ReferenceCall])
MUTATIONS: dict[str, type[ReferenceCall]] = {}


def breaks(*names: str) -> Callable[[_C], _C]:
    """Register a server that breaks the rules of the named checks."""

    def register(call_class: _C) -> _C:
        for name in names:
            assert name not in MUTATIONS, name
            MUTATIONS[name] = call_class
        return call_class

    return register


def rewrites(name: str, *types: str) -> Callable[[Callable[[dict[str, Any]], Any]], None]:
    """Register a server that sends changed messages.

    Args:
        name: The check whose rule the server breaks.
        *types: Types of the messages to change; all messages if empty.

    Returns:
        A decorator for the function that changes a message; None drops the message.
    """

    def register(change: Callable[[dict[str, Any]], Any]) -> None:
        class Mutation(ReferenceCall):
            async def send_message(self, message: Any) -> None:
                if not types or message["type"] in types:
                    message = change(message)
                if message is not None:
                    await super().send_message(message)

        breaks(name)(Mutation)

    return register


def ignores(name: str, *event_classes: type[events.Event]) -> None:
    """Register a server that does not handle events of `event_classes`."""

    class Mutation(ReferenceCall):
        async def on_event(self, event: events.Event) -> None:
            if not isinstance(event, event_classes):
                await super().on_event(event)

    breaks(name)(Mutation)


def disconnects_on(name: str, is_trigger: Callable[[dict[str, Any]], bool]) -> None:
    """Register a server that sends `disconnect` if `is_trigger` is true for a message."""

    class Mutation(ReferenceCall):
        async def on_text(self, text: str) -> None:
            message = json.loads(text)
            if is_trigger(message):
                self.session.receive_text(text)
                await self.send(server_messages.disconnect("error"))
            else:
                await super().on_text(text)

    breaks(name)(Mutation)


def drops_connection_on(name: str, is_trigger: Callable[[str | bytes], bool]) -> None:
    """Register a server that drops the connection if `is_trigger` is true for a message."""

    class Mutation(ReferenceCall):
        async def on_text(self, text: str) -> None:
            await self._drop_or_handle(text, super().on_text)

        async def on_audio(self, data: bytes) -> None:
            await self._drop_or_handle(data, super().on_audio)

        async def _drop_or_handle(self, data: Any, handle: Callable[[Any], Any]) -> None:
            if is_trigger(data):
                self.socket.transport.abort()
            else:
                await handle(data)

    breaks(name)(Mutation)


def tolerates(name: str, rule: Rule) -> None:
    """Register a server that does not check the field of `rule` in `ping`."""

    class Mutation(ReferenceCall):
        async def on_text(self, text: str) -> None:
            message = json.loads(text)
            if message["type"] == "ping":
                session = self.session
                message |= {
                    Rule.SEQ: {"seq": session.client_seq + 1},
                    Rule.SERVERSEQ: {"serverseq": session.server_seq},
                    Rule.ID: {"id": session.session_id},
                    Rule.VERSION: {"version": "2"},
                }[rule]
            await super().on_text(json.dumps(message))

    breaks(name)(Mutation)


# Opening

ignores("opened-in-time", events.OpenReceived)


@breaks("opened-comes-first")
class AudioBeforeOpened(ReferenceCall):
    async def on_open(self, event: events.OpenReceived) -> None:
        await self.send_audio(SECOND)
        await super().on_open(event)


@rewrites("opened-media-offered", "opened")
def media_with_an_extra_field(message: dict[str, Any]) -> Any:
    for medium in message["parameters"]["media"]:
        medium["language"] = "en-US"
    return message


class _SelectsMedia(ReferenceCall):
    """Sends `opened` with the media that `media` returns, even if it supports no offered medium."""

    def media(self, offer: list[Any]) -> list[Any]:
        raise NotImplementedError

    async def on_event(self, event: events.Event) -> None:
        raw = event.raw or {}
        if isinstance(event, events.Faulted) and raw.get("type") == "open" and event.reply:
            draft = server_messages.opened(self.media(raw["parameters"]["media"]))
            await self.send_message(self._message(draft))
        else:
            await super().on_event(event)

    def _message(self, draft: Draft) -> dict[str, Any]:
        return {
            "version": "2",
            "type": draft.type.value,
            "seq": 1,
            "clientseq": 1,
            "id": self.session.session_id,
            "parameters": draft.parameters,
        }

    def opened(self, event: events.OpenReceived) -> Draft:
        return server_messages.opened(self.media(event.raw["parameters"]["media"]))


_PCMU = {"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}


@breaks("opened-one-medium")
class SelectsTheWholeOffer(_SelectsMedia):
    def media(self, offer: list[Any]) -> list[Any]:
        return offer


@breaks("opened-only-l16", "opened-nothing-fits")
class SelectsPcmuAlways(_SelectsMedia):
    def media(self, offer: list[Any]) -> list[Any]:
        return [_PCMU]


@breaks("opened-inverted-channels")
class SortsTheChannels(_SelectsMedia):
    def media(self, offer: list[Any]) -> list[Any]:
        return [{**offer[0], "channels": sorted(offer[0]["channels"])}]


@rewrites("start-paused-boolean", "opened")
def start_paused_as_text(message: dict[str, Any]) -> Any:
    message["parameters"]["startPaused"] = "false"
    return message


@rewrites("languages-asked-for", "opened")
def languages_always(message: dict[str, Any]) -> Any:
    message["parameters"]["supportedLanguages"] = ["en-US"]
    return message


@rewrites("languages-list", "opened")
def languages_as_text(message: dict[str, Any]) -> Any:
    message["parameters"]["supportedLanguages"] = "en-US"
    return message


@rewrites("languages-form", "opened")
def languages_without_a_region(message: dict[str, Any]) -> Any:
    message["parameters"]["supportedLanguages"] = ["en-US", "en", "es-419"]
    return message


def _opens(is_trigger: Callable[[dict[str, Any]], bool]) -> Callable[[dict[str, Any]], bool]:
    return lambda message: message["type"] == "open" and is_trigger(message)


disconnects_on("open-without-variables", _opens(lambda m: "inputVariables" not in m["parameters"]))
disconnects_on(
    "open-language-forms",
    _opens(lambda m: len(m["parameters"].get("language", "")) != len("en-US")),
)
disconnects_on("open-unknown-fields", _opens(lambda m: "futureParameter" in m["parameters"]))


@breaks("open-other-version")
class AcceptsAnotherVersion(ReferenceCall):
    async def on_text(self, text: str) -> None:
        await super().on_text(text.replace('"version": "3"', '"version": "2"'))


@breaks("open-after-retry")
class IgnoresRetries(ReferenceCall):
    async def run(self) -> None:
        assert self.socket.request is not None
        if self.socket.request.headers["Audiohook-Retry-Attempt"] == "0":
            await super().run()


disconnects_on("open-continues", _opens(lambda m: "continuedSessions" in m["parameters"]))
disconnects_on("probe-answered", _opens(lambda m: not m["parameters"]["participant"]["ani"]))


@breaks("probe-quiet")
class TalksToProbes(ReferenceCall):
    async def on_open(self, event: events.OpenReceived) -> None:
        await super().on_open(dataclasses.replace(event, is_probe=False))


# Servers that send invalid messages


@rewrites("message-json", "pong")
def pong_in_a_list(message: dict[str, Any]) -> Any:
    return json.dumps([message])


@rewrites("message-version")
def version_as_a_number(message: dict[str, Any]) -> Any:
    return message | {"version": 2}


@rewrites("message-id", "pong")
def pong_of_another_session(message: dict[str, Any]) -> Any:
    return message | {"id": "30b0e395-84d3-4570-ac13-9a62d8f514c0"}


@rewrites("message-seq", "closed")
def closed_with_a_gap_in_seq(message: dict[str, Any]) -> Any:
    return message | {"seq": message["seq"] + 1}


@rewrites("message-clientseq", "pong")
def pong_with_a_future_clientseq(message: dict[str, Any]) -> Any:
    return message | {"clientseq": message["clientseq"] + 10}


@rewrites("message-parameters", "pong")
def pong_without_parameters(message: dict[str, Any]) -> Any:
    del message["parameters"]
    return message


@rewrites("message-types", "pong")
def pong_of_unknown_type(message: dict[str, Any]) -> Any:
    return message | {"type": "pung"}


@rewrites("message-position")
def messages_with_a_position(message: dict[str, Any]) -> Any:
    return message | {"position": "PT0S"}


@rewrites("message-fields", "pong")
def pong_with_an_unknown_field(message: dict[str, Any]) -> Any:
    return message | {"timestamp": 1}


class _SendsEvent(ReferenceCall):
    """Sends an event right after `opened`."""

    entities: ClassVar[Any]

    async def on_open(self, event: events.OpenReceived) -> None:
        await super().on_open(event)
        await self.send(Draft(server_messages.barge_in().type, {"entities": self.entities}))


@breaks("message-size")
class SendsAnOversizeEvent(ReferenceCall):
    async def on_open(self, event: events.OpenReceived) -> None:
        await super().on_open(event)
        message = json.loads(self.session.to_wire(server_messages.event("note", {})).text)
        message["parameters"]["entities"][0]["data"] = "x" * 64_000
        await self.send_message(message)


@breaks("event-entities")
class SendsAnEventWithoutEntities(_SendsEvent):
    entities: ClassVar[Any] = []


@breaks("event-one-entity")
class SendsAnEventWithTwoEntities(_SendsEvent):
    entities: ClassVar[Any] = 2 * [{"type": "note", "data": {}}]


# Servers that break rules about pings and other messages during the call

ignores("pong-in-time", events.PingReceived)


@breaks("pong-clientseq")
class AnswersPingsLate(ReferenceCall):
    late: events.PingReceived | None = None

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Discarded) and self.late is not None:
            await self.send(Draft(self.late.reply.type))  # type: ignore[union-attr]
            self.late = None
        await super().on_event(event)

    async def on_ping(self, event: events.PingReceived) -> None:
        self.late = event


disconnects_on("ping-rtt", lambda m: m["type"] == "ping" and "rtt" in m["parameters"])


@breaks("pong-while-paused")
class IgnoresPingsWhilePaused(ReferenceCall):
    async def on_ping(self, event: events.PingReceived) -> None:
        if self.session.state != "paused":
            await super().on_ping(event)


disconnects_on("unknown-type", lambda m: m["type"].startswith("future"))
disconnects_on("unknown-fields", lambda m: "futureField" in m and m["type"] != "open")


@breaks("client-pause")
class AnswersClientPauses(ReferenceCall):
    async def on_event(self, event: events.Event) -> None:
        await super().on_event(event)
        if isinstance(event, events.Paused):
            await self.send(server_messages.resume())


disconnects_on("client-resume", lambda m: m["type"] == "resumed")
disconnects_on("discarded", lambda m: m["type"] == "discarded")
disconnects_on("dtmf", lambda m: m["type"] == "dtmf" and not m["parameters"]["digit"].isdigit())
disconnects_on("playback", lambda m: m["type"] == "playback_completed")
disconnects_on("update", lambda m: m["type"] == "update")
ignores("update-answered", events.UpdateReceived)


@breaks("client-error")
class StopsAtClientErrors(ReferenceCall):
    failed = False

    async def on_event(self, event: events.Event) -> None:
        self.failed |= isinstance(event, events.ErrorReceived)
        if not self.failed:
            await super().on_event(event)


@breaks("silent-monitor")
class TalksToMonitors(ReferenceCall):
    async def on_open(self, event: events.OpenReceived) -> None:
        await super().on_open(event)
        await self.send_audio(SECOND)


@breaks("barge-in-idle")
class BargesInAlways(ReferenceCall):
    async def on_dtmf(self, event: events.DtmfReceived) -> None:
        await self.send(server_messages.barge_in())


# Ends of calls

ignores("closed-in-time", events.CloseReceived)


@breaks("closed-once")
class RepeatsClosed(ReferenceCall):
    async def on_text(self, text: str) -> None:
        over = self.session.state == "closed"
        await super().on_text(text)
        if over and json.loads(text)["type"] == "close":
            await self.send_message(self.said)

    async def send_message(self, message: Any) -> None:
        self.said = message
        await super().send_message(message)


@breaks("nothing-after-closed")
class TalksAfterClosed(ReferenceCall):
    async def on_close(self, event: events.CloseReceived) -> None:
        await super().on_close(event)
        await self.send_audio(SECOND)


@breaks("client-hangs-up")
class ClosesTheSocketAfterClosed(ReferenceCall):
    async def on_close(self, event: events.CloseReceived) -> None:
        await super().on_close(event)
        await self.socket.close()


@rewrites("closed-empty", "closed")
def closed_with_a_parameter(message: dict[str, Any]) -> Any:
    return message | {"parameters": {"summary": "the caller hung up"}}


@breaks("close-early")
class DoesNotReadWhileOpening(ReferenceCall):
    # The server discards all messages that arrive before it sends `opened`.
    async def on_open(self, event: events.OpenReceived) -> None:
        await asyncio.sleep(0.05)
        async with asyncio.timeout(0.05):
            await self._discard_input()
        await super().on_open(event)

    async def _discard_input(self) -> None:
        try:
            while True:
                await asyncio.wait_for(self.socket.recv(), 0.01)
        except TimeoutError:
            return


@breaks("close-while-paused")
class IgnoresCloseWhilePaused(ReferenceCall):
    paused = False

    async def on_event(self, event: events.Event) -> None:
        self.paused |= isinstance(event, events.Paused)
        if not (self.paused and isinstance(event, events.CloseReceived)):
            await super().on_event(event)


@breaks("closed-after-disconnect")
class IgnoresCloseAfterDisconnect(ReferenceCall):
    disconnected = False

    async def on_disconnect(self, draft: Draft) -> None:
        self.disconnected = True
        await super().on_disconnect(draft)

    async def on_close(self, event: events.CloseReceived) -> None:
        if not self.disconnected:
            await super().on_close(event)


@breaks("disconnect-once")
class RepeatsDisconnect(ReferenceCall):
    async def on_disconnect(self, draft: Draft) -> None:
        message = json.loads(self.session.to_wire(draft).text)
        await self.send_message(message)
        await self.send_message(message | {"seq": message["seq"] + 1})


@breaks("disconnect-stays")
class ClosesTheSocketAfterDisconnect(ReferenceCall):
    async def on_disconnect(self, draft: Draft) -> None:
        await super().on_disconnect(draft)
        await self.socket.close()


@rewrites("disconnect-reason", "disconnect")
def disconnect_with_an_unknown_reason(message: dict[str, Any]) -> Any:
    return message | {"parameters": {"reason": "whatever"}}


@rewrites("disconnect-variables", "disconnect")
def disconnect_with_a_number_as_variable(message: dict[str, Any]) -> Any:
    message["parameters"]["outputVariables"] = {"score": 0.5}
    return message


tolerates("seq-gap", Rule.SEQ)
tolerates("seq-repeat", Rule.SEQ)
tolerates("serverseq-ahead", Rule.SERVERSEQ)
tolerates("other-id", Rule.ID)
tolerates("other-version", Rule.VERSION)

# Servers for the checks of invalid input that an attacker could send

drops_connection_on("hostile-not-json", lambda data: data == "{'not': json")
drops_connection_on("hostile-not-object", lambda data: data in ("5", "[]", "null"))
drops_connection_on("hostile-deep", lambda data: isinstance(data, str) and data.startswith("[[["))
drops_connection_on("hostile-types", lambda data: isinstance(data, str) and '"seq": {}' in data)


class _Fragile(ReferenceCall):
    """A server that accepts no calls after a crash; tests start one server for each check."""

    down: ClassVar[set[str]] = set()

    async def run(self) -> None:
        if self.host not in self.down:
            await super().run()

    @property
    def host(self) -> str:
        assert self.socket.request is not None
        return self.socket.request.headers["Host"]

    def crash(self) -> None:
        self.down.add(self.host)
        self.socket.transport.abort()


@breaks("hostile-oversize-text", "hostile-oversize-audio")
class CrashesOnLargeMessages(_Fragile):
    """Accepts messages of any size, and crashes when a message exceeds 100,000 bytes."""

    async def run(self) -> None:
        self.socket.protocol.max_message_size = None
        self.socket.protocol.max_fragment_size = None
        self.socket.protocol.max_size = None  # the name of the attribute in websockets 15
        await super().run()

    async def on_text(self, text: str) -> None:
        if len(text) > 100_000:
            self.crash()
        await super().on_text(text)

    async def on_audio(self, data: bytes) -> None:
        if len(data) > 100_000:
            self.crash()
        await super().on_audio(data)


@breaks("hostile-early-audio")
class CrashesOnEarlyAudio(ReferenceCall):
    async def on_audio(self, data: bytes) -> None:
        if self.session.state == "preparing":
            self.socket.transport.abort()
        await super().on_audio(data)


@breaks("hostile-nothing-said", "hostile-dropped")
class CrashesOnLostConnections(_Fragile):
    async def run(self) -> None:
        await super().run()
        if self.socket.close_code in (None, 1006) or self.session.client_seq == 0:
            self.crash()


drops_connection_on(
    "hostile-second-open",
    lambda data: isinstance(data, str) and '"open"' in data and '"seq": 1,' not in data,
)
drops_connection_on("partial-frame", lambda data: len(data) == 1601)
drops_connection_on("tiny-frames", lambda data: len(data) == 1)
drops_connection_on("big-frame", lambda data: len(data) == 64_000)

# Limits


@breaks("rate-of-audio")
class SendsSmallAudioMessages(ReferenceCall):
    async def send_audio(self, audio: bytes) -> None:
        for begin in range(0, len(audio), 160):
            await super().send_audio(audio[begin:][:160])


@breaks("rate-of-text")
class SendsManyEvents(ReferenceCall):
    async def on_ping(self, event: events.PingReceived) -> None:
        await super().on_ping(event)
        for _ in range(30):
            await self.send(server_messages.event("progress", {}))


@breaks("size-of-audio")
class SendsLargeAudioMessages(ReferenceCall):
    async def send_audio(self, audio: bytes) -> None:
        await super().send_audio(9 * audio)


# Authentication


class _Authenticates(ReferenceCall):
    @staticmethod
    def accepts_unchecked(request: Request) -> bool:
        """Return whether to accept a request without a check of its signature."""
        return False

    @staticmethod
    def refuses_unchecked(request: Request) -> bool:
        """Return whether to refuse a request without a check of its signature."""
        return False

    @classmethod
    async def accepts(cls, verifier: SignatureVerifier, request: Request) -> bool:
        if cls.refuses_unchecked(request):
            return False
        return cls.accepts_unchecked(request) or await super().accepts(verifier, request)


@breaks("signed")
class RefusesEverySignature(_Authenticates):
    @staticmethod
    def refuses_unchecked(request: Request) -> bool:
        return True


@breaks("signed-other-order")
class RequiresTheReferenceOrder(_Authenticates):
    @staticmethod
    def refuses_unchecked(request: Request) -> bool:
        return '("@request-target" "audiohook-session-id"' in request.headers["Signature-Input"]


@breaks("unsigned")
class AcceptsUnsignedRequests(_Authenticates):
    @staticmethod
    def accepts_unchecked(request: Request) -> bool:
        return "Signature" not in request.headers


@breaks(
    "signed-by-another",
    "signed-then-changed",
    "other-key",
    "signed-long-ago",
    "signed-in-part",
    "signed-again",
)
class AcceptsEverySignature(_Authenticates):
    @staticmethod
    def accepts_unchecked(request: Request) -> bool:
        return "Signature" in request.headers


@breaks("open-organization")
class AcceptsEveryOrganisation(ReferenceCall):
    def is_authorized(self, event: events.OpenReceived) -> bool:
        return True
