"""Call the example bot as Genesys does, on both transports, and check the calls.

The demo starts `bot.py` (`AudioHookTransport`) and `serializer_bot.py` (Pipecat's own transport
with the drop-in serializer) on free loopback ports. The simulator calls both servers at the same
time with the same script: speech, keys and an interruption. The demo prints the messages of the
call to `bot.py`, then a table of both calls. The demo also writes two files about the call to
`bot.py`. In `call.wav` the left channel has the caller's audio, and the right channel has the bot's
audio as the caller heard it. `call.jsonl` is a capture for the inspector. The exit status is 0 if
both calls are within the limits, else 1.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pipecat_genesys import audio
from pipecat_genesys.cli.timeline import Timeline
from pipecat_genesys.simulator import (
    BargedIn,
    CallReport,
    CaptureEntry,
    CaptureFile,
    Direction,
    Disconnected,
    Event,
    SimulatedCall,
    Spoken,
    new_call,
    read_wav,
)
from rich import box
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
QUESTION = HERE / "audio" / "caller-question.wav"
INTERRUPTION = HERE / "audio" / "caller-interrupt.wav"
GOODBYE = HERE / "audio" / "goodbye.wav"
VARIABLES = {"intent": "goodbye", "keys": '["1","9"]', "satisfied": "true"}
console = Console()


class ExampleServer:
    """An example that runs in a separate process, on a free port.

    Args:
        script: Name of a Python file in `examples`.
        log: File to which the output of the example is written.
    """

    def __init__(self, script: str, log: Path) -> None:
        self._log = log
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / script)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "HOST": "127.0.0.1", "PORT": "0", "LOGURU_LEVEL": "INFO"},
            )

    def url(self) -> str:
        """Wait until the server listens, and return the URL to call."""
        port = self._logged(r"Uvicorn running on http://[\d.]+:(\d+)", timeout=120)
        return f"ws://127.0.0.1:{port}/audiohook"

    def seconds_heard(self) -> float:
        """Wait for the end of the call; return the seconds of caller audio in its pipeline."""
        return int(self._logged(r"samples heard at 16000 Hz: (\d+)", timeout=15)) / 16000

    def stop(self) -> None:
        """End the process of the example."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _logged(self, pattern: str, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            has_ended = self._process.poll() is not None
            if found := re.search(pattern, self._log.read_text()):
                return found[1]
            if has_ended:
                break
            time.sleep(0.1)
        end = self._log.read_text()[-2000:]
        raise SystemExit(f"the bot did not log {pattern!r}; {self._log} ends:\n{end}")


@contextmanager
def running(script: str, log: Path):
    """Run an example in a separate process until the context ends."""
    server = ExampleServer(script, log)
    try:
        yield server
    finally:
        server.stop()


class DemoCaller:
    """The caller of the demo. Times are seconds since `open`.

    Args:
        prints: Whether to print the steps.

    Attributes:
        question: Position of the caller's question in the stream of caller audio.
        answer_at: Time at which the first audio of the answer arrived.
        interruption: Position, in the stream of caller audio, of the speech that interrupts the
            bot.
        silent_at: Time at which the bot's audio was cleared.
        disconnected: The event for the server's `disconnect` message.
    """

    def __init__(self, prints: bool) -> None:
        self._prints = prints
        self.question: Spoken | None = None
        self.answer_at = 0.0
        self.interruption: Spoken | None = None
        self.silent_at = 0.0
        self.disconnected: Disconnected | None = None

    async def talk(self, call: SimulatedCall) -> None:
        """Perform the caller's part of the conversation."""
        await call.opened()
        await call.wait_for_bot_audio()
        await call.playback_completed()
        self._step("the bot has greeted the caller")

        self.question = await call.say(QUESTION)
        answer = await call.wait_for_bot_audio(since=self.question.end)
        self.answer_at = answer.at
        await call.wait_for_silence(0.5)
        self._step("the bot has repeated what the caller said")

        pressed = call.elapsed
        await call.press("1")
        await call.wait_for_bot_audio(since=pressed)
        await asyncio.sleep(1.5)
        self.interruption = await call.say(INTERRUPTION)
        barged_in = await call.wait_for(BargedIn, since=self.interruption.start)
        self.silent_at = barged_in.at
        await call.wait_for_bot_audio(since=self.interruption.end)
        self._step("the caller has interrupted the bot, which stopped speaking")

        # The bot is speaking. The key must interrupt the bot, and the whole goodbye must be played.
        await call.press("9")
        self.disconnected = await call.wait_for(Disconnected)
        await call.ended(timeout=15)

    def _step(self, text: str) -> None:
        if self._prints:
            console.print(f"{'':11}[bold]{text}[/bold]")


