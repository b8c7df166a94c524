"""The interface of one call for its application: `Call` and its parts.

This package has hooks, events, the methods that send messages to Genesys, the details from ``open``
and ``update``, the audio of the call, and the pipeline frames for Genesys's messages. No module of
this package uses sockets. The serializer and the transport each hold one `Call`.

* `call`: the classes `Call`, `Phase` and `EndCause`.
* `codec`: converts wire audio to PCM, and PCM to wire audio.
* `containment`: limits the effects of a bot's code on other calls.
* `details`: the details of the call from ``open`` and ``update``.
* `frames`: the pipeline frames.
* `params`: the configuration of a call.
* `message_dicts`: messages that an application wrote as dicts.
* `variables`: output variables in the form that Genesys accepts.
* `log`: the log of a call.
"""

from .call import Call, EndCause, Handler, OpenGate, Phase
from .params import CallParams

__all__ = ["Call", "CallParams", "EndCause", "Handler", "OpenGate", "Phase"]
