from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slstt.datasets.clips import INDEX_COLUMNS, Clip, read_index, write_index
from slstt.errors import DataError
from slstt.files import write_csv

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
CLIPS = st.builds(
    Clip,
    st.sampled_from(["casme2", "samm", "smic"]),
    TEXT,
    TEXT,
    TEXT,
    st.integers(0, 10**8),
    st.none() | st.integers(0, 10**8),
    st.integers(0, 10**8),
    st.builds(lambda name: Path("/data") / name, st.text("abc,'\" é中", min_size=1, max_size=8)),
)


@given(st.lists(CLIPS, unique_by=lambda clip: clip.key, max_size=6))
def test_clips_come_back_sorted_and_whole(tmp_path_factory, clips):
    path = tmp_path_factory.mktemp("index") / "index.csv"
    write_index(path, clips)
    assert read_index(path) == sorted(clips, key=lambda clip: clip.key)


def test_ids_keep_their_zeros_and_an_unknown_apex_stays_unknown(tmp_path):
    clip = Clip("samm", "006", "006_1_2", "anger", 5562, None, 5632, Path("/x"), {5562: Path("/x/006_05562.jpg")})
    write_index(tmp_path / "index.csv", [clip])
    assert (tmp_path / "index.csv").read_text().splitlines()[1] == "samm,006,006_1_2,anger,5562,,5632,1,/x"
    assert read_index(tmp_path / "index.csv")[0].apex is None


def test_all_malformed_rows_are_named(tmp_path):
    good = ("casme2", "sub01", "EP01_01", "others", 1, 2, 3, 10, "/x")
    rows = [
        good,
        good,
        ("casme2", "sub01", "EP01_02", "others", "one", 2, 3, 10, "/x"),
        ("casme2", "", "EP01_03", "others", 1, 2, 3, 10, "/x"),
    ]
    write_csv(tmp_path / "index.csv", INDEX_COLUMNS, rows)
    with pytest.raises(DataError) as caught:
        read_index(tmp_path / "index.csv")
    twice, number, missing = caught.value.problems
    assert "row 2" in twice and "listed twice" in twice
    assert "row 3" in number and "EP01_02" in number
    assert "row 4" in missing
