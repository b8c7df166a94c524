"""Check the newest wheel and the newest sdist in a folder before they are published.

The contents are compared with the repository. Then each distribution is installed in a clean
environment and used from a temporary folder.
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
    "rust/recorder/Cargo.toml",
    "rust/recorder/src/lib.rs",
}
"""Files that an sdist must contain besides the Python package."""

log = logging.getLogger("check_dist")


class BadDistributionError(Exception):
    """A distribution failed a check; the message names the check."""


def require(condition: bool, check: str) -> None:
    """Log a check that passed, or raise `BadDistributionError`."""
    if not condition:
        raise BadDistributionError(check)
    log.info("  ok: %s", check)


def require_same(found: set[str], expected: set[str], check: str) -> None:
    """Check that two sets of names are equal; the message lists the differences."""
    missing, extra = sorted(expected - found), sorted(found - expected)
    problems = f"; missing: {missing}" * bool(missing) + f"; unexpected: {extra}" * bool(extra)
    require(not problems, check + problems)


def sources() -> set[str]:
    """Return the paths of the package's files as they are in a wheel."""
    return {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".so", ".pyd"}
    }


def project_version() -> str:
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    return str(manifest["workspace"]["package"]["version"])


def check_wheel(wheel: Path, tag: str) -> list[str]:
    """Check the name and the contents of a wheel.

    Returns:
        The requirements of the wheel.
    """
    log.info("%s", wheel.name)
    require(
        wheel.name.startswith(f"pipecat_genesys-{project_version()}-{tag}-"), f"the tag is {tag}"
    )
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        info = f"pipecat_genesys-{project_version()}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    native = {name for name in names if Path(name).suffix in {".so", ".pyd"}}
    require(
        len(native) == 1 and min(native).startswith("pipecat_genesys/_native."),
        f"there is one native module: {sorted(native)}",
    )
    require(f"{info}/licenses/LICENSE" in names, "the licence is included")
    package = {name for name in names - native if not name.startswith(f"{info}/")}
    require_same(package, sources(), "all files of the package are included, and no other files")
    return [str(requirement) for requirement in metadata.get_all("Requires-Dist", [])]


def check_sdist(sdist: Path) -> None:
    """Check the contents of a source distribution."""
    log.info("%s", sdist.name)
    prefix = f"pipecat_genesys-{project_version()}/"
    with tarfile.open(sdist) as archive:
        names = {member.name for member in archive.getmembers() if member.isfile()}
    require(all(name.startswith(prefix) for name in names), f"all files are in {prefix}")
    names = {name.removeprefix(prefix) for name in names}
    missing = sorted((IN_SDIST | {f"python/{name}" for name in sources()}) - names)
    require(not missing, f"the source files are included{f'; missing: {missing}' * bool(missing)}")
    built = sorted(name for name in names if Path(name).suffix in {".so", ".pyd", ".whl", ".pyc"})
    require(not built, f"no build results are included{f': {built}' * bool(built)}")


def use(distribution: Path, light: list[str] | None) -> None:
    """Install a distribution in a clean environment, and run `smoke.py` in it.

    Args:
        distribution: A wheel, or an sdist that pip builds.
        light: Requirements without pipecat, to install instead of the distribution's requirements.
            None installs the distribution's requirements.
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
    """Return the requirements, including the requirements of the extras, without pipecat."""
    return [line.split(";")[0].strip() for line in requirements if "pipecat-ai" not in line]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", type=Path, help="folder with the distributions")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--wheel-only", action="store_true", help="check only the wheel")
    only.add_argument("--sdist-only", action="store_true", help="check only the sdist")
    parser.add_argument(
        "--tag", default="cp311-abi3", help="expected tag of the wheel (default: %(default)s)"
    )
    parser.add_argument(
        "--without-pipecat",
        action="store_true",
        help="install the wheel without pipecat, for platforms without wheels of its dependencies",
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
