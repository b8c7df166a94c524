"""A transport that owns the socket of a Genesys call, for what a serializer cannot do.

A serializer rides in pipecat's transport: its replies queue behind audio, its audio is paced a
chunk at a time, and the socket is closed before Genesys can say goodbye. This one answers in the
receive path, runs ahead of real time by a bounded lead, and ends calls as the protocol has it.

* `transport`: `AudioHookTransport`, its parameters, and the worker that fits it.
* `receiver`, `player`: its two halves in a pipeline, the caller's voice and the bot's.
* `line`: the socket's reader and writer, which need no pipeline, and the farewell.
* `call`: the serializer's session, audio, events and verbs, as the line's messages.
* `writer`: the one place from which anything goes to the socket, in order.
* `sender`: when how much bot audio is sent; no sockets and no clock of its own.
* `pump`: hands it to the writer when it is due, and knows how long nobody would miss more.
* `cutting`: bot audio as it comes from the pipeline, in pieces that are not too long.
* `playback`: what the caller has heard of it; likewise.
* `bucket`: the message rates Genesys allows; likewise.
* `observer`: what operators want to measure.

Beside `serializer` the only room that imports pipecat.
"""

from .observer import TransportObserver
from .pump import may_stand_still, seconds_until_heard
from .transport import AudioHookParams, AudioHookTransport, call_worker, run_call

__all__ = [
    "AudioHookParams",
    "AudioHookTransport",
    "TransportObserver",
    "call_worker",
    "may_stand_still",
    "run_call",
    "seconds_until_heard",
]
