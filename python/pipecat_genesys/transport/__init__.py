"""A Pipecat transport that owns the socket of a Genesys call.

A serializer is limited by the transport it runs in: its replies wait behind audio, its audio is
sent one chunk at a time, and the socket is closed before Genesys can send ``close``. This transport
answers a message as soon as it is received, sends bot audio ahead of real time by a limited lead,
and ends calls as the protocol requires.

* `transport`: `AudioHookTransport`, its parameters, and the pipeline worker of a call.
* `input`, `output`: the first and the last processor of a pipeline.
* `connection`: reads and writes the socket, and ends the call.
* `timeline`: passes frames on when the caller has heard the bot audio before them.
* `pacer`: decides when bot audio is sent, and the size of each message.
* `playout_clock`: the amount of bot audio that Genesys has played.
* `rate_limit`: Genesys's message rates.
* `writer`: the queue of messages that the socket has not accepted yet.
* `task_manager`: keeps the tasks of a pipeline from ending the process.
* `observer`: the measurements for operators, and the tap of the messages on the wire.
* `tracing`: the ids of the call on OpenTelemetry spans.
"""

from .observer import MessageTap, TransportObserver
from .pacer import can_block, seconds_until_underrun
from .transport import AudioHookParams, AudioHookTransport, CallPipeline, call_worker, run_call

__all__ = [
    "AudioHookParams",
    "AudioHookTransport",
    "CallPipeline",
    "MessageTap",
    "TransportObserver",
    "call_worker",
    "can_block",
    "run_call",
    "seconds_until_underrun",
]
