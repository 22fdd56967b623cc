import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_runs import predictions

from slstt.datasets.clips import id_problem
from slstt.errors import DataError
from slstt.evaluation.predictions import Predictions, pool, read_predictions, write_predictions

HEADER = "dataset,subject,clip,true_label,predicted_label,p_neg,p_pos\n"
GOOD = "casme2,sub01,EP01,neg,pos,0.4,0.6\n"

names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n\0"), min_size=1, max_size=12)
ids = names.filter(lambda text: id_problem(text) is None)


def refused(folder: Path, text: str | bytes) -> str:
    path = folder / "predictions.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataError) as caught:
        read_predictions(path)
    return str(caught.value)


@given(
    st.lists(
        st.tuples(ids, ids, ids),
        min_size=1,
        max_size=5,
        unique_by=lambda key: tuple(part.casefold() for part in key),
    ),
    st.lists(names, min_size=2, max_size=4, unique=True),
)
def test_whatever_the_names_what_was_written_is_read_back(keys: list[tuple[str, str, str]], classes: list[str]) -> None:
    scores = np.random.default_rng(0).dirichlet(np.ones(len(classes)), len(keys))
    labels = tuple(classes[i % len(classes)] for i in range(len(keys)))
    written = Predictions(tuple(classes), tuple(keys), labels, labels[::-1], scores)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.csv"
        write_predictions(path, written)
        read = read_predictions(path)
    assert (read.classes, read.keys, read.true, read.predicted) == (written.classes, written.keys, labels, labels[::-1])
    np.testing.assert_allclose(read.probabilities, scores, rtol=1e-8)


def test_ids_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(HEADER + "samm,006,006_1_2,neg,neg,1,0\n")
    assert read_predictions(path).keys == (("samm", "006", "006_1_2"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (HEADER, "holds no predictions"),
        ("dataset,subject\na,b\n", "column 'clip' is missing"),
        ("dataset,subject,clip,true_label,predicted_label\na,b,c,d,e\n", "probability column"),
        (HEADER + "casme2,sub01,EP01,neg\n", "line 2 has 4 cells"),
        (HEADER + GOOD + GOOD, "casme2/sub01/EP01 stands 2 times"),
        (HEADER + GOOD.replace("neg,pos", "fear,pos"), "true_label 'fear' is not one of the classes"),
        (HEADER + GOOD.replace("neg,pos", "neg,"), "predicted_label '' is not one"),
        (HEADER + GOOD.replace("0.6", "0.7"), "probabilities sum to 1.1, not to one"),
        (HEADER + GOOD.replace("0.6", "much"), "not a number"),
        (HEADER + GOOD.replace("0.4,0.6", "nan,1"), "outside 0..1"),
        (HEADER + GOOD.replace("0.4,0.6", "-0.5,1.5"), "outside 0..1"),
        (HEADER + GOOD.replace("sub01", ""), "row 1: subject: an id is empty"),
        (HEADER + GOOD.replace("sub01", "../../x"), "row 1: subject: '../../x' holds a path separator"),
        (HEADER + GOOD.replace("EP01", "E\0P"), "row 1: clip: 'E?P' holds the control character"),
        (HEADER + GOOD.replace("EP01", "E" * 239), "is 239 characters long, at most 100"),
        (HEADER + GOOD + GOOD.replace("EP01", "ep01"), "EP01 and casme2/sub01/ep01 differ in capitals only"),
        (HEADER + GOOD.replace("EP01", '"EP01\nx"'), "line 2: a cell runs over several lines"),
        (HEADER.replace("p_pos", "p_neg") + GOOD, "'p_neg' appears twice"),
        (HEADER + '"casme2,sub01', "unreadable as CSV"),
        (b"\xff\xfe\x00", "unreadable as CSV"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "predictions.csv"),
    ],
)
def test_each_fault_is_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert message in refused(tmp_path, text)


def test_absurd_sizes_are_refused_before_the_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    with path.open("wb") as stream:
        stream.truncate(10**9)  # takes no room on the disk
    with pytest.raises(DataError, match="has 1,000 MB; at most 100 MB are read"):
        read_predictions(path)
    assert "has 10,000,000 rows; at most 200,000" in refused(tmp_path, HEADER + "\n" * 9_999_999 + "x\n")
    assert "has 100,001 columns; at most 50 classes" in refused(tmp_path, "," * 100_000 + "\n")
    subjects = "".join(GOOD.replace("sub01", f"sub{i}") for i in range(6000))
    assert "has 6,000 subjects; at most 5,000" in refused(tmp_path, HEADER + subjects)


def test_a_pipe_in_place_of_the_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "predictions.csv")
    with pytest.raises(DataError, match="a pipe or a device"):
        read_predictions(tmp_path / "predictions.csv")


def test_all_faults_are_told_at_once_but_not_without_end(tmp_path: Path) -> None:
    rows = "".join(f"casme2,sub01,EP{i:03d},fear,pos,0.9,0.6\n" for i in range(200))
    told = refused(tmp_path, HEADER + rows)
    assert "is not one of the classes" in told and "sum to 1.5" in told and "180 more" in told
    assert len(told.splitlines()) < 60


def test_a_missing_file_and_a_folder_of_that_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not found"):
        read_predictions(tmp_path / "predictions.csv")
    (tmp_path / "predictions.csv").mkdir()
    with pytest.raises(DataError, match="unreadable"):
        read_predictions(tmp_path / "predictions.csv")


def test_pooling_sorts_and_keeps_every_row() -> None:
    whole = predictions(subjects=5)
    folds = [whole.select([i for i, k in enumerate(whole.keys) if k[1] == s]) for _, s in reversed(whole.subjects)]
    pooled = pool(folds)
    assert pooled.keys == tuple(sorted(whole.keys)) and len(pooled) == len(whole)
    row = pooled.keys.index(whole.keys[3])
    np.testing.assert_array_equal(pooled.probabilities[row], whole.probabilities[3])


def test_pooling_refuses_doubles_other_classes_and_nothing() -> None:
    one = predictions(subjects=2)
    with pytest.raises(DataError, match="predicted by more than one fold"):
        pool([one, one])
    with pytest.raises(DataError, match="different classes"):
        pool([one, predictions(subjects=2, classes=("x", "y"))])
    with pytest.raises(DataError, match="no predictions to pool"):
        pool([])


def test_columns_that_do_not_belong_together_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        Predictions(("a",), (("d", "s", "c"),), ("a",), (), np.ones((1, 1)))
