"""A call as its application sees it: `Call` and what belongs to it.

What belongs here: hooks, events, the methods that send messages to Genesys, what ``open`` and
``update`` said, the audio of the call, and the pipeline frames for Genesys's messages. What does
not: sockets, and Pipecat's dict messages. The serializer and the transport each hold one `Call`.

* `call`: the `Call`, and the `Phase` of its end.
* `codec`: wire audio to PCM and back.
* `containment`: limits what the code of a bot can do to other calls.
* `details`: what Genesys said about the call.
* `frames`: the pipeline frames.
* `params`: the configuration of a call.
* `variables`: output variables in the form that Genesys accepts.
* `log`: the log of a call.
"""

from .call import Call, Ending, Handler, OpenGate, Phase
from .params import CallParams

__all__ = ["Call", "CallParams", "Ending", "Handler", "OpenGate", "Phase"]
