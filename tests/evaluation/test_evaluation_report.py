"""The report page and the figures: self-contained, escaped, the same figures as metrics.json."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from simulated_runs import predictions, run_folder

from slstt.errors import DataError
from slstt.evaluation.compare import compare
from slstt.evaluation.metrics import summary
from slstt.evaluation.predictions import Predictions, write_predictions
from slstt.evaluation.report import calibration, confident_mistakes, confusion_figure, subjects_figure, write_report
from slstt.evaluation.run import evaluate, read_run
from slstt.flow.flow_files import flow_path, write_flow
from slstt.pages import figure_style


class Page(HTMLParser):
    """Collects tags, what they refer to, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def report(folder: Path, *, other: Path | None = None, formats: tuple[str, ...] = ()) -> Page:
    """The page of a run; its figures as files only in the `formats` asked for."""
    run = read_run(folder)
    metrics = evaluate(run)
    comparison = compare(run.seeds, read_run(other).seeds, (run.name, "other")) if other else None
    return Page(write_report(run, metrics, comparison, formats))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page]:
    """A run of two data sets, compared with another, and its page."""
    folder = tmp_path_factory.mktemp("compared")
    run_folder(folder / "mine", predictions(datasets=("casme2", "samm"), subjects=4))
    run_folder(folder / "other", predictions(datasets=("casme2", "samm"), subjects=4, seed=3))
    return folder / "mine", report(folder / "mine", other=folder / "other", formats=("png", "pdf"))


def test_the_page_needs_no_other_file_and_no_script(compared: tuple[Path, Page]) -> None:
    _, page = compared
    assert page.links and all(link.startswith("data:image/") for link in page.links)
    assert "script" not in page.tags and "link" not in page.tags
    assert "http://" not in page.text and "https://" not in page.text


def test_the_page_tells_everything_about_the_run(compared: tuple[Path, Page]) -> None:
    folder, page = compared
    metrics = evaluate(read_run(folder))
    for score in ("uf1", "uar", "accuracy"):
        assert f"{metrics['full'][score]:.3f}" in page.text
        assert f"{metrics['full']['ci'][score][0]:.3f}" in page.text
    for expected in (
        "epoch chosen by: last",
        "each fold's best epoch on its test subject (INVALID)",
        "mine minus other",
        "no face found in the apex frame",
        "apex missing; spotted at frame 87",
        "data.encoding",
        "uv_strain",
        "2.6.0",
        "not the clips of MEGC2019 composite",
    ):
        assert expected in page.text


