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
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pipecat_genesys import audio
from pipecat_genesys.cli.timeline import Timeline
from pipecat_genesys.simulator import (
    BargedIn,
    CallReport,
    Direction,
    Disconnected,
    ServerRule,
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


class Bot:
    """The example bot in a process of its own, on a free port.

    Args:
        log: Where its log goes.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "bot.py")],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "HOST": "127.0.0.1", "PORT": "0", "LOGURU_LEVEL": "INFO"},
            )

    def url(self) -> str:
        """Wait until uvicorn says which port the system gave it."""
        port = self._logged(r"Uvicorn running on http://[\d.]+:(\d+)", patience=120)
        return f"ws://127.0.0.1:{port}/audiohook"

    def seconds_heard(self) -> float:
        """Wait until the bot says how much of the caller reached its pipeline."""
        return int(self._logged(r"samples heard at 16000 Hz: (\d+)", patience=15)) / 16000

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _logged(self, pattern: str, patience: float) -> str:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            over = self._process.poll() is not None
            if found := re.search(pattern, self._log.read_text()):
                return found[1]
            if over:
                break
            time.sleep(0.1)
        end = self._log.read_text()[-2000:]
        raise SystemExit(f"the bot did not log {pattern!r}; {self._log} ends:\n{end}")


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
    """How much of something said was heard, each part at its right place, in percent.

    It is found by cross-correlation; then every 20 ms of it must be where they belong.

    Args:
        said: mu-law: what the caller said and the bot repeats, or a prompt of the bot's.
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


def owed(call: SimulatedCall, story: Story) -> float:
    """Seconds of caller audio the bot must have heard.

    All that was sent before the last message the bot acted upon: the socket keeps the order.
    """
    sent = [e for e in call.session.capture.entries if e.direction is Direction.TO_SERVER]
    if story.disconnected is not None:
        sent = [entry for entry in sent if entry.at < story.disconnected.at]
    while sent and sent[-1].is_audio:
        sent.pop()
    return sum(entry.size for entry in sent if entry.is_audio) / 8000


def milliseconds(after: float, before: float) -> float:
    """A time that was measured, or infinity where it never came."""
    return 1000 * (after - before) if after else float("inf")


def judge(call: SimulatedCall, story: Story, report: CallReport, seconds_heard: float) -> bool:
    """Print the summary; tell whether every line of it is right."""
    heard = call.session.playback.render(time.monotonic())
    expected = owed(call, story)
    share = 100 * min(1.0, seconds_heard / expected) if expected else 0.0
    question = delivered(read_wav(HERE / "audio" / "caller-question.wav"), heard)
    goodbye = delivered(read_wav(HERE / "audio" / "goodbye.wav"), heard)
    answer = milliseconds(story.answer_at, story.question.end if story.question else 0)
    silence = milliseconds(story.silent_at, story.interrupt.start if story.interrupt else 0)
    bot_audio, text = report.audio_from_server, report.text_from_server
    # The stock transport shuts the socket right after `disconnect`, so that the client cannot
    # say `close`. Nothing else may be wrong.
    tolerated = {ServerRule.SERVER_CLOSED_SOCKET}
    if any(v.rule in tolerated for v in report.violations):
        console.print(
            "[dim]The stock transport closed the socket right after disconnect; Genesys would "
            "rather close it itself.[/dim]"
        )
    faults = [v.message for v in report.violations if v.rule not in tolerated]
    ending = report.ending
    rows = [
        (
            "caller audio delivered",
            f"{share:.1f} % of {expected:.1f} s",
            "100 %",
            share == 100,
        ),
        ("the question, repeated", f"{question:.1f} %", "100 %", question == 100),
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


async def demo(bot: Bot, recording: Path) -> bool:
    """Place the call and judge it."""
    story, timeline = Story(), Timeline(console)
    call = SimulatedCall(bot.url(), observer=timeline)
    console.print("    time       message            seq    latency")
    console.print("               (-> from Genesys to the bot, <- from the bot to Genesys)")
    report = await call.run(story.play)
    timeline.flush()
    call.save_recording(recording)
    passed = judge(call, story, report, await asyncio.to_thread(bot.seconds_heard))
    console.print(f"The recording is in {recording}: caller left, bot as heard right.")
    return passed


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wav", type=Path, default=Path("call.wav"), help="where to record to")
    parser.add_argument("--log", type=Path, default=Path("call.log"), help="the bot's log")
    arguments = parser.parse_args()
    console.print("Starting examples/bot.py; importing pipecat takes a few seconds ...")
    bot = Bot(arguments.log)
    try:
        passed = asyncio.run(demo(bot, arguments.wav))
    finally:
        bot.stop()
    if not passed:
        console.print(f"[red]Not what a caller should get.[/red] The bot's log is {arguments.log}.")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
