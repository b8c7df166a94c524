"""A call from Genesys to the example bot, over a real WebSocket, judged.

Starts ``bot.py`` on a free loopback port, lets the simulator call it with speech,
keys and an interruption, prints the timeline and a summary, writes ``call.wav`` (caller left, bot
as the caller heard it right) and exits non-zero unless the call was what a caller should get.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pipecat_genesys import audio
from pipecat_genesys.simulator import (
    BargedIn,
    CallReport,
    CaptureEntry,
    Direction,
    Disconnected,
    Rule,
    SimulatedCall,
    Spoken,
    read_wav,
)
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
VARIABLES = {
    "action": "transfer",
    "intent": "goodbye",
    "keys": '["1","9"]',
    "satisfied": "true",
}
console = Console()


@contextmanager
def running_bot(log: Path) -> Iterator[str]:
    """Run the example bot on a free port and give its URL once it answers."""
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, str(HERE / "bot.py")],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOST": "127.0.0.1", "PORT": "0", "LOGURU_LEVEL": "INFO"},
        )
        try:
            yield f"ws://127.0.0.1:{bound_port(server, log)}/audiohook"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()


def bound_port(server: subprocess.Popen[bytes], log: Path, patience: float = 120) -> int:
    """Wait until uvicorn says which port the system gave it."""
    deadline = time.monotonic() + patience
    while server.poll() is None and time.monotonic() < deadline:
        running = re.search(r"Uvicorn running on http://[\d.]+:(\d+)", log.read_text())
        if running:
            return int(running[1])
        time.sleep(0.1)
    raise SystemExit(f"the bot did not start; its log, {log}, ends:\n{log.read_text()[-2000:]}")


class Timeline:
    """Prints every message as it happens; runs of audio become one line."""

    def __init__(self) -> None:
        self._runs: dict[Direction, list[CaptureEntry]] = {d: [] for d in Direction}

    def __call__(self, item: object) -> None:
        """Take what the simulator observed."""
        if isinstance(item, BargedIn):
            note = f"barge_in: {item.dropped / 8:.0f} ms of the bot's audio dropped"
            console.print(f"{item.at:8.3f} s     {note}", style="yellow")
        if not isinstance(item, CaptureEntry):
            return
        if item.is_audio:
            self._runs[item.direction].append(item)
            return
        self.flush()
        latency = "" if item.latency is None else f"{item.latency * 1000:.1f} ms"
        self._line(item, f"{item.seq:>4} {latency:>10}  {item.note}")

    def flush(self) -> None:
        """Print the audio that came since the last line."""
        for run in self._runs.values():
            if run:
                size = sum(entry.size for entry in run)
                self._line(run[0], f"{'':>4} {'':>10}  {len(run)} messages, {size} bytes", "dim")
                run.clear()

    def _line(self, entry: CaptureEntry, text: str, style: str = "") -> None:
        to_bot = entry.direction is Direction.TO_SERVER
        arrow = "->" if to_bot else "<-"
        style = style or ("cyan" if to_bot else "green")
        console.print(f"{entry.at:8.3f} s  {arrow}  {entry.type:<18}{text}", style=style)


@dataclass
class Story:
    """What happened in the script, for the summary; seconds since ``open``."""

    question: Spoken | None = None
    answer_at: float = 0.0
    interrupt: Spoken | None = None
    silent_at: float = 0.0
    disconnected: Disconnected | None = None
    steps: list[str] = field(default_factory=list)

    async def play(self, call: SimulatedCall) -> None:
        """Be the caller."""
        await call.opened()
        await call.wait_for_bot_audio()
        await call.playback_completed()
        self._step("the bot has greeted")

        self.question = await call.say(HERE / "audio" / "caller-question.wav")
        answer = await call.wait_for_bot_audio(since=self.question.end)
        self.answer_at = answer.at
        await call.wait_for_silence(0.5)
        self._step("the bot has repeated what the caller said")

        pressed = call.elapsed
        await call.press("1")
        await call.wait_for_bot_audio(since=pressed)
        await asyncio.sleep(1.5)
        self.interrupt = await call.say(HERE / "audio" / "caller-interrupt.wav")
        barged = await call.wait_for(BargedIn, since=self.interrupt.start)
        self.silent_at = barged.at
        await call.wait_for_bot_audio(since=self.interrupt.end)
        self._step("the bot fell silent when talked over, and repeats the interruption")

        # In mid-sentence: the goodbye must be heard to its end all the same.
        await call.press("9")
        self.disconnected = await call.wait_for(Disconnected)
        await call.ended(timeout=15)

    def _step(self, text: str) -> None:
        self.steps.append(text)
        console.print(f"{'':11}[bold]{text}[/bold]")


def delivered(said: bytes, heard: bytes) -> float:
    """How much of what the caller said came back, at its right place, in percent.

    The bot repeats what reached it, so this measures the way there and back: the repetition is
    found by cross-correlation, then every 20 ms of what was said must be where they belong.

    Args:
        said: mu-law, what the caller said.
        heard: mu-law, all that the caller heard.
    """
    window = 160
    speech, track = (
        np.frombuffer(audio.ulaw_decode(u), "<i2").astype(float) for u in (said, heard)
    )
    size = len(speech) + len(track)
    spectrum = np.fft.rfft(track, size) * np.conj(np.fft.rfft(speech, size))
    start = int(np.argmax(np.fft.irfft(spectrum, size)[: len(track)]))
    echo = np.zeros_like(speech)
    found = track[start : start + len(speech)]
    echo[: len(found)] = found
    count = len(speech) // window
    a, b = (x[: count * window].reshape(count, window) for x in (speech, echo))
    energy = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    similar = (a * b).sum(1) > 0.9 * energy
    # Near-silent windows carry quantisation noise, not speech.
    quiet = (np.abs(a).max(1) < 300) & (np.abs(b).max(1) < 300)
    return float(100 * np.mean(similar & (energy > 0) | quiet))


def judge(call: SimulatedCall, story: Story, report: CallReport) -> bool:
    """Print the summary; tell whether every line of it is right."""
    heard = call.session.playback.render(time.monotonic())
    share = delivered(read_wav(HERE / "audio" / "caller-question.wav"), heard)
    answer = 1000 * (story.answer_at - story.question.end) if story.question else float("inf")
    silence = 1000 * (story.silent_at - story.interrupt.start) if story.interrupt else float("inf")
    goodbye = delivered(read_wav(HERE / "audio" / "goodbye.wav"), heard)
    bot_audio, text = report.audio_from_server, report.text_from_server
    # The stock transport shuts the socket right after `disconnect`, so that the client cannot
    # say `close`. Nothing else may be wrong.
    tolerated = {Rule.SERVER_CLOSED_SOCKET}
    faults = [v.message for v in report.violations if v.rule not in tolerated]
    ending = report.ending
    rows = [
        ("caller audio delivered", f"{share:.1f} %", "100 %", share == 100),
        (
            "first bot audio after the caller stopped",
            f"{answer:.0f} ms",
            "<= 500 ms",
            answer <= 500,
        ),
        ("barge-in to silence", f"{silence:.0f} ms", "<= 300 ms", 0 < silence <= 300),
        (
            "audio messages from the bot",
            f"{bot_audio.per_second:.2f}/s, burst {bot_audio.burst}",
            "<= 5/s, 25",
            bot_audio.per_second <= 5 and bot_audio.burst <= 25,
        ),
        (
            "text messages from the bot",
            f"{text.per_second:.2f}/s, burst {text.burst}",
            "<= 5/s, 25",
            text.per_second <= 5 and text.burst <= 25,
        ),
        (
            "messages in order",
            "yes" if report.server_seq_ok and report.client_seq_ok else "no",
            "yes",
            report.server_seq_ok and report.client_seq_ok,
        ),
        ("rules broken", "; ".join(faults) or "none", "none", not faults),
        ("holes in the bot's speech", str(len(report.underruns)), "0", not report.underruns),
        ("goodbye heard", f"{goodbye:.1f} %", "100 %", goodbye == 100),
        (
            "how it ended",
            f"disconnect, {ending.disconnect_reason}",
            "disconnect, completed",
            ending.disconnect_reason == "completed",
        ),
        (
            "output variables",
            ", ".join(f"{k}={v}" for k, v in ending.output_variables.items()) or "none",
            "as set",
            dict(ending.output_variables) == VARIABLES,
        ),
        (
            "the whole story was told",
            report.script_error or "yes",
            "yes",
            report.script_error is None,
        ),
    ]
    table = Table(title="The call", title_justify="left")
    for heading in ("what", "measured", "must be", ""):
        table.add_column(heading)
    for what, measured, limit, ok in rows:
        table.add_row(what, measured, limit, "[green]ok[/green]" if ok else "[red]NOT OK[/red]")
    console.print(table)
    return all(ok for *_, ok in rows)


async def demo(url: str, recording: Path) -> bool:
    """Place the call and judge it."""
    story, timeline = Story(), Timeline()
    call = SimulatedCall(url, observer=timeline)
    console.print("    time       message            seq    latency")
    console.print("               (-> from Genesys to the bot, <- from the bot to Genesys)")
    report = await call.run(story.play)
    timeline.flush()
    call.save_recording(recording)
    console.print(
        f"[dim]The stock transport closed the socket right after disconnect (closed by: "
        f"{report.ending.socket_closed_by}); Genesys would rather close it itself.[/dim]"
    )
    passed = judge(call, story, report)
    console.print(f"The recording is in {recording}: caller left, bot as heard right.")
    return passed


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wav", type=Path, default=Path("call.wav"), help="where to record to")
    parser.add_argument("--log", type=Path, default=Path("call.log"), help="the bot's log")
    arguments = parser.parse_args()
    console.print("Starting examples/bot.py; importing pipecat takes a few seconds ...")
    with running_bot(arguments.log) as url:
        passed = asyncio.run(demo(url, arguments.wav))
    if not passed:
        console.print(f"[red]Not what a caller should get.[/red] The bot's log is {arguments.log}.")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
