"""For every check a server that breaks its rule, and as little else as can be."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from pipecat_genesys.auth import SignatureVerifier
from pipecat_genesys.protocol import Draft, Rule, events, server_messages
from reference_server import SECOND, Conversation
from websockets.asyncio.server import Request

_C = TypeVar("_C", bound=type[Conversation])
MUTATIONS: dict[str, type[Conversation]] = {}


def breaks(*names: str) -> Callable[[_C], _C]:
    def register(kind: _C) -> _C:
        for name in names:
            assert name not in MUTATIONS, name
            MUTATIONS[name] = kind
        return kind

    return register


def rewrites(name: str, *kinds: str) -> Callable[[Callable[[dict[str, Any]], Any]], None]:
    """A mutation that changes messages, all or those of some types, on their way out."""

    def register(change: Callable[[dict[str, Any]], Any]) -> None:
        class Mutation(Conversation):
            async def write(self, message: Any) -> None:
                if not kinds or message["type"] in kinds:
                    message = change(message)
                if message is not None:
                    await super().write(message)

        breaks(name)(Mutation)

    return register


def ignores(name: str, *kinds: type[events.Event]) -> None:
    """A mutation that does not notice some events."""

    class Mutation(Conversation):
        async def event(self, event: events.Event) -> None:
            if not isinstance(event, kinds):
                await super().event(event)

    breaks(name)(Mutation)


def gives_up_on(name: str, is_it: Callable[[dict[str, Any]], bool]) -> None:
    """A mutation that ends the call with `disconnect` because of a message."""

    class Mutation(Conversation):
        async def text(self, text: str) -> None:
            message = json.loads(text)
            if is_it(message):
                self.session.receive_text(text)
                await self.say(server_messages.disconnect("error"))
            else:
                await super().text(text)

    breaks(name)(Mutation)


def falls_over(name: str, is_it: Callable[[str | bytes], bool]) -> None:
    """A mutation whose connection breaks down because of a message."""

    class Mutation(Conversation):
        async def text(self, text: str) -> None:
            await self._unless(text, super().text)

        async def audio(self, data: bytes) -> None:
            await self._unless(data, super().audio)

        async def _unless(self, data: Any, go_on: Callable[[Any], Any]) -> None:
            if is_it(data):
                self.socket.transport.abort()
            else:
                await go_on(data)

    breaks(name)(Mutation)


def tolerates(name: str, rule: Rule) -> None:
    """A mutation that does not check something, which then does not end the session."""

    class Mutation(Conversation):
        async def text(self, text: str) -> None:
            message = json.loads(text)
            if message["type"] == "ping":
                session = self.session
                message |= {
                    Rule.SEQ: {"seq": session.client_seq + 1},
                    Rule.SERVERSEQ: {"serverseq": session.server_seq},
                    Rule.ID: {"id": session.session_id},
                    Rule.VERSION: {"version": "2"},
                }[rule]
            await super().text(json.dumps(message))

    breaks(name)(Mutation)


# -- opening -----------------------------------------------------------------------------------

ignores("opened-in-time", events.OpenReceived)


@breaks("opened-comes-first")
class _(Conversation):
    async def open(self, event: events.OpenReceived) -> None:
        await self.talk(SECOND)
        await super().open(event)


@rewrites("opened-media-offered", "opened")
def _(message: dict[str, Any]) -> Any:
    for medium in message["parameters"]["media"]:
        medium["language"] = "en-US"
    return message


class _Answers(Conversation):
    """Says `opened` with other media than it should."""

    def media(self, offer: list[Any]) -> list[Any]:
        raise NotImplementedError

    async def event(self, event: events.Event) -> None:
        raw = event.raw or {}
        if isinstance(event, events.Faulted) and raw.get("type") == "open" and event.reply:
            draft = server_messages.opened(self.media(raw["parameters"]["media"]))
            await self.write(self._message(draft))
        else:
            await super().event(event)

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
class _(_Answers):
    def media(self, offer: list[Any]) -> list[Any]:
        return offer


@breaks("opened-only-l16", "opened-nothing-fits")
class _(_Answers):
    def media(self, offer: list[Any]) -> list[Any]:
        return [_PCMU]


@breaks("opened-inverted-channels")
class _(_Answers):
    def media(self, offer: list[Any]) -> list[Any]:
        return [{**offer[0], "channels": sorted(offer[0]["channels"])}]


@rewrites("start-paused-boolean", "opened")
def _(message: dict[str, Any]) -> Any:
    message["parameters"]["startPaused"] = "false"
    return message


@rewrites("languages-asked-for", "opened")
def _(message: dict[str, Any]) -> Any:
    message["parameters"]["supportedLanguages"] = ["en-US"]
    return message


@rewrites("languages-list", "opened")
def _(message: dict[str, Any]) -> Any:
    message["parameters"]["supportedLanguages"] = "en-US"
    return message


def _opens(is_it: Callable[[dict[str, Any]], bool]) -> Callable[[dict[str, Any]], bool]:
    return lambda message: message["type"] == "open" and is_it(message)


gives_up_on("open-without-variables", _opens(lambda m: "inputVariables" not in m["parameters"]))
gives_up_on(
    "open-language-forms",
    _opens(lambda m: len(m["parameters"].get("language", "")) != len("en-US")),
)
gives_up_on("open-unknown-fields", _opens(lambda m: "futureParameter" in m["parameters"]))


@breaks("open-other-version")
class _(Conversation):
    async def text(self, text: str) -> None:
        await super().text(text.replace('"version": "3"', '"version": "2"'))


@breaks("open-after-retry")
class _(Conversation):
    async def run(self) -> None:
        assert self.socket.request is not None
        if self.socket.request.headers["Audiohook-Retry-Attempt"] == "0":
            await super().run()


gives_up_on("open-continues", _opens(lambda m: "continuedSessions" in m["parameters"]))
gives_up_on("probe-answered", _opens(lambda m: not m["parameters"]["participant"]["ani"]))


@breaks("probe-quiet")
class _(Conversation):
    async def open(self, event: events.OpenReceived) -> None:
        await super().open(dataclasses.replace(event, is_probe=False))


# -- envelopes ---------------------------------------------------------------------------------


@rewrites("message-json", "pong")
def _(message: dict[str, Any]) -> Any:
    return json.dumps([message])


@rewrites("message-version")
def _(message: dict[str, Any]) -> Any:
    return message | {"version": 2}


@rewrites("message-id", "pong")
def _(message: dict[str, Any]) -> Any:
    return message | {"id": "30b0e395-84d3-4570-ac13-9a62d8f514c0"}


@rewrites("message-seq", "closed")
def _(message: dict[str, Any]) -> Any:
    return message | {"seq": message["seq"] + 1}


@rewrites("message-clientseq", "pong")
def _(message: dict[str, Any]) -> Any:
    return message | {"clientseq": message["clientseq"] + 10}


@rewrites("message-parameters", "pong")
def _(message: dict[str, Any]) -> Any:
    del message["parameters"]
    return message


@rewrites("message-types", "pong")
def _(message: dict[str, Any]) -> Any:
    return message | {"type": "pung"}


@rewrites("message-position")
def _(message: dict[str, Any]) -> Any:
    return message | {"position": "PT0S"}


@rewrites("message-fields", "pong")
def _(message: dict[str, Any]) -> Any:
    return message | {"timestamp": 1}


class _Reports(Conversation):
    """Reports something once it is open."""

    entities: ClassVar[Any]

    async def open(self, event: events.OpenReceived) -> None:
        await super().open(event)
        await self.say(Draft(server_messages.barge_in().type, {"entities": self.entities}))


@breaks("message-size")
class _(Conversation):
    async def open(self, event: events.OpenReceived) -> None:
        await super().open(event)
        message = json.loads(self.session.to_wire(server_messages.event("note", {})))
        message["parameters"]["entities"][0]["data"] = "x" * 64_000
        await self.write(message)


@breaks("event-entities")
class _(_Reports):
    entities: ClassVar[Any] = []


@breaks("event-one-entity")
class _(_Reports):
    entities: ClassVar[Any] = 2 * [{"type": "note", "data": {}}]


# -- pings and the call --------------------------------------------------------------------------

ignores("pong-in-time", events.PingReceived)


@breaks("pong-clientseq")
class _(Conversation):
    late: events.PingReceived | None = None

    async def event(self, event: events.Event) -> None:
        if isinstance(event, events.Discarded) and self.late is not None:
            await self.say(Draft(self.late.reply.type))  # type: ignore[union-attr]
            self.late = None
        await super().event(event)

    async def ping(self, event: events.PingReceived) -> None:
        self.late = event


gives_up_on("ping-rtt", lambda m: m["type"] == "ping" and "rtt" in m["parameters"])


@breaks("pong-while-paused")
class _(Conversation):
    async def ping(self, event: events.PingReceived) -> None:
        if self.session.state != "paused":
            await super().ping(event)


gives_up_on("unknown-type", lambda m: m["type"].startswith("future"))
gives_up_on("unknown-fields", lambda m: "futureField" in m and m["type"] != "open")


@breaks("client-pause")
class _(Conversation):
    async def event(self, event: events.Event) -> None:
        await super().event(event)
        if isinstance(event, events.Paused):
            await self.say(server_messages.resume())


gives_up_on("client-resume", lambda m: m["type"] == "resumed")
gives_up_on("discarded", lambda m: m["type"] == "discarded")
gives_up_on("dtmf", lambda m: m["type"] == "dtmf" and not m["parameters"]["digit"].isdigit())
gives_up_on("playback", lambda m: m["type"] == "playback_completed")
gives_up_on("update", lambda m: m["type"] == "update")
ignores("update-answered", events.UpdateReceived)


@breaks("client-error")
class _(Conversation):
    failed = False

    async def event(self, event: events.Event) -> None:
        self.failed |= isinstance(event, events.ErrorReceived)
        if not self.failed:
            await super().event(event)


@breaks("silent-monitor")
class _(Conversation):
    async def open(self, event: events.OpenReceived) -> None:
        await super().open(event)
        await self.talk(SECOND)


@breaks("barge-in-idle")
class _(Conversation):
    async def key(self, event: events.DtmfReceived) -> None:
        await self.say(server_messages.barge_in())


# -- endings -----------------------------------------------------------------------------------

ignores("closed-in-time", events.CloseReceived)


@breaks("closed-once")
class _(Conversation):
    async def text(self, text: str) -> None:
        over = self.session.state == "closed"
        await super().text(text)
        if over and json.loads(text)["type"] == "close":
            await self.write(self.said)

    async def write(self, message: Any) -> None:
        self.said = message
        await super().write(message)


@breaks("nothing-after-closed")
class _(Conversation):
    async def close(self, event: events.CloseReceived) -> None:
        await super().close(event)
        await self.talk(SECOND)


@breaks("client-hangs-up")
class _(Conversation):
    async def close(self, event: events.CloseReceived) -> None:
        await super().close(event)
        await self.socket.close()


@rewrites("closed-empty", "closed")
def _(message: dict[str, Any]) -> Any:
    return message | {"parameters": {"outputVariables": {"a": "b"}}}


@breaks("close-early")
class _(Conversation):
    # Takes its time to get ready, and does not listen meanwhile.
    async def open(self, event: events.OpenReceived) -> None:
        await asyncio.sleep(0.05)
        async with asyncio.timeout(0.05):
            await self._forget()
        await super().open(event)

    async def _forget(self) -> None:
        try:
            while True:
                await asyncio.wait_for(self.socket.recv(), 0.01)
        except TimeoutError:
            return


@breaks("close-while-paused")
class _(Conversation):
    paused = False

    async def event(self, event: events.Event) -> None:
        self.paused |= isinstance(event, events.Paused)
        if not (self.paused and isinstance(event, events.CloseReceived)):
            await super().event(event)


@breaks("closed-after-disconnect")
class _(Conversation):
    disconnected = False

    async def disconnect(self, draft: Draft) -> None:
        self.disconnected = True
        await super().disconnect(draft)

    async def close(self, event: events.CloseReceived) -> None:
        if not self.disconnected:
            await super().close(event)


@breaks("disconnect-once")
class _(Conversation):
    async def disconnect(self, draft: Draft) -> None:
        message = json.loads(self.session.to_wire(draft))
        await self.write(message)
        await self.write(message | {"seq": message["seq"] + 1})


@breaks("disconnect-stays")
class _(Conversation):
    async def disconnect(self, draft: Draft) -> None:
        await super().disconnect(draft)
        await self.socket.close()


@rewrites("disconnect-reason", "disconnect")
def _(message: dict[str, Any]) -> Any:
    return message | {"parameters": {"reason": "whatever"}}


@rewrites("disconnect-variables", "disconnect")
def _(message: dict[str, Any]) -> Any:
    message["parameters"]["outputVariables"] = {"score": 0.5}
    return message


tolerates("seq-gap", Rule.SEQ)
tolerates("seq-repeat", Rule.SEQ)
tolerates("serverseq-ahead", Rule.SERVERSEQ)
tolerates("other-id", Rule.ID)
tolerates("other-version", Rule.VERSION)

# -- hostile input -------------------------------------------------------------------------------

falls_over("hostile-not-json", lambda data: data == "{'not': json")
falls_over("hostile-not-object", lambda data: data in ("5", "[]", "null"))
falls_over("hostile-deep", lambda data: isinstance(data, str) and data.startswith("[[["))
falls_over("hostile-types", lambda data: isinstance(data, str) and '"seq": {}' in data)


class _Fragile(Conversation):
    """One call's trouble is everybody's. There is one server for each check."""

    down: ClassVar[set[str]] = set()

    async def run(self) -> None:
        if self.host not in self.down:
            await super().run()

    @property
    def host(self) -> str:
        assert self.socket.request is not None
        return self.socket.request.headers["Host"]

    def break_down(self) -> None:
        self.down.add(self.host)
        self.socket.transport.abort()


@breaks("hostile-oversize-text", "hostile-oversize-audio")
class _(_Fragile):
    """Takes messages of any size, and breaks down under the big ones."""

    async def run(self) -> None:
        self.socket.protocol.max_message_size = None
        self.socket.protocol.max_fragment_size = None
        await super().run()

    async def text(self, text: str) -> None:
        if len(text) > 100_000:
            self.break_down()
        await super().text(text)

    async def audio(self, data: bytes) -> None:
        if len(data) > 100_000:
            self.break_down()
        await super().audio(data)


@breaks("hostile-early-audio")
class _(Conversation):
    async def audio(self, data: bytes) -> None:
        if self.session.state == "preparing":
            self.socket.transport.abort()
        await super().audio(data)


@breaks("hostile-nothing-said", "hostile-dropped")
class _(_Fragile):
    async def run(self) -> None:
        await super().run()
        if self.socket.close_code in (None, 1006) or self.session.client_seq == 0:
            self.break_down()


falls_over(
    "hostile-second-open",
    lambda data: isinstance(data, str) and '"open"' in data and '"seq": 1,' not in data,
)
falls_over("partial-frame", lambda data: len(data) == 1601)
falls_over("tiny-frames", lambda data: len(data) == 1)
falls_over("big-frame", lambda data: len(data) == 64_000)

# -- limits --------------------------------------------------------------------------------------


@breaks("rate-of-audio")
class _(Conversation):
    async def talk(self, audio: bytes) -> None:
        for begin in range(0, len(audio), 160):
            await super().talk(audio[begin:][:160])


@breaks("rate-of-text")
class _(Conversation):
    async def ping(self, event: events.PingReceived) -> None:
        await super().ping(event)
        for _ in range(30):
            await self.say(server_messages.event("progress", {}))


@breaks("size-of-audio")
class _(Conversation):
    async def talk(self, audio: bytes) -> None:
        await super().talk(9 * audio)


# -- authentication ------------------------------------------------------------------------------


class _Admits(Conversation):
    @staticmethod
    def waves_through(request: Request) -> bool:
        """Whom it admits without looking closer."""
        return False

    @staticmethod
    def turns_away(request: Request) -> bool:
        """Whom it refuses without looking closer."""
        return False

    @classmethod
    async def admits(cls, verifier: SignatureVerifier, request: Request) -> bool:
        if cls.turns_away(request):
            return False
        return cls.waves_through(request) or await super().admits(verifier, request)


@breaks("signed")
class _(_Admits):
    @staticmethod
    def turns_away(request: Request) -> bool:
        return True


@breaks("signed-other-order")
class _(_Admits):
    @staticmethod
    def turns_away(request: Request) -> bool:
        return '("@request-target" "audiohook-session-id"' in request.headers["Signature-Input"]


@breaks("unsigned")
class _(_Admits):
    @staticmethod
    def waves_through(request: Request) -> bool:
        return "Signature" not in request.headers


@breaks(
    "signed-by-another",
    "signed-then-changed",
    "other-key",
    "signed-long-ago",
    "signed-in-part",
    "signed-again",
)
class _(_Admits):
    @staticmethod
    def waves_through(request: Request) -> bool:
        return "Signature" in request.headers


@breaks("open-organization")
class _(Conversation):
    def is_expected(self, event: events.OpenReceived) -> bool:
        return True
