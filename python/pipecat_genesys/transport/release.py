"""Breaks the reference cycles of an ended call, so that its objects are freed immediately.

The objects of a pipeline refer to each other in cycles: processors to their neighbours, a worker to
its runner, event handlers to their owners. CPython frees cycles only in a garbage collection, which
examines the objects of all running calls and blocks all calls during this time. With 300 calls such
a collection takes more than 100 ms. Without cycles, no collection is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pipecat.processors.frame_processor import FrameProcessor
from pipecat.utils.base_object import BaseObject

# Attributes of Pipecat's pipeline sources and sinks: functions that are bound to the pipeline.
_PUSH_FUNCTIONS = ("_upstream_push_frame", "_downstream_push_frame")
# Mappings that refer to the worker and the runner, in the runner, its bus and its registry.
_RUNNER_MAPPINGS = {"": "_entries", "_bus": "_subscriptions", "_registry": "_watches"}


def drop_event_handlers(owner: BaseObject) -> None:
    """Remove all event handlers of an object."""
    for handler in getattr(owner, "_event_handlers", {}).values():
        # A new list, because Pipecat may be in a loop over the old list.
        handler.handlers = []


def release_pipeline(worker: Any, runner: Any, task_manager: Any) -> None:
    """Break the reference cycles of a pipeline that has ended.

    The pipeline cannot run again, and its objects call no event handlers any more. All other
    attributes of the objects stay, so that an application can read, for example, the context of the
    call. Objects that do not use `task_manager`, such as objects that several calls share, are not
    changed.

    Args:
        worker: The worker of the pipeline.
        runner: The runner of the worker.
        task_manager: The task manager of the pipeline, which runs no task any more.
    """
    # Attributes that this version of Pipecat does not have are skipped. The garbage collector then
    # frees the objects that are still in a cycle.
    roots = [root for root in (worker, runner, getattr(runner, "_bus", None)) if root is not None]
    for owned in list(_owned_objects(roots, task_manager)):
        drop_event_handlers(owned)
        if not isinstance(owned, FrameProcessor):
            continue
        owned._prev = owned._next = None
        for name in _PUSH_FUNCTIONS:
            if hasattr(owned, name):
                setattr(owned, name, None)
    # Every processor refers to its worker. The worker keeps only its own two processors, because
    # Pipecat queues frames to them.
    worker._pipeline = None
    for name in ("_source", "_sink"):
        if (end := getattr(worker, name, None)) is not None:
            end._setup = None
    for part, name in _RUNNER_MAPPINGS.items():
        mapping = getattr(getattr(runner, part, None) if part else runner, name, None)
        if mapping is not None:
            mapping.clear()


def _owned_objects(roots: Iterable[BaseObject], task_manager: Any) -> Iterator[BaseObject]:
    """Yield the objects of Pipecat that use a task manager and can be reached from `roots`."""
    waiting = list(roots)
    seen = {id(root) for root in waiting}
    while waiting:
        found = waiting.pop()
        yield found
        for value in _values(found):
            if not isinstance(value, BaseObject) or id(value) in seen:
                continue
            if getattr(value, "_task_manager", None) is task_manager:
                seen.add(id(value))
                waiting.append(value)


def _values(owner: object) -> Iterator[object]:
    """Yield the values of an object's attributes, and the elements of containers in attributes."""
    for value in vars(owner).values():
        if isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, (list, tuple, set)):
            yield from value
        else:
            yield value
