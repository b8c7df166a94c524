"""Check what is about to be published: the newest wheel and sdist in a folder.

The contents are compared with the repository, then each is installed in a clean environment and
used from a temporary folder.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

from environments import ROOT, Environment, newest

PACKAGE = ROOT / "python" / "pipecat_genesys"
SMOKE = Path(__file__).with_name("smoke.py")
IN_SDIST = {
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "PKG-INFO",
    "README.md",
    "pyproject.toml",
    "rust/core/Cargo.toml",
    "rust/core/src/lib.rs",
    "rust/python/Cargo.toml",
    "rust/python/src/lib.rs",
}
"""What an sdist needs besides the Python package."""

log = logging.getLogger("check_dist")


class BadDistributionError(Exception):
    """Something is wrong with a distribution; the message says what."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise BadDistributionError(what)
    log.info("  ok: %s", what)


def same(found: set[str], wanted: set[str], what: str) -> None:
    missing, extra = sorted(wanted - found), sorted(found - wanted)
    problems = f"; missing: {missing}" * bool(missing) + f"; unexpected: {extra}" * bool(extra)
    require(not problems, what + problems)


def sources() -> set[str]:
    """Paths of the package's own files, as they are named in a wheel."""
    return {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.suffix in {".py", ".pyi"} or path.name == "py.typed"
    }


def project_version() -> str:
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    return str(manifest["workspace"]["package"]["version"])


def check_wheel(wheel: Path, tag: str) -> list[str]:
    """Check name and contents of a wheel.

    Returns:
        What it requires.
    """
    log.info("%s", wheel.name)
    require(wheel.name.startswith(f"pipecat_genesys-{project_version()}-{tag}-"), f"tag is {tag}")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        info = f"pipecat_genesys-{project_version()}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    native = {name for name in names if Path(name).suffix in {".so", ".pyd"}}
    require(
        len(native) == 1 and min(native).startswith("pipecat_genesys/_native."),
        f"one native module: {sorted(native)}",
    )
    require(f"{info}/licenses/LICENSE" in names, "has the licence")
    package = {name for name in names - native if not name.startswith(f"{info}/")}
    same(package, sources(), "has every module, the stub and py.typed, and no tests")
    return [str(requirement) for requirement in metadata.get_all("Requires-Dist", [])]


def check_sdist(sdist: Path) -> None:
    """Check the contents of a source distribution."""
    log.info("%s", sdist.name)
    prefix = f"pipecat_genesys-{project_version()}/"
    with tarfile.open(sdist) as archive:
        names = {member.name for member in archive.getmembers() if member.isfile()}
    require(all(name.startswith(prefix) for name in names), f"everything is in {prefix}")
    names = {name.removeprefix(prefix) for name in names}
    missing = sorted((IN_SDIST | {f"python/{name}" for name in sources()}) - names)
    require(not missing, f"has what a build needs{f'; missing: {missing}' * bool(missing)}")
    built = sorted(name for name in names if Path(name).suffix in {".so", ".pyd", ".whl", ".pyc"})
    require(not built, f"has nothing built{f': {built}' * bool(built)}")


def use(distribution: Path, light: list[str] | None) -> None:
    """Install a distribution in a clean environment and use it.

    Args:
        distribution: A wheel, or an sdist that pip is to build.
        light: Requirements to install in place of the distribution's own, which include pipecat.
    """
    with tempfile.TemporaryDirectory(prefix="pipecat-genesys-") as folder:
        environment = Environment(Path(folder, "env"))
        if light is None:
            environment.install(str(distribution))
        else:
            environment.install("--no-deps", str(distribution))
            environment.install(*light)
        options = [] if light is None else ["--without-pipecat"]
        elsewhere = Path(folder, "elsewhere")
        elsewhere.mkdir()
        environment.run("-I", str(SMOKE), project_version(), *options, cwd=elsewhere)


def without_pipecat(requirements: list[str]) -> list[str]:
    """Requirements of the parts that do not need pipecat, the simulator's extra included."""
    return [line.split(";")[0].strip() for line in requirements if "pipecat-ai" not in line]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", type=Path, help="the folder with the distributions")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--wheel-only", action="store_true", help="leave out the sdist")
    only.add_argument("--sdist-only", action="store_true", help="leave out the wheel")
    parser.add_argument("--tag", default="cp311-abi3", help="the wheel's tag (%(default)s)")
    parser.add_argument(
        "--without-pipecat",
        action="store_true",
        help="install the wheel without pipecat, where pipecat itself cannot be installed",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        if not arguments.sdist_only:
            wheel = newest(arguments.dist, "*.whl")
            requirements = check_wheel(wheel, arguments.tag)
            light = without_pipecat(requirements) if arguments.without_pipecat else None
            use(wheel, light)
        if not arguments.wheel_only:
            sdist = newest(arguments.dist, "*.tar.gz")
            check_sdist(sdist)
            use(sdist, None)
    except (BadDistributionError, FileNotFoundError, subprocess.CalledProcessError) as error:
        log.error("FAILED: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
