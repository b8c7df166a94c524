"""Tests of the environment variable that selects the instruction set, in separate processes.

The Rust tests compare the kernels at every length. These tests compare the output of whole
streams.
"""

import hashlib
import os
import platform
import subprocess
import sys

import pytest
from pipecat_genesys.audio import instruction_set

VARIABLE = "PIPECAT_GENESYS_SIMD"
BASELINE = {"x86_64": "sse2", "AMD64": "sse2", "aarch64": "neon", "arm64": "neon"}

CALLS = """
import hashlib, numpy as np
from pipecat_genesys.audio import InboundAudio, OutboundAudio, Resampler, instruction_set
rng = np.random.default_rng(11)
digest = hashlib.sha256()
for rate in (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000):
    for format in ("PCMU", "L16"):
        inbound, outbound = InboundAudio(format, 2, rate), OutboundAudio(format, rate)
        for length in (160, 1600, 2, 334, 5000):
            for channel in inbound.process(rng.bytes(4 * length)):
                digest.update(channel)
                digest.update(outbound.process(channel))
        digest.update(b"".join(inbound.flush()) + outbound.flush())
print(instruction_set(), digest.hexdigest())
"""


def run(name: str | None, code: str = CALLS) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
    if name is not None:
        environment[VARIABLE] = name
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def available() -> list[str]:
    """Return the names that the error for an unknown name lists; the fastest is first."""
    message = run("none-such").stderr.strip().splitlines()[-1]
    return message.rpartition("use one of ")[2].partition(", or unset")[0].split(", ")


def test_all_instruction_sets_give_the_same_bytes():
    names = available()
    outcomes = [run(name).stdout.split() for name in [None, "", *names]]
    assert [name for name, _ in outcomes] == [names[0], names[0], *names]
    assert len({digest for _, digest in outcomes}) == 1
    assert hashlib.sha256().hexdigest() not in outcomes[0]


def test_the_portable_and_the_baseline_kernels_are_always_available():
    names = available()
    assert names[-1] == "portable"
    assert BASELINE.get(platform.machine(), "portable") in names
    assert instruction_set() in names


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_selects_the_default(name):
    assert run(name).stdout == run(None).stdout


@pytest.mark.parametrize("name", ["AVX2", "none-such"])
def test_importing_the_module_fails_if_the_name_is_unknown(name):
    process = run(name, "import pipecat_genesys.audio")
    assert process.returncode == 1
    last = process.stderr.strip().splitlines()[-1]
    assert f'{VARIABLE}="{name}"' in last
    assert "unset the variable" in last
