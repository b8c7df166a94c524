"""Moving a conversation to a new session, as Genesys does where reconnection is enabled.

Planned: the server asks with ``reconnect``; the old session goes on until the new one is open,
and ends with ``close`` reason ``reconnect``. The new one has an id of its own and counts from 1;
its ``open`` names the sessions before it, and begins up to 20 s back in the audio, which goes out
at once. Not simulated: ``paused``, ``resumed`` and ``discarded`` within that window are not told
again. Source: the session walkthrough of Genesys's documentation.
"""

from __future__ import annotations

import uuid
from dataclasses import replace

from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE
from pipecat_genesys.simulator.client import SimulatedCall
from pipecat_genesys.simulator.parameters import ContinuedSession
from pipecat_genesys.simulator.session import FRAME_SAMPLES

HISTORY = 20.0
"""Seconds of audio that Genesys offers again."""


def continuation(call: SimulatedCall, *, url: str = "", history: float = HISTORY) -> SimulatedCall:
    """Prepare the session that carries a call's conversation on.

    Entering it connects; once it is open, the old session closes with reason ``reconnect``::

        await call.wait_for(ReconnectRequested)
        async with continuation(call) as moved:
            await moved.opened()

    Args:
        call: The call, running or lost. It must record its audio, or there is no history.
        url: Where to, if not to the same server.
        history: Seconds of audio to offer again.

    Raises:
        ValueError: If the call does not record.
    """
    if not call.options.record_audio:
        raise ValueError("there is no history to offer: the call was told not to record")
    session, before = call.session, call.parameters
    window = min(round(history * WIRE_SAMPLE_RATE), session.position)
    previous = ContinuedSession(before.session_id, session.last_server_seq, session.last_seq)
    parameters = replace(
        before,
        session_id=str(uuid.uuid4()),
        position=session.position - window // FRAME_SAMPLES * FRAME_SAMPLES,
        continued_sessions=(*before.continued_sessions, previous),
    )
    return SimulatedCall(
        url or call.url,
        parameters,
        options=replace(call.options, backlog=0.0, lost_attempts=0),
        continues=call,
        observer=call.observer,
    )
