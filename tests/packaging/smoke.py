"""Check an installed pipecat-genesys. Run this script with `-I` and the environment's Python."""

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


def require(condition: bool, check: str) -> None:
    """Log a check that passed, or exit with a message that names the failed check."""
    if not condition:
        raise SystemExit(f"FAILED: {check}")
    log.info("  ok: %s", check)


def package(expected_version: str) -> None:
    found = Path(str(files("pipecat_genesys"))).resolve()
    where = Path(sys.prefix).resolve()
    require(found.is_relative_to(where), f"the package is imported from the environment: {found}")
    require((found / "py.typed").is_file(), "py.typed is installed")
    require((found / "_native.pyi").is_file(), "_native.pyi is installed")
    got = version("pipecat-genesys")
    require(got == expected_version, f"version {got} is {expected_version}")


def light_parts() -> None:
    for name in WITHOUT_PIPECAT:
        importlib.import_module(f"pipecat_genesys.{name}")
    loaded = sorted(name for name in sys.modules if name.split(".")[0] == "pipecat")
    require(not loaded, f"{', '.join(WITHOUT_PIPECAT)} import without pipecat {loaded or ''}")


def native_code() -> None:
    audio = importlib.import_module("pipecat_genesys.audio")
    codes = bytes(range(256))
    # 0x7F and 0xFF both mean zero; encoding zero gives 0xFF.
    round_trip = audio.ulaw_encode(audio.ulaw_decode(codes))
    require(round_trip == codes.replace(b"\x7f", b"\xff"), "mu-law round trip of all 256 codes")
    extremes = memoryview(audio.ulaw_decode(b"\x00\x80")).cast("h").tolist()
    require(extremes == [-32124, 32124], "mu-law codes of the extreme values")
    output = audio.Resampler(8000, 48000).process(bytes(320))
    require(output == bytes(6 * 320), "resampling 160 samples of silence gives 960")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        require(not sys._is_gil_enabled(), "the GIL stays disabled")


def pipecat_names() -> None:
    ours = importlib.import_module("pipecat_genesys")
    for name in PIPECAT_NAMES:
        getattr(ours, name)
    base = importlib.import_module("pipecat.serializers.base_serializer").FrameSerializer
    serializer = ours.GenesysAudioHookSerializer()
    require(isinstance(serializer, base), "GenesysAudioHookSerializer() is a pipecat serializer")
    require(
        issubclass(ours.GenesysFrameSerializer, ours.GenesysAudioHookSerializer),
        "GenesysFrameSerializer is a subclass of GenesysAudioHookSerializer",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", help="expected version of the package")
    parser.add_argument(
        "--without-pipecat", action="store_true", help="check an installation without pipecat"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    package(arguments.version)
    light_parts()
    native_code()
    if not arguments.without_pipecat:
        pipecat_names()


if __name__ == "__main__":
    main()
