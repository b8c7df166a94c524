"""A Pipecat transport that owns the socket of a Genesys call.

A serializer is limited by the transport it runs in: its replies wait until queued bot audio is
sent, its audio is sent one chunk at a time, and the socket is closed before Genesys can send
``close``. This transport answers a message as soon as it is received, sends bot audio before
Genesys plays it (by default up to 1 s), and ends calls as the protocol requires.

* `transport`: `AudioHookTransport`, its parameters, and the pipeline worker of a call.
* `input`, `output`: the first and the last processor of a pipeline.
* `connection`: reads and writes the socket, and ends the call.
* `timeline`: passes frames to the next processor when the caller has heard the bot audio before
  them.
* `pacer`: decides when bot audio is sent, and the size of each message.
* `playout_clock`: computes how much bot audio Genesys has played.
* `rate_limit`: limits the rate of messages, as Genesys requires.
* `writer`: the queue of messages that the socket has not accepted yet.
* `task_manager`: runs the tasks of a pipeline so that they cannot end the process.
* `observer`: base classes that receive the measurements of a call, and all messages of a call.
* `tracing`: adds the ids of the call to OpenTelemetry spans.
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
