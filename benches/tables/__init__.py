"""The tables of `run.py`'s results: a function for each table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from report import Table

from . import calls, quality, speed
from .common import Results

TABLES: dict[str, tuple[Sequence[str], Callable[[Results], Table]]] = {
    "serializer": (["times"], speed.serializer),
    "control": (["control"], speed.control),
    "libraries": (["times"], speed.libraries),
    "crates": (["crates"], speed.crates),
    "fastest": (["times", "quality", "crates"], speed.fastest),
    "peak": (["times", "crates"], speed.peak),
    "echo": (["echo"], calls.echo),
    "delay": (["delay"], calls.delay),
    "delivery": (["delivery"], calls.delivery),
    "memory": (["memory"], calls.memory),
    "libraries-quality": (["quality"], quality.libraries),
    "crates-quality": (["crates"], quality.crates),
    "pairs": (["quality"], quality.pairs),
    "above": (["quality"], quality.above),
    "roll-off": (["quality"], quality.roll_off),
    "silence": (["quality"], quality.silence),
    "round-trip": (["quality"], quality.round_trip),
    "clipping": (["quality"], quality.clipping),
}
"""For each table name in the documents, the steps that the table needs and its function."""


def make_tables(results: Results) -> dict[str, Table]:
    """Return the tables whose steps have results, by name."""
    return {
        name: make(results)
        for name, (needed, make) in TABLES.items()
        if all(results.get(step) for step in needed)
    }
