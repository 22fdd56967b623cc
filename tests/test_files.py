import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slstt.errors import ConfigError, DataError, WeightsError
from slstt.files import fingerprint, locked, read_csv, sha256, whole_file, write_csv, write_json


def test_a_failing_block_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole_file(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(DataError, match=r"a\.txt: cannot be written .*free space"), whole_file(path) as part:
        part.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match=r"index\.csv: cannot be written"):
        write_csv(tmp_path / "out" / "index.csv", ["a"], [])


@pytest.mark.parametrize("name", ["a\0b", "n" * 300])
def test_a_name_that_no_file_can_have_is_one_clear_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        write_json(tmp_path / name, 1)
    assert list(tmp_path.iterdir()) == []


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)


@given(rows=st.lists(st.tuples(cells, cells), max_size=8))
def test_text_survives_a_csv_round_trip(rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    write_csv(path, ["a", "b"], rows)
    assert [(row["a"], row["b"]) for row in read_csv(path, ["a", "b"])] == rows


def test_a_carriage_return_cannot_break_a_row(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["a", "b"], [("x\ry", 1)])
    assert read_csv(tmp_path / "t.csv", ["a", "b"]) == [{"a": "x y", "b": "1"}]


def test_leading_zeros_stay(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("subject\n006\n013\n")
    assert [row["subject"] for row in read_csv(path, ["subject"])] == ["006", "013"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "empty"),
        (b"subject\n1\n", "column 'clip' is missing"),
        (b"clip,subject\n1\n", "line 2 has 1 cells, the header 2"),
        (b"clip,clip\n1,2\n", "appears twice"),
        (b"clip\n\xff\xfe\n", "unreadable as CSV"),
        (b'clip\n"open\n', "unreadable as CSV"),
    ],
)
def test_malformed_csv_is_one_clear_error(text: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text)
    with pytest.raises(DataError, match=complaint) as caught:
        read_csv(path, ["clip"])
    assert all("t.csv" in problem for problem in caught.value.problems)


def test_a_missing_csv_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: not found"):
        read_csv(tmp_path / "none.csv", [])


def test_fingerprint_sees_values_not_order() -> None:
    assert fingerprint({"a": 1, "b": {"c": [1, 2]}}) == fingerprint({"b": {"c": [1, 2]}, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint({"path": Path("x")}) == fingerprint({"path": "x"})


def test_sha256_of_the_standard_s_example(tmp_path: Path) -> None:
    # FIPS 180-2, appendix B.1
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_json_is_readable_text(tmp_path: Path) -> None:
    write_json(tmp_path / "m.json", {"folder": Path("ü"), "n": 1})
    assert (tmp_path / "m.json").read_text(encoding="utf-8") == '{\n  "folder": "ü",\n  "n": 1\n}\n'


def taken(path: Path, **options: bool) -> bool:
    try:
        with locked(path, wait=0.0, busy="another is at work", **options):
            return False
    except ConfigError as error:
        assert str(error) == "another is at work"
        return True


def test_a_lock_is_held_by_one_or_shared_by_many(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    with locked(path):
        assert taken(path) and taken(path, shared=True)
    with locked(path, shared=True):
        assert taken(path) and not taken(path, shared=True)
    assert not taken(path)


HOLDING = """
import sys
from pathlib import Path
from slstt.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_waited_for_and_freed_by_a_kill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDING, str(tmp_path / ".lock")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert taken(tmp_path / ".lock")
    holder.kill()
    holder.communicate()
    with locked(tmp_path / ".lock"):
        pass


def test_a_lock_that_cannot_be_made_names_the_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lock = tmp_path / "file" / ".lock"
    with pytest.raises(DataError, match=r"file: cannot be written .*; choose another --out"), locked(lock):
        pass
    with pytest.raises(WeightsError, match="set a folder"), locked(lock, fix="set a folder", error=WeightsError):
        pass


def test_a_file_system_without_locks_is_refused_unless_one_can_go_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(handle: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", without)  # no such file system is at hand
    with pytest.raises(DataError, match="offers no locks"), locked(tmp_path / ".lock"):
        pass
    with locked(tmp_path / ".lock", needed=False):
        pass


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_the_mode_of_a_file_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_json(tmp_path / "new" / "m.json", 1)
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "m.json").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("name", ["a" * 255, "表" * 85])
def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / name, 1)
    assert [path.name for path in tmp_path.iterdir()] == [name]
