from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slstt.datasets.clips import FIRST_INDEX_COLUMNS, INDEX_COLUMNS, KINDS, Clip, id_problem, read_index, write_index
from slstt.errors import DataError
from slstt.files import write_csv

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
IDS = TEXT.filter(lambda text: id_problem(text) is None)
CLIPS = st.builds(
    Clip,
    st.sampled_from(["casme2", "samm", "smic"]),
    IDS,
    IDS,
    TEXT,
    st.integers(0, 10**8),
    st.none() | st.integers(0, 10**8),
    st.integers(0, 10**8),
    st.builds(lambda name: Path("/data") / name, st.text("abc,'\" é中", min_size=1, max_size=8)),
    action_units=st.text("0123456789+LR?,ABCDE", max_size=8),
    kind=st.sampled_from(KINDS),
    video=st.just("") | TEXT,
    fps=st.none() | st.sampled_from([30.0, 59.94, 200.0]),
)


@given(st.lists(CLIPS, unique_by=lambda clip: tuple(part.casefold() for part in clip.key), max_size=6))
def test_clips_come_back_sorted_and_whole(tmp_path_factory, clips):
    path = tmp_path_factory.mktemp("index") / "index.csv"
    write_index(path, clips)
    assert read_index(path) == sorted(clips, key=lambda clip: clip.key)


def test_ids_keep_their_zeros_and_an_unknown_apex_stays_unknown(tmp_path):
    clip = Clip("samm", "006", "006_1_2", "anger", 5562, None, 5632, Path("/x"), {5562: Path("/x/006_05562.jpg")})
    write_index(tmp_path / "index.csv", [clip])
    assert (tmp_path / "index.csv").read_text().splitlines()[1] == "samm,006,006_1_2,anger,5562,,5632,1,/x,,micro,,,"
    assert read_index(tmp_path / "index.csv")[0].apex is None


def test_an_older_index_without_the_later_columns_is_read(tmp_path):
    write_csv(
        tmp_path / "index.csv", FIRST_INDEX_COLUMNS, [("casme2", "sub01", "EP01_01", "others", 1, 2, 3, 10, "/x")]
    )
    (clip,) = read_index(tmp_path / "index.csv")
    assert (clip.action_units, clip.kind, clip.video, clip.fps) == ("", "micro", "", None)


@pytest.mark.parametrize("later", [("4", "mega", "", ""), ("4", "micro", "", "many"), ("4", "micro", "", "0")])
def test_a_row_of_unknown_kind_or_frame_rate_is_named(tmp_path, later):
    row = ("casme2", "sub01", "EP01_01", "others", 1, 2, 3, 10, "/x", *later, "")
    write_csv(tmp_path / "index.csv", INDEX_COLUMNS, [row])
    with pytest.raises(DataError, match=r"line 2 \(casme2 sub01 EP01_01\): kind is one of micro, macro"):
        read_index(tmp_path / "index.csv")


def test_all_malformed_rows_are_named(tmp_path):
    good = ("casme2", "sub01", "EP01_01", "others", 1, 2, 3, 10, "/x")
    rows = [
        good,
        good,
        ("casme2", "sub01", "EP01_02", "others", "one", 2, 3, 10, "/x"),
        ("casme2", "", "EP01_03", "others", 1, 2, 3, 10, "/x"),
    ]
    write_csv(tmp_path / "index.csv", FIRST_INDEX_COLUMNS, rows)
    with pytest.raises(DataError) as caught:
        read_index(tmp_path / "index.csv")
    twice, number, missing = caught.value.problems
    assert "line 3" in twice and "listed twice" in twice
    assert "line 4" in number and "EP01_02" in number
    assert "line 5" in missing and "subject: an id is empty" in missing


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("../../../../x/escaped", "path separator"),
        ("/tmp/escaped", "path separator"),
        ("a\\b", "path separator"),
        ("..", "begins with a dot"),
        (".hidden", "begins with a dot"),
        ("", "empty"),
        (" ", "empty"),
        ("sub\x0001", "control character"),
        ("sub01\x1b[31m", "control character"),
        ("x" * 101, "101 characters long"),
        ("é" * 51, "102 characters long"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_id_that_could_leave_its_folder_is_refused_with_its_line(tmp_path, text, complaint, place):
    row = ["casme2", "sub01", "EP01_01", "others", 1, 2, 3, 10, "/x"]
    row[place] = text
    write_csv(tmp_path / "index.csv", FIRST_INDEX_COLUMNS, [row])
    with pytest.raises(DataError) as caught:
        read_index(tmp_path / "index.csv")
    (problem,) = caught.value.problems
    assert complaint in problem and "index.csv: line 2" in problem and "correct it" in problem
    assert problem.isprintable()


def test_an_id_of_a_hundred_bytes_is_one():
    assert id_problem("x" * 100) is None and id_problem("sub 01, left (2)") is None


def test_a_clip_listed_twice_in_other_capitals_is_one_clip(tmp_path):
    rows = [("casme2", "sub01", name, "others", 1, 2, 3, 10, "/x") for name in ("EP01_01f", "EP01_01F")]
    write_csv(tmp_path / "index.csv", FIRST_INDEX_COLUMNS, rows)
    with pytest.raises(DataError, match="EP01_01f and casme2 sub01 EP01_01F differ in capitals only"):
        read_index(tmp_path / "index.csv")


def test_a_quote_that_swallows_rows_is_named(tmp_path):
    lines = [",".join(FIRST_INDEX_COLUMNS)]
    lines += [f"casme2,sub01,EP01_0{n},others,1,2,3,10,/x" for n in range(1, 9)]
    lines[2] = 'casme2,sub01,EP01_02,others,1,2,3,10,"/x'
    lines[5] += '"'
    (tmp_path / "index.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"index\.csv: line 3: a cell runs over several lines"):
        read_index(tmp_path / "index.csv")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00" * 50, b'"', b"[[[[", "dataset\n".encode("utf-16")])
def test_an_index_that_is_none_is_one_line(tmp_path, content):
    (tmp_path / "index.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"index\.csv"):
        read_index(tmp_path / "index.csv")
    with pytest.raises(DataError, match="unreadable"):
        read_index(tmp_path / ("x" * 300))
    with pytest.raises(DataError, match="unreadable"):
        read_index(tmp_path / "a\0b")
