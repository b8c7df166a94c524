"""The commands that the examples and the guide of the simulator show, run as they are written."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from loopback import serving

pytest.importorskip("pipecat.pipeline.worker", reason="the examples need pipecat 1.3 or newer")
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
COMMAND = re.compile(r"pipecat-genesys call (?P<url>ws://\S+)(?P<steps>(?: +\\\n| +[^\s\\]+)+)")
SECRET = "YW4gb3JkaW5hcnkgY2xpZW50IHNlY3JldA=="


def steps_of(text: str) -> list[str]:
    """The arguments of the first `pipecat-genesys call` in a text, without the URL."""
    command = COMMAND.search(text)
    assert command is not None
    return command["steps"].replace("\\\n", " ").split()


def app_of(example: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("GENESYS_API_KEY", "a-key")
    monkeypatch.setenv("GENESYS_CLIENT_SECRET", SECRET)
    spec = importlib.util.spec_from_file_location(f"example_{example.stem}", example)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


@pytest.mark.parametrize(
    ("example", "page"),
    [
        ("bot.py", "examples/bot.py"),
        ("bot.py", "docs/simulator.md"),
        ("serializer_bot.py", "examples/serializer_bot.py"),
        ("endpoint_bot.py", "examples/endpoint_bot.py"),
        ("monitor.py", "examples/monitor.py"),
    ],
)
async def test_command_shown_for_an_example_makes_a_clean_call_in_which_it_answers(
    example: str, page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    _, _, console = text.partition("```console")
    steps = steps_of(console or text)
    async with serving(app_of(EXAMPLES / example, monkeypatch), lifespan="on") as url:
        program = "from pipecat_genesys.cli import main; main()"
        files = [
            str(tmp_path / step) if step in ("call.jsonl", "call.wav") else step for step in steps
        ]
        call = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, "call", url, *files),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await call.communicate())[0].decode()
    assert call.returncode == 0, output
    answers = "event transcript" if example == "monitor.py" else " <-  audio "
    # The bots greet the caller, and answer what the caller does.
    assert output.count(answers) >= 2, output


def test_every_example_is_called() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")} - {"demo.py"}
    assert names == {"bot.py", "serializer_bot.py", "endpoint_bot.py", "monitor.py"}
