"""All checks, in the order they are reported in."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Importing them registers them. The order is that of a call, and of the reports.
# isort: off
from . import of_opening  # noqa: F401
from . import of_envelopes  # noqa: F401
from . import of_pings  # noqa: F401
from . import of_the_call  # noqa: F401
from . import of_endings  # noqa: F401
from . import of_sequence  # noqa: F401
from . import of_hostile_input  # noqa: F401
from . import of_limits  # noqa: F401
from . import of_authentication  # noqa: F401

# isort: on
from .checking import REGISTERED, BrokenRule, Check, NotApplicable, Severity

__all__ = ["CATALOGUE", "BrokenRule", "Check", "NotApplicable", "Severity"]

CATALOGUE: Mapping[str, Check] = MappingProxyType(REGISTERED)
"""Every check, by its id."""
