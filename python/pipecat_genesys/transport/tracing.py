"""Adds the ids of a call to Pipecat's OpenTelemetry spans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipecat.processors.frame_processor import FrameProcessor

from pipecat_genesys.call import Call

from .input import AudioHookInputTransport


def find_call(processor: FrameProcessor) -> Call | None:
    """Return the call of the first AudioHook input in a pipeline; None without such an input."""
    if isinstance(processor, AudioHookInputTransport):
        return processor.call
    return next(filter(None, map(find_call, processor.processors)), None)


def _span_attributes(call: Call) -> dict[str, str]:
    ids = {
        "genesys.conversation_id": call.conversation_id,
        "genesys.organization_id": call.organization_id,
        "genesys.session_id": call.session_id,
    }
    return {name: value for name, value in ids.items() if value is not None}


def tracing_options(call: Call, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the worker's options for tracing, from the ids in `open`.

    Args:
        call: The call.
        options: The application's options, which replace the call's ids.

    Returns:
        A dict with the keys ``conversation_id`` and ``additional_span_attributes``. The dict is
        empty before `open` has arrived.
    """
    if call.conversation_id is None:
        return {}
    attributes = options.get("additional_span_attributes") or {}
    return {
        "conversation_id": options.get("conversation_id") or call.conversation_id,
        "additional_span_attributes": _span_attributes(call) | attributes,
    }


def trace_open(call: Call, trace_observer: Any, options: Mapping[str, Any]) -> None:
    """Add a call's ids to the spans when `open` arrives, which may be after the pipeline starts.

    Pipecat reads the ids when the worker is created, and has no public method to set them later.

    Args:
        call: The call.
        trace_observer: The worker's ``turn_trace_observer``.
        options: The application's options, which replace the call's ids.
    """

    async def on_open(*_: object) -> None:
        wanted = tracing_options(call, options)
        if not wanted:
            return
        conversation_id = wanted["conversation_id"]
        # Pipecat adds these attributes to the spans that it starts later.
        trace_observer._conversation_id = conversation_id
        trace_observer._additional_span_attributes = wanted["additional_span_attributes"]
        conversation, turn = trace_observer._conversation_span, trace_observer._current_span
        if conversation is not None:
            conversation.set_attributes(
                {"conversation.id": conversation_id, **wanted["additional_span_attributes"]}
            )
        if turn is not None:
            turn.set_attribute("conversation.id", conversation_id)

    call.add_event_handler("on_open", on_open)