def share_heard(said: bytes, heard: bytes) -> float:
    """Return the percentage of a sentence that the recording has at the correct times.

    Args:
        said: The sentence as mu-law.
        heard: All audio that the caller heard, as mu-law.
    """
    speech, track = (
        np.frombuffer(audio.ulaw_decode(u), "<i2").astype(float) for u in (said, heard)
    )
    # The bot uses twice the sample rate, so the sentence may be shifted by half a sample.
    spectrum = np.fft.rfft(speech)
    half = np.exp(-1j * np.pi * np.arange(len(spectrum)) / len(speech))
    late = np.fft.irfft(spectrum * half, len(speech))
    return max(share_equal(speech, track), share_equal(late, track))


def share_equal(speech: np.ndarray, track: np.ndarray) -> float:
    """Divide a sentence into windows of 20 ms; return the percentage that is equal in a recording.

    The position of the sentence is found by cross-correlation. Windows that are quiet in both count
    as equal.
    """
    window = 160
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
    # Windows of near silence contain quantisation noise, which cannot be compared.
    quiet = (np.abs(a).max(1) < 300) & (np.abs(b).max(1) < 300)
    return float(100 * np.mean(similar & (energy > 0) | quiet))


def seconds_sent(call: SimulatedCall, caller: DemoCaller) -> float:
    """Return the seconds of caller audio that the bot must have received.

    The bot must have received all audio before the last message that the bot acted upon, because a
    WebSocket keeps the order. Audio after this message may arrive too late, because the bot ends
    the call.
    """
    sent = [e for e in call.session.capture.entries if e.direction is Direction.TO_SERVER]
    if caller.disconnected is not None:
        sent = [entry for entry in sent if entry.at < caller.disconnected.at]
    while sent and sent[-1].is_audio:
        sent.pop()
    return sum(entry.size for entry in sent if entry.is_audio) / 8000


def milliseconds(after: float, before: float) -> float:
    """Return the milliseconds from `before` to `after`; infinity if `after` is 0 (never)."""
    return 1000 * (after - before) if after else float("inf")


@dataclass
class Row:
    """One line of the table.

    Attributes:
        what: Name of the measurement.
        limit: Limit or expected value.
        value: The measured value.
        ok: Whether the value is within the limit.
    """

    what: str
    limit: str
    value: str
    ok: bool


def judge(
    call: SimulatedCall, caller: DemoCaller, report: CallReport, seconds_heard: float
) -> list[Row]:
    """Compare the measurements of a call with their limits."""
    heard = call.session.playback.render(time.monotonic())
    sent = seconds_sent(call, caller)
    received = 100 * min(1.0, seconds_heard / sent) if sent else 0.0
    question = share_heard(read_wav(QUESTION), heard)
    goodbye = share_heard(read_wav(GOODBYE), heard)
    answer = milliseconds(caller.answer_at, caller.question.end if caller.question else 0)
    silence = milliseconds(
        caller.silent_at, caller.interruption.start if caller.interruption else 0
    )
    opened = 1000 * (report.opened_latency or float("inf"))
    bot_audio, text = report.audio_from_server, report.text_from_server
    in_order = report.server_seq_ok and report.client_seq_ok
    broken = [violation.message for violation in report.violations]
    ending = report.ending
    variables = {k: v for k, v in ending.output_variables.items() if k in VARIABLES}
    return [
        Row("opened after", "<= 5 s", f"{opened:.0f} ms", opened <= 5000),
        Row("caller audio received", "100 %", f"{received:.1f} %", received == 100),
        Row("question, repeated", "100 %", f"{question:.1f} %", question == 100),
        # Both limits include the 40 ms round trip of the simulated network.
        Row("answer after question", "<= 540 ms", f"{answer:.0f} ms", answer <= 540),
        Row("silent when interrupted", "<= 340 ms", f"{silence:.0f} ms", 0 < silence <= 340),
        Row(
            "audio messages, burst",
            "<= 5/s, 25",
            f"{bot_audio.per_second:.1f}/s, {bot_audio.burst}",
            bot_audio.per_second <= 5 and bot_audio.burst <= 25,
        ),
        Row(
            "text messages, burst",
            "<= 5/s, 25",
            f"{text.per_second:.1f}/s, {text.burst}",
            text.per_second <= 5 and text.burst <= 25,
        ),
        Row("messages in order", "yes", "yes" if in_order else "no", in_order),
        Row("gaps in the bot's speech", "0", str(len(report.underruns)), not report.underruns),
        Row("goodbye, heard", "100 %", f"{goodbye:.1f} %", goodbye == 100),
        Row(
            "disconnect reason",
            "completed",
            str(ending.disconnect_reason),
            ending.disconnect_reason == "completed",
        ),
        Row(
            "output variables",
            "as set",
            "as set" if variables == VARIABLES else str(variables),
            variables == VARIABLES,
        ),
        Row("rules broken", "none", "; ".join(broken) or "none", not broken),
        Row("script", "complete", report.script_error or "complete", report.script_error is None),
    ]


