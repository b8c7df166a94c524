"""Use an installed pipecat-genesys a little. Run with the Python it is installed in, as `-I`."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import sysconfig
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

PIPECAT_NAMES = (
    "AudioHookChannel",
    "AudioHookMediaFormat",
    "AudioHookMessageType",
    "GenesysAudioHookSerializer",
    "GenesysFrameSerializer",
)
WITHOUT_PIPECAT = ("audio", "protocol", "simulator")

log = logging.getLogger("smoke")


def check(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"FAILED: {what}")
    log.info("  ok: %s", what)


def package(expected_version: str) -> None:
    found = Path(str(files("pipecat_genesys"))).resolve()
    where = Path(sys.prefix).resolve()
    check(found.is_relative_to(where), f"imported from the environment: {found}")
    check((found / "py.typed").is_file(), "py.typed is installed")
    check((found / "_native.pyi").is_file(), "_native.pyi is installed")
    got = version("pipecat-genesys")
    check(got == expected_version, f"version {got} is {expected_version}")


def light_parts() -> None:
    for name in WITHOUT_PIPECAT:
        importlib.import_module(f"pipecat_genesys.{name}")
    loaded = sorted(name for name in sys.modules if name.split(".")[0] == "pipecat")
    check(not loaded, f"{', '.join(WITHOUT_PIPECAT)} import without pipecat {loaded or ''}")


def native_code() -> None:
    audio = importlib.import_module("pipecat_genesys.audio")
    codes = bytes(range(256))
    # 0x7F is the second code for zero; encoding gives the first.
    there_and_back = audio.ulaw_encode(audio.ulaw_decode(codes))
    check(there_and_back == codes.replace(b"\x7f", b"\xff"), "mu-law round trip of all 256 codes")
    ends = memoryview(audio.ulaw_decode(b"\x00\x80")).cast("h").tolist()
    check(ends == [-32124, 32124], "mu-law ends of the scale")
    output = audio.Resampler(8000, 48000).process(bytes(320))
    check(output == bytes(6 * 320), "resampling 160 samples of silence gives 960")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        check(not sys._is_gil_enabled(), "the GIL stays off")


def pipecat_names() -> None:
    ours = importlib.import_module("pipecat_genesys")
    for name in PIPECAT_NAMES:
        getattr(ours, name)
    base = importlib.import_module("pipecat.serializers.base_serializer").FrameSerializer
    serializer = ours.GenesysAudioHookSerializer()
    check(isinstance(serializer, base), "GenesysAudioHookSerializer() is a pipecat serializer")
    check(
        issubclass(ours.GenesysFrameSerializer, ours.GenesysAudioHookSerializer),
        "GenesysFrameSerializer is the same under Pipecat's naming rule",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", help="the version that should be installed")
    parser.add_argument("--without-pipecat", action="store_true", help="pipecat is not installed")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    package(arguments.version)
    light_parts()
    native_code()
    if not arguments.without_pipecat:
        pipecat_names()


if __name__ == "__main__":
    main()
