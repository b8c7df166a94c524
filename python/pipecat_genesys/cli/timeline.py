"""The screen output of a running call: one line for each message, and a status line below them."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipecat_genesys.simulator import (
    BargedIn,
    CaptureEntry,
    Direction,
    Event,
    ProtocolWarning,
    ServerEvent,
    ServerRule,
    SimulatedCall,
    Violation,
)

_REFRESH = 4
"""Updates of the status line per second."""


class Timeline:
    """Prints the messages and events of a call; successive audio messages share one line.

    Args:
        console: The console to print to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._runs: dict[Direction, list[CaptureEntry]] = {d: [] for d in Direction}

    def __call__(self, item: CaptureEntry | Event) -> None:
        """Print a message or an event. Audio messages are collected for one line of `flush`."""
        if isinstance(item, BargedIn):
            self._remark(item.at, f"{item.dropped / 8:.0f} ms of bot audio cleared", "yellow")
        elif isinstance(item, ServerEvent) and item.type != "barge_in":
            self._remark(item.at, f"event {item.type}", "dim")
        elif isinstance(item, Violation):
            self._remark(item.at, f"{item.rule}: {item.message}", "red")
        elif isinstance(item, ProtocolWarning):
            self._remark(item.at, f"{item.rule}: {item.message}", "yellow")
        elif isinstance(item, CaptureEntry):
            self._entry(item)

    def flush(self) -> None:
        """Print the audio messages that were not printed yet."""
        runs = sorted(filter(None, self._runs.values()), key=lambda run: run[0].at)
        for run in runs:
            size = sum(entry.size for entry in run)
            count = "1 message" if len(run) == 1 else f"{len(run)} messages"
            self._line(run[0], f"{'':>5} {'':>10}  {count}, {size} bytes", "dim")
            run.clear()

    def _entry(self, entry: CaptureEntry) -> None:
        if entry.is_audio:
            self._runs[entry.direction].append(entry)
            return
        self.flush()
        seq = "" if entry.seq is None else str(entry.seq)
        latency = "" if entry.latency is None else f"{entry.latency * 1000:.1f} ms"
        to_server = entry.direction is Direction.TO_SERVER
        self._line(entry, f"{seq:>5} {latency:>10}  {entry.note}", "cyan" if to_server else "green")

    def _remark(self, at: float, text: str, style: str) -> None:
        self.flush()
        self._print(f"{at:8.3f} s      {text}", style)

    def _line(self, entry: CaptureEntry, text: str, style: str) -> None:
        arrow = "->" if entry.direction is Direction.TO_SERVER else "<-"
        self._print(f"{entry.at:8.3f} s  {arrow}  {entry.type:<18}{text}".rstrip(), style)

    def _print(self, line: str, style: str) -> None:
        # A message may contain text that looks like console markup.
        self._console.print(Text(line, style), soft_wrap=True)


class StatusLine:
    """A status line below the messages of a running call. It is shown only on terminals.

    Args:
        console: The console to print to.
        call: The call.
    """

    def __init__(self, console: Console, call: SimulatedCall) -> None:
        self._call = call
        self._live = Live(
            get_renderable=self._render,
            console=console,
            refresh_per_second=_REFRESH,
            transient=True,
            auto_refresh=console.is_terminal,
        )

    def __enter__(self) -> Self:
        if self._live.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def _render(self) -> Text:
        session = self._call.session
        binary, text = (
            session.budgets[rule].lowest for rule in (ServerRule.BINARY_RATE, ServerRule.TEXT_RATE)
        )
        parts = [
            str(session.state),
            f"stream at {session.position / 8000:.1f} s",
            f"bot audio {session.playback.received / 8000:.1f} s",
            f"fewest tokens left: audio {binary:.0f}, text {text:.0f}",
        ]
        if session.is_paused:
            parts.insert(1, "paused")
        return Text("  " + "   ".join(parts), "bold")
