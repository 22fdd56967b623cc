"""slstt from Python: the examples of the docstrings, and what they promise beyond them."""

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import slstt
from slstt import api
from slstt.errors import ConfigError, SlsttError
from slstt.evaluation.predictions import Predictions, write_predictions
from slstt.files import read_csv
from slstt.prediction.results import PredictionResult


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, synthetic_release) -> Path:
    """A folder with what the docstrings name: a data set, a recording, a run."""
    from slstt.datasets.synthetic.recordings import draw_recording, write_recording

    folder = tmp_path_factory.mktemp("workplace")
    (folder / "CASME2").symlink_to(synthetic_release("casme2"))
    drawn = draw_recording(1.6, seed=6, size=(320, 240), emotions=["happiness"], grey=True)
    write_recording(folder / "talk.avi", drawn)
    run = folder / "runs" / "mine"
    run.mkdir(parents=True)
    keys = [("smic", f"s{person:02}", f"s{person:02}_ne_{clip:02}") for person in (1, 2, 3) for clip in range(6)]
    true = tuple(("negative", "positive", "surprise")[clip % 3] for _ in (1, 2, 3) for clip in range(6))
    sure = np.array([[label == name for name in ("negative", "positive", "surprise")] for label in true], float)
    predictions = Predictions(("negative", "positive", "surprise"), tuple(keys), true, true, sure)
    write_predictions(run / "predictions.csv", predictions)
    return folder


def test_the_examples(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    failed, tried = doctest.testmod(api)
    assert tried > 10
    assert not failed


def test_importing_slstt_and_reading_a_run_load_neither_torch_nor_cv2(workplace: Path) -> None:
    code = "import sys, slstt; slstt.evaluate('runs/mine'); print({'torch', 'cv2', 'pandas'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=workplace, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_predict_returns_what_it_wrote_and_counts_the_frames(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []

    def predicted() -> PredictionResult:
        return slstt.predict(
            workplace / "talk.avi",
            tmp_path / "out",
            intervals=[(75, 86, 96), (78, None, 94)],
            advance=lambda done, total: counted.append((done, total)),
            quiet=True,
        )

    result = predicted()
    assert result.found[0].seconds == pytest.approx((0.75, 0.86, 0.96))
    assert counted[-1] == (22, 22)
    assert counted == sorted(counted)
    table, written = result.to_pandas(), read_csv(tmp_path / "out" / "predictions.csv", ["onset"])
    for column in written[0]:
        assert [str(value)[:5] for value in table[column]] == [row[column][:5] for row in written]
    assert (tmp_path / "out" / "report.html").is_file()
    before = len(counted)
    assert predicted() == result
    assert len(counted) == before


def test_a_table_without_pandas_names_the_command(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)  # as if it were not installed
    with pytest.raises(ConfigError, match="pip install pandas"):
        slstt.read_run(workplace / "runs" / "mine").predictions.to_pandas()


def test_what_is_wrong_is_said_at_once(workplace: Path, tmp_path: Path) -> None:
    with pytest.raises(SlsttError) as found:
        slstt.predict(tmp_path / "absent.mp4", weights="nowhere", settings=["spotting.treshold=8"])
    assert {"absent.mp4", "nowhere"} <= {
        word.strip(":") for line in found.value.problems for word in line.replace("/", " ").split()
    }
    with pytest.raises(ConfigError, match=r"casme9.*casme2"):
        slstt.read_release("casme9", tmp_path)
    with pytest.raises(ConfigError, match=r"flow\.methd") as found:
        slstt.preprocess("casme2", tmp_path / "absent", tmp_path / "out", settings=["flow.methd=dis"])
    assert any("absent" in line for line in found.value.problems)
    with pytest.raises(ConfigError, match="onset, apex, offset"):
        slstt.predict(workplace / "talk.avi", tmp_path / "out", intervals=[(None, 86, 96)])
    with pytest.raises(ConfigError, match="offset 960 is beyond"):
        slstt.predict(workplace / "talk.avi", tmp_path / "out", intervals=[(75, 86, 960)])
    with pytest.raises(ConfigError, match="2 recordings"):
        for name in ("a.avi", "b.avi"):
            (tmp_path / name).write_bytes((workplace / "talk.avi").read_bytes())
        slstt.predict(tmp_path)