def test_every_figure_is_there_as_png_and_pdf(compared: tuple[Path, Page]) -> None:
    files = list((compared[0] / "figures").iterdir())
    names = {"confusion", "confusion_casme2", "confusion_samm", "subjects", "calibration", "learning"}
    assert {path.name for path in files} == {f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")}
    for path in files:
        start = path.read_bytes()[:8]
        assert start == b"\x89PNG\r\n\x1a\n" if path.suffix == ".png" else start.startswith(b"%PDF-")


def test_a_partial_run_says_so_first(tmp_path: Path) -> None:
    page = report(run_folder(tmp_path, predictions(subjects=4), missing=("sub02",)))
    assert "PARTIAL: 1 of 4 folds missing" in page.text and "casme2/sub02" in page.text


NASTY_IDS = (
    "<script>alert(1)",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "$^_{",
    "名前 🙂",
    "&lt;b&gt;",
)
NASTY_CLASSES = ("<script>alert(1)</script>", "{{ 7 * 7 }}{% include 'x' %}", "a\x1b[31m$\\frac{")


def test_names_stay_text_whatever_they_hold(tmp_path: Path) -> None:
    found = predictions(subjects=6, classes=NASTY_CLASSES)
    ids = NASTY_IDS
    keys = tuple((ids[i % 6], ids[(i + 1) % 6] + str(i // 20), ids[(i + 2) % 6] + str(i)) for i in range(len(found)))
    write_predictions(
        tmp_path / "predictions.csv",
        Predictions(found.classes, keys, found.true, found.predicted, found.probabilities),
    )
    (tmp_path / "failures.csv").write_text('dataset,subject,clip,reason\na,b,<script>x</script>,"<b>y</b>"\n')
    (tmp_path / "config.resolved.yaml").write_text("data: {root: '<script>z</script>'}\nselection: {method: '<i>'}\n")
    page = report(tmp_path)
    assert "script" not in page.tags and "i" not in page.tags and not any(link == "x" for link in page.links)
    assert "<script>alert(1)</script>" in page.text and "{{ 7 * 7 }}" in page.text and "49{" not in page.text
    assert all(name in page.text for name in NASTY_IDS)
    assert "<script>x</script>" in page.text and "<script>z</script>" in page.text
    assert "\x1b" not in page.text and "\\x1b" in page.text


def test_confident_mistakes_are_wrong_and_in_order() -> None:
    found = predictions()
    run = read_run_of(found)
    mistakes = confident_mistakes(run, limit=5)
    wrong = [i for i in range(len(found)) if found.true[i] != found.predicted[i]]
    highest = sorted((found.probabilities[i].max() for i in wrong), reverse=True)[:5]
    assert [m.probability for m in mistakes] == pytest.approx(highest)
    assert all(m.true != m.predicted and m.picture is None for m in mistakes)


def read_run_of(found: Predictions):
    from slstt.evaluation.run import EvaluatedRun

    return EvaluatedRun(Path("nowhere"), seeds={"run": found})


def test_mistakes_show_the_flow_where_the_cache_is_at_hand(tmp_path: Path) -> None:
    found = predictions(subjects=4)
    cache = tmp_path / "cache"
    wrong = next(i for i in range(len(found)) if found.true[i] != found.predicted[i])
    write_flow(flow_path(cache, found.keys[wrong]), np.full((3, 2, 32, 32), 0.5, dtype=np.float32), "x")
    folder = run_folder(tmp_path / "run", found)
    (folder / "config.resolved.yaml").write_text(f"data: {{kind: cache, root: '{cache}'}}\n")
    mistakes = confident_mistakes(read_run(folder), limit=100)
    pictured = [m for m in mistakes if m.picture]
    assert [m.clip for m in pictured] == ["/".join(found.keys[wrong])]
    assert pictured[0].picture is not None and pictured[0].picture.startswith("data:image/png;base64,")
    flow_path(cache, found.keys[wrong]).write_bytes(b"damaged")
    assert not any(m.picture for m in confident_mistakes(read_run(folder), limit=100))


def test_mistakes_show_real_flow_maps(shared_data: Path, tmp_path: Path) -> None:
    from slstt.datasets import flow_maps

    maps = flow_maps.read(shared_data / "megc2019_flow")
    rows = range(0, 309, 60)
    keys = tuple(maps.keys[i] for i in rows)
    said = np.tile([0.1, 0.1, 0.8], (len(keys), 1))
    write_predictions(
        tmp_path / "predictions.csv",
        Predictions(flow_maps.CLASSES, keys, ("negative",) * len(keys), ("surprise",) * len(keys), said),
    )
    root = shared_data / "megc2019_flow"
    (tmp_path / "config.resolved.yaml").write_text(f"data: {{kind: flow_maps, root: '{root}'}}\n")
    page = report(tmp_path)
    assert sum(link.startswith("data:image/png") for link in page.links) == len(keys)


def test_a_damaged_history_is_named(tmp_path: Path) -> None:
    run_folder(tmp_path, predictions(subjects=2))
    (tmp_path / "folds" / "casme2-sub01" / "history.csv").write_text("epoch,train_loss\n1,lots\n")
    with pytest.raises(DataError, match=r"casme2-sub01/history.csv: holds a cell that is not a number"):
        report(tmp_path)


def test_calibration_counts_every_clip_once_and_equals_its_definition() -> None:
    found = predictions(subjects=20)
    curve = calibration(found)
    assert curve.counts.sum() == len(found)
    said = found.probabilities.max(1)
    right = np.array(found.true) == np.array(found.predicted)
    error = 0.0
    for low in np.arange(10) / 10:
        inside = (said > low) & (said <= low + 0.1)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - said[inside].mean())
    assert curve.error == pytest.approx(error)
    filled = curve.counts > 0
    assert (curve.low[filled] <= curve.accuracy[filled]).all() and (curve.accuracy[filled] <= curve.high[filled]).all()


def test_certain_predictions_fall_into_the_last_bin() -> None:
    found = predictions(subjects=2)
    sure = Predictions(
        found.classes, found.keys, found.true, (found.classes[0],) * len(found), np.tile([1.0, 0, 0], (len(found), 1))
    )
    assert calibration(sure).counts.tolist() == [0] * 9 + [len(found)]


def test_the_confusion_figure_says_which_axis_is_true_and_shows_counts_and_rates() -> None:
    matrix = np.array([[8, 2], [0, 0]])
    with figure_style():
        figure = confusion_figure(matrix, ("a", "b"))
    axes = figure.axes[0]
    assert axes.get_ylabel() == "true class" and axes.get_xlabel() == "predicted class"
    shown = [text.get_text() for text in axes.texts]
    assert shown == ["8", "80%", "2", "20%", "0", "-", "0", "-"]


def test_subject_bars_hold_every_clip() -> None:
    found = predictions(datasets=("casme2", "smic"), subjects=5)
    figure = subjects_figure(summary(found)["per_subject"])
    heights = [patch.get_height() for axes in figure.axes for bars in axes.containers for patch in bars]
    assert sum(heights) == len(found)
    assert all(axes.get_ylim()[1] > 0 for axes in figure.axes)


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    found = predictions(subjects=2)
    write_predictions(tmp_path / "predictions.csv", found)
    run = read_run(tmp_path)
    first = write_report(run, evaluate(run), formats=()).read_text()
    assert write_report(run, evaluate(run), formats=()).read_text() == first


def test_many_classes_and_one_clip_still_make_a_page(tmp_path: Path) -> None:
    classes = tuple(f"class{i}" for i in range(15))
    one = Predictions(classes, (("d", "s", "c"),), ("class3",), ("class4",), np.full((1, 15), 1 / 15))
    write_predictions(tmp_path / "predictions.csv", one)
    page = report(tmp_path)
    assert "no interval from one subject" in page.text and re.search(r"class 'class0' is absent", page.text)
