"""The tables of the results of `run.py`. A function makes each table."""

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
"""For each name of a table in the documents: the steps that the table needs, and the function that
makes the table."""


def make_tables(results: Results) -> dict[str, Table]:
    """Return a map from name to table.

    A table is included only if all benchmark steps that it needs have results.
    """
    return {
        name: make(results)
        for name, (needed, make) in TABLES.items()
        if all(results.get(step) for step in needed)
    }
