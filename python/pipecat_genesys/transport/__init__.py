"""A Pipecat transport that owns the socket of a Genesys call.

A serializer is limited by the transport it runs in: its replies wait behind audio, its audio is
sent one chunk at a time, and the socket is closed before Genesys can send ``close``. This transport
answers in the receive path, runs ahead of real time by a bounded lead, and ends calls as the
protocol requires.

* `transport`: `AudioHookTransport`, its parameters, and the worker that fits it.
* `input`, `output`: its two ends in a pipeline.
* `connection`: the socket, both ways, and the end of the call on it.
* `timeline`: frames in order with bot audio, passed on when the caller hears it.
* `pacer`: when how much bot audio is sent.
* `playout_clock`: how much of it Genesys has played.
* `rate_limit`: Genesys's message rates.
* `writer`: the queue in front of the socket.
* `task_manager`: the tasks of a pipeline, which must not end the process.
* `observer`: what operators can measure.
* `tracing`: the ids of the call on OpenTelemetry spans.
"""

from .observer import TransportObserver
from .pacer import can_block, seconds_until_underrun
from .transport import AudioHookParams, AudioHookTransport, CallPipeline, call_worker, run_call

__all__ = [
    "AudioHookParams",
    "AudioHookTransport",
    "CallPipeline",
    "TransportObserver",
    "call_worker",
    "can_block",
    "run_call",
    "seconds_until_underrun",
]
