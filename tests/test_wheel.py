"""What is installed from a wheel: weights, page templates and configs come along and are found."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
LOADS = """
from pathlib import Path
import slstt
from slstt.config.load import find_config
from slstt.prediction.classify import find_classifier

frames_of = {"synthetic": 1, "synthetic_displaced": 1, "synthetic_clip": 11, "synthetic_recording": 1, "default": 1}
for name, frames in frames_of.items():
    found = find_classifier(name)
    found.load()
    assert found.wanted.frames == frames
    assert Path(slstt.__file__).parent in found.paths[0].parents
assert Path(slstt.__file__).parent in find_config(Path("configs/pretrain/clip.yaml")).parents
print(slstt.__file__)
"""


@pytest.mark.slow
def test_a_wheel_holds_weights_templates_and_configs_and_loads_them(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(PROJECT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("slstt-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    tracked = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "slstt").rglob("*") if path.is_file()}
    wanted = {name for name in tracked if name.endswith((".safetensors", ".html", ".yaml", ".json", ".py"))}
    assert wanted - held == set()
    configs = {f"slstt/configs/{path.relative_to(PROJECT / 'configs')}" for path in PROJECT.glob("configs/**/*.yaml")}
    assert configs and configs - held == set()
    ran = subprocess.run(
        [sys.executable, "-c", LOADS], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().startswith(str(tmp_path / "site"))
