"""Build wheel and sdist, check them, and run slstt-demo and slstt-predict from the wheel in fresh environments outside
the checkout, with the newest and with the lowest dependencies that pyproject.toml allows. Needs the packages build,
twine and uv.

    python scripts/release_check.py --dist dist
    python scripts/release_check.py --dist dist --resolutions lowest-direct --tests tests/evaluation tests/flow
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
RESOLUTIONS = ("highest", "lowest-direct")
"""Names of uv: the newest of everything; the lowest of what pyproject.toml names, the newest of what that asks for."""
TEST_PACKAGES = ("pytest>=8.3", "pytest-xdist>=3.6", "beartype>=0.19", "hypothesis>=6.110", "xlwt>=1.3")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dist", type=Path, default=Path("dist"), help="folder for wheel and sdist; emptied first")
    parser.add_argument("--resolutions", nargs="*", choices=RESOLUTIONS, default=RESOLUTIONS)
    parser.add_argument("--python", default=sys.executable, help="of the fresh environments")
    parser.add_argument("--tests", nargs="*", default=[], metavar="PATH", help="quick tests to run there besides")
    arguments = parser.parse_args()
    wheel = build(arguments.dist)
    for resolution in arguments.resolutions:
        try_wheel(wheel, resolution, arguments.python, arguments.tests)
    print("all done")
    return 0


def build(dist: Path) -> Path:
    """The wheel, built out of the sdist as an index would have it; both checked."""
    for old in (*dist.glob("slstt-*.whl"), *dist.glob("slstt-*.tar.gz")):
        old.unlink()
    run([sys.executable, "-m", "build", "--outdir", str(dist), str(PROJECT)], quiet=True)
    (wheel,), (sdist,) = dist.glob("slstt-*.whl"), dist.glob("slstt-*.tar.gz")
    run([sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)])
    for made in (wheel, sdist):
        print(f"{made}: {made.stat().st_size / 1e6:.1f} MB")
    return wheel.resolve()


def try_wheel(wheel: Path, resolution: str, python: str, tests: Sequence[str]) -> None:
    """Install the wheel as `resolution` says and run slstt-doctor, -demo and -predict there, and the tests named."""
    with tempfile.TemporaryDirectory(prefix=f"slstt-{resolution}-") as name:
        folder, started = Path(name), time.monotonic()
        # Only what the system has on its PATH, so that nothing of the checkout or of another environment is found.
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        uv = [sys.executable, "-m", "uv"]
        run([*uv, "venv", "--quiet", "--python", python, str(folder / "env")], folder, environment)
        install = [*uv, "pip", "install", "--quiet", "--python", str(folder / "env" / "bin" / "python")]
        # lowest-direct is about what is named on the command line: what pyproject.toml names, not the wheel.
        run([*install, "--resolution", resolution, "-r", str(PROJECT / "pyproject.toml")], folder, environment)
        run([*install, "--no-deps", str(wheel)], folder, environment)
        print(f"{resolution}: installed in {time.monotonic() - started:.0f} s")
        binaries = folder / "env" / "bin"
        said = run([str(binaries / "slstt-doctor"), "--json"], folder, environment, quiet=True)
        facts = json.loads(said)
        assert str(folder.resolve()) in str(Path(facts["slstt"]["folder"]).resolve()), "slstt is not that of the wheel"
        print(", ".join(f"{one['name']} {one['version']}" for one in facts["packages"]))
        run([str(binaries / "slstt-demo"), "--quiet", "--out", str(folder / "demo")], folder, environment)
        clip = next((folder / "demo" / "raw").rglob("*.jpg")).parent  # a folder of frames
        predict = [str(binaries / "slstt-predict"), str(clip), "--fps", "200", "--video", "--quiet"]
        run([*predict, "--out", str(folder / "predicted")], folder, environment)
        if tests:
            run([*install, *TEST_PACKAGES], folder, environment)
            for part in ("tests", "scripts", "benchmarks", "configs", "docs", "pyproject.toml", "CONTRIBUTING.md"):
                source = PROJECT / part
                if source.is_dir():
                    shutil.copytree(source, folder / part)
                else:
                    shutil.copy2(source, folder / part)
            marked = ["-m", "not slow and not cluster"]
            run([str(binaries / "python"), "-m", "pytest", "-q", *marked, *tests], folder, environment)
        print(f"{resolution}: passed, {time.monotonic() - started:.0f} s in all", flush=True)


def run(
    command: Sequence[str], folder: Path | None = None, environment: dict[str, str] | None = None, quiet: bool = False
) -> str:
    """Run a command, say what it is, end this program where it fails; returns what it printed where it is `quiet`."""
    print(f"$ {' '.join(command)}", flush=True)
    done = subprocess.run(
        command, cwd=folder, env=environment, check=False, text=True, stdout=subprocess.PIPE if quiet else None
    )
    if done.returncode != 0:
        sys.exit(f"exit code {done.returncode}: {' '.join(command)}\n{done.stdout or ''}")
    return done.stdout or ""


if __name__ == "__main__":
    sys.exit(main())
