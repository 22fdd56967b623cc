"""The flow file: equal bytes for equal content, and no damage goes unnoticed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from slstt.errors import DataError
from slstt.files import write_json
from slstt.flow.flow_files import (
    FLOW_VERSION,
    FlowHeader,
    flow_path,
    manifest_problems,
    read_flow,
    read_header,
    read_whole,
    setting_differences,
    write_flow,
)


def _flow(seed: int = 0, frames: int = 3, side: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, 2, side, side)).astype(np.float32)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = flow_path(tmp_path, ("samm", "006", "006_1_2"))
    write_flow(path, _flow(), "0123", {"square": [1, 2, 3], "why": 'a "quoted" wörd'}, {"points": np.arange(4.0)})
    return path


def test_path_is_the_documented_one(tmp_path: Path) -> None:
    assert flow_path(tmp_path, ("samm", "006", "006_1_2")) == tmp_path / "flow/samm/006/006_1_2.safetensors"


def test_what_is_written_is_read_back_as_float16(written: Path) -> None:
    flow = read_flow(written)
    assert flow.dtype == np.float16 and flow.shape == (3, 2, 8, 8)
    assert np.array_equal(flow, _flow().astype(np.float16))
    assert read_header(written) == FlowHeader("0123", 3)
    tensors, about = read_whole(written)
    assert about == {"square": [1, 2, 3], "why": 'a "quoted" wörd'}
    assert np.array_equal(tensors["points"], np.arange(4.0))


def test_the_file_is_ordinary_safetensors_with_key_flow(written: Path) -> None:
    with safe_open(written, "np") as opened:
        assert np.array_equal(opened.get_tensor("flow"), read_flow(written))


def test_equal_content_gives_equal_bytes_and_no_part_is_left(tmp_path: Path) -> None:
    for name in "ab":
        write_flow(tmp_path / name, _flow(), "f", {"x": 1, "y": [2]}, {"p": np.zeros(3), "q": np.ones(2)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_anywhere_is_noticed(written: Path, data: st.DataObject) -> None:
    raw = bytearray(written.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    other = written.with_name("changed")
    other.write_bytes(raw)
    with pytest.raises(DataError, match=r"changed: damaged .* run slstt-preprocess again"):
        read_flow(other)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_anywhere_is_noticed(written: Path, data: st.DataObject) -> None:
    raw = written.read_bytes()
    other = written.with_name("cut")
    other.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(DataError, match="damaged"):
        read_flow(other)


def test_bytes_behind_the_end_are_noticed(written: Path) -> None:
    written.write_bytes(written.read_bytes() + b"\0")
    with pytest.raises(DataError, match="damaged"):
        read_flow(written)


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 64, b"a text file, long enough for a header"])
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.safetensors"
    path.write_bytes(content)
    for read in (read_flow, read_whole, read_header):
        with pytest.raises(DataError, match=r"clip\.safetensors: damaged or not a flow file"):
            read(path)


def test_a_missing_file_names_the_fix(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not found; run slstt-preprocess"):
        read_flow(tmp_path / "absent.safetensors")


def test_flow_that_is_not_finite_is_never_stored(tmp_path: Path) -> None:
    flow = _flow()
    flow[0, 0, 0, 0] = 1e6  # beyond float16
    with pytest.raises(DataError, match="not finite"):
        write_flow(tmp_path / "clip", flow, "f")
    assert not (tmp_path / "clip").exists()


def test_a_wrong_shape_is_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(T, 2, H, W\)"):
        write_flow(tmp_path / "clip", np.zeros((2, 8, 8)), "f")


# --- manifest.json ---------------------------------------------------------------------------------------------------


def _entry(**changed: object) -> dict[str, object]:
    settings = {"frames": {"count": 11}, "flow": {"method": "farneback"}}
    return {"settings": settings, "models": {"rife": "a" * 64}, "finished": True, "version": FLOW_VERSION} | changed


def test_equal_settings_in_one_folder_or_two_are_no_problem(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "manifest.json", {"casme2": _entry(), "samm": _entry(given_landmarks=7)})
    write_json(tmp_path / "b" / "manifest.json", {"smic": _entry(models={"rife": "a" * 64, "landmark_model": "b"})})
    used = [(tmp_path / "a", "casme2"), (tmp_path / "a", "samm"), (tmp_path / "b", "smic")]
    assert setting_differences(used) == []
    assert manifest_problems(tmp_path / "a", ["casme2", "samm", "smic"]) == []


def test_each_setting_that_differs_is_named_with_its_data_sets(tmp_path: Path) -> None:
    other = {"frames": {"count": 5}, "flow": {"method": "farneback"}, "crop": {"at_most": 512}}
    manifest = {"casme2": _entry(), "smic": _entry(settings=other, models={"rife": "b" * 64}, version=FLOW_VERSION + 1)}
    write_json(tmp_path / "manifest.json", manifest)
    differences = setting_differences([(tmp_path, "casme2"), (tmp_path, "smic")])
    names = [line.partition(" differs")[0] for line in differences]
    assert names == ["crop.at_most", "frames.count", "model rife", "version of the preprocessing"]
    assert differences[1].startswith(f"frames.count differs (casme2 in {tmp_path}: 11, smic in {tmp_path}: 5); ")
    assert f"casme2 in {tmp_path}: aaaaaaaaaaaa..., " in differences[2]
    assert setting_differences([(tmp_path, "smic")]) == []


def test_a_data_set_of_unknown_making_beside_a_known_one_is_named(tmp_path: Path) -> None:
    used = [(tmp_path / "a", "casme2"), (tmp_path / "b", "smic")]
    assert setting_differences(used) == [], "no folder has a manifest: nothing is known"
    write_json(tmp_path / "a" / "manifest.json", {"casme2": _entry()})
    (line,) = setting_differences(used)
    assert line.startswith(f"smic in {tmp_path / 'b'}: how it was made is unknown")


@pytest.mark.parametrize(
    ("entry", "words"), [(_entry(finished=False), "is not finished"), ({"version": FLOW_VERSION}, "does not say")]
)
def test_a_run_that_is_not_over_is_named(tmp_path: Path, entry: dict[str, object], words: str) -> None:
    write_json(tmp_path / "manifest.json", {"casme2": _entry(), "smic": entry})
    assert manifest_problems(tmp_path, ["casme2"]) == []
    (line,) = manifest_problems(tmp_path, ["casme2", "samm", "smic"])
    assert f"preprocessing of smic {words}" in line and "again, it keeps what is there" in line


@pytest.mark.parametrize("entry", [_entry(version=1), {"finished": True}])
def test_flow_of_an_earlier_version_is_named_and_not_misread(tmp_path: Path, entry: dict[str, object]) -> None:
    """Version 1 measured flow on a square enlarged to 384 pixels, and did not always say so."""
    write_json(tmp_path / "manifest.json", {"casme2": entry})
    (line,) = manifest_problems(tmp_path, ["casme2"])
    assert "the flow of casme2 was made by another version of slstt; run slstt-preprocess" in line


@pytest.mark.parametrize("text", ["{", "[]", '{"smic": 1}', "[" * 100_000, '"\xff'])
def test_a_damaged_manifest_names_the_fix(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"manifest\.json: unreadable .*; delete it"):
        setting_differences([(tmp_path, "smic")])


def test_float32_is_stored_as_numpy_rounds_it(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    wide = generator.normal(size=(3, 2, 200, 200)) * 10 ** generator.uniform(-9, 4, (3, 2, 200, 200))
    flow = wide.astype(np.float32)
    write_flow(tmp_path / "clip.safetensors", flow, "made")
    stored = read_flow(tmp_path / "clip.safetensors")
    assert np.array_equal(stored.view(np.uint16), flow.astype(np.float16).view(np.uint16))
