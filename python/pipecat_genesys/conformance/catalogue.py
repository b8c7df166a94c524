"""All checks, in the order in which reports list them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from .check import Check
from .checks import (
    authentication,
    endings,
    hostile_input,
    limits,
    messages,
    opening,
    pings,
    running_call,
    sequence,
)

_MODULES = (
    opening,
    messages,
    pings,
    running_call,
    endings,
    sequence,
    hostile_input,
    limits,
    authentication,
)


def _collect(modules: tuple[ModuleType, ...]) -> dict[str, Check]:
    """Collect the checks of all modules, in the order of their definition.

    Raises:
        ValueError: If two checks have the same id.
    """
    found: dict[str, Check] = {}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Check):
                if value.id in found:
                    raise ValueError(f"two checks have the id {value.id!r}")
                found[value.id] = value
    return found


CATALOGUE: Mapping[str, Check] = MappingProxyType(_collect(_MODULES))
"""Every check, by id."""
