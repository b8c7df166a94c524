"""What the benchmarks measured, as tables: a function for each, from what `run.py` keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from report import Table

from . import calls, quality, speed
from .common import Parts

# By the name that the documents use: the steps each needs, and what makes it.
TABLES: dict[str, tuple[Sequence[str], Callable[[Parts], Table]]] = {
    "whole": (["times"], speed.whole),
    "control": (["control"], speed.control),
    "core": (["times"], speed.core),
    "rust-peers": (["peers"], speed.rust_peers),
    "fastest": (["times", "quality", "peers"], speed.fastest),
    "peak": (["times", "peers"], speed.peak),
    "echo": (["echo"], calls.echo),
    "delay": (["delay"], calls.delay),
    "delivery": (["delivery"], calls.delivery),
    "memory": (["memory"], calls.memory),
    "gil": (["gil"], calls.gil),
    "peers-quality": (["quality"], quality.peers_quality),
    "rust-quality": (["peers"], quality.rust_quality),
    "pairs": (["quality"], quality.other_pairs),
    "above": (["quality"], quality.above),
    "roll-off": (["quality"], quality.roll_off),
    "silence": (["quality"], quality.silence),
    "round-trip": (["quality"], quality.round_trip),
    "clipping": (["quality"], quality.clipping),
    "criterion": (["rust"], speed.criterion),
}


def tables(parts: Parts) -> dict[str, Table]:
    """Every table for which there is something."""
    return {
        name: make(parts)
        for name, (needed, make) in TABLES.items()
        if all(parts.get(step) for step in needed)
    }