def print_table(transport: list[Row], serializer: list[Row]) -> None:
    """Print the rows of both calls side by side."""
    table = Table(title="\nBoth calls", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("", "must be", "AudioHookTransport", "serializer"):
        table.add_column(heading)
    for rows in zip(transport, serializer, strict=True):
        cells = (f"{row.value} {'[green]ok' if row.ok else '[red]NOT OK'}[/]" for row in rows)
        table.add_row(rows[0].what, rows[0].limit, *cells)
    console.print(table)


async def demo(bot: ExampleServer, serializer_bot: ExampleServer, recording: Path) -> bool:
    """Call both servers and print the result.

    Args:
        bot: The server whose call is printed and recorded.
        serializer_bot: The server to compare with.
        recording: WAV file to write; the capture has the same name with the suffix `.jsonl`.

    Returns:
        Whether both calls are within the limits.
    """
    servers = (bot, serializer_bot)
    urls = await asyncio.gather(*(asyncio.to_thread(server.url) for server in servers))
    console.print("The call to bot.py: -> from Genesys to the bot, <- from the bot to Genesys")
    console.print("    time       message            seq    latency")
    timeline = Timeline(console)
    callers = (DemoCaller(prints=True), DemoCaller(prints=False))
    parameters = new_call()
    capture_path = recording.with_suffix(".jsonl")
    with CaptureFile(capture_path, urls[0], parameters) as capture:

        def observe(item: CaptureEntry | Event) -> None:
            timeline(item)
            capture(item)

        calls = (
            SimulatedCall(urls[0], parameters, observer=observe),
            SimulatedCall(urls[1]),
        )
        reports = await asyncio.gather(
            *(call.run(caller.talk) for call, caller in zip(calls, callers, strict=True))
        )
    timeline.flush()
    heard = await asyncio.gather(*(asyncio.to_thread(server.seconds_heard) for server in servers))
    transport, serializer = (
        judge(*one) for one in zip(calls, callers, reports, heard, strict=True)
    )
    print_table(transport, serializer)
    calls[0].save_recording(recording)
    console.print(
        f"{recording} has the call to bot.py: the caller on the left channel, and the bot as the "
        "caller heard it on the right channel.",
        soft_wrap=True,
    )
    command = Path(sys.executable).with_name("pipecat-genesys")
    if command.is_relative_to(Path.cwd()):
        command = command.relative_to(Path.cwd())
    console.print("To see and play the call in the browser:")
    console.print(f"  {command} inspect {capture_path} --open", soft_wrap=True, highlight=False)
    return all(row.ok for row in transport + serializer)


def main() -> int:
    """Run the demo.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--wav", type=Path, default=Path("call.wav"), help="write the recording to this file"
    )
    parser.add_argument(
        "--log", type=Path, default=Path("call.log"), help="write the log of bot.py to this file"
    )
    arguments = parser.parse_args()
    log: Path = arguments.log
    other_log = log.with_stem(f"{log.stem}-serializer")
    console.print("Starting bot.py and serializer_bot.py. Importing pipecat takes some seconds ...")
    with (
        running("bot.py", log) as bot,
        running("serializer_bot.py", other_log) as serializer_bot,
    ):
        passed = asyncio.run(demo(bot, serializer_bot, arguments.wav))
    if not passed:
        console.print(f"[red]A value is outside its limit.[/red] Logs: {log}, {other_log}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
