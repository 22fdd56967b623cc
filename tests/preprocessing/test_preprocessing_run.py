"""Preprocessing a release: same bytes however it came about, and exactly the touched clips are made again."""

import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest

from slstt import workers
from slstt.cli.preprocess import main
from slstt.config.load import load_config
from slstt.config.preprocess import PreprocessConfig
from slstt.datasets import read_release
from slstt.datasets.clips import Clip
from slstt.flow.flow_files import flow_path, read_flow, read_whole
from slstt.preprocessing import run as pipeline
from slstt.preprocessing.clip import needed_frames
from slstt.preprocessing.provenance import ClipOutcome, Task
from slstt.preprocessing.run import PreprocessingResult, _make_work, preprocess, versions
from slstt.workers import Worker

QUICK = ["interpolation.method=linear", "crop.at_most=64"]
Release = Callable[[str], Path]


def _run(root: Path, out: Path, *settings: str, dataset: str = "casme2", worker_count: int = 1) -> PreprocessingResult:
    config = load_config(PreprocessConfig, None, [*QUICK, *settings])
    return preprocess(read_release(dataset, root), config, out, worker_count=worker_count, quiet=True)


def _bytes(out: Path) -> dict[str, bytes]:
    """Every file below the output folder but the locks."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


def _ages(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (out / "flow").rglob("[!.]*.safetensors")}


def _remade(before: dict[Path, int], out: Path) -> set[Path]:
    return {path for path, age in _ages(out).items() if before.get(path) != age}


@pytest.fixture(scope="module")
def release(synthetic_release: Release) -> Path:
    return synthetic_release("casme2")


@pytest.fixture(scope="module")
def finished(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder of a whole run; not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "out"
    assert main(["--dataset", "casme2", "--root", str(release), "--out", str(out), "--workers", "1", *QUICK]) == 0
    return out


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def test_flow_is_what_the_kernels_give(release: Path, finished: Path) -> None:
    """The whole road taken by hand for one clip, with the kernels only."""
    from slstt.face.crop import cut, face_square
    from slstt.face.landmarks import LandmarkDetector
    from slstt.flow.interpolation import choose_frames
    from slstt.flow.optical_flow import onset_flow
    from slstt.images import read_image

    clip = read_release("casme2", release).clips[0]
    assert clip.apex is not None
    face = LandmarkDetector().detect(read_image(clip.frames[clip.apex]))[0]
    square = face_square(face.landmarks)
    plan = choose_frames(clip.onset, clip.apex, clip.offset, 11, "apex")
    assert not plan.inserted, "synthetic clips at 200 frames a second are long enough"
    wanted = [clip.onset, *(int(position) for position in plan.positions)]
    frames = np.stack([cut(read_image(clip.frames[number]), square, 64) for number in wanted])
    tensors, about = read_whole(flow_path(finished, clip.key))
    assert np.array_equal(tensors["flow"], onset_flow(frames, "dis").astype(np.float16))
    assert about["scale"] == 64 / square[2]
    assert np.array_equal(tensors["landmarks"], face.landmarks)
    assert about["square"] == list(square) and about["positions"] == wanted[1:] and about["apex"] == clip.apex


def test_flow_has_the_size_of_the_face_in_its_frame(release: Path, finished: Path, tmp_path: Path) -> None:
    """Each clip at its own side, in the frame's own pixels; only what is larger than crop.at_most is shrunk."""
    _run(release, tmp_path, "crop.at_most=512")
    index = read_release("casme2", release)
    for clip in index.clips:
        path = flow_path(tmp_path, clip.key)
        _, about = read_whole(path)
        side = about["square"][2]
        assert read_flow(path).shape == (11, 2, side, side) and about["scale"] == 1
        _, shrunk = read_whole(flow_path(finished, clip.key))
        assert read_flow(flow_path(finished, clip.key)).shape == (11, 2, 64, 64) and shrunk["scale"] == 64 / side


def test_nothing_is_done_twice(release: Path, copied: Path) -> None:
    before = _bytes(copied), _ages(copied)
    result = _run(release, copied)
    assert (result.computed, result.kept) == (0, 4)
    assert (_bytes(copied), _ages(copied)) == before


def test_two_workers_give_the_same_bytes_as_one(release: Path, finished: Path, tmp_path: Path) -> None:
    arguments = ["--dataset", "casme2", "--root", str(release), "--out", str(tmp_path / "out"), "--workers", "2"]
    assert main([*arguments, *QUICK]) == 0
    assert _bytes(tmp_path / "out") == _bytes(finished)


def test_only_needed_frames_are_decoded(release: Path, finished: Path, tmp_path: Path) -> None:
    """With every other frame turned to garbage the flow is the same: nothing else was read."""
    root = Path(shutil.copytree(release, tmp_path / "raw"))
    config = load_config(PreprocessConfig, None, QUICK)
    garbage = 0
    for clip in read_release("casme2", root).clips:
        needed = needed_frames(clip, config)
        assert len(needed) == 12, "the onset and eleven after it, the apex among them"
        for number in clip.frames.keys() - needed:
            clip.frames[number].write_bytes(b"garbage")
            garbage += 1
    assert garbage > 40
    result = _run(root, tmp_path / "out")
    assert not result.failures
    for clip in result.clips:
        assert np.array_equal(
            read_flow(flow_path(tmp_path / "out", clip.key)), read_flow(flow_path(finished, clip.key))
        )


# --- damage ---------------------------------------------------------------------------------------------------------


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def _swap_for_another_clip(path: Path) -> None:
    other = next(p for p in path.parents[1].rglob("*.safetensors") if p != path)
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize(
    "damage", [_truncate, _flip, _swap_for_another_clip, lambda path: path.write_bytes(b""), Path.unlink]
)
def test_a_damaged_file_is_noticed_and_rebuilt_alone(
    release: Path, finished: Path, copied: Path, damage: Callable[[Path], object]
) -> None:
    victim = sorted((copied / "flow").rglob("*.safetensors"))[1]
    ages = _ages(copied)
    damage(victim)
    result = _run(release, copied)
    assert (result.computed, result.kept) == (1, 3)
    changed = {path for path, raw in _bytes(copied).items() if raw != _bytes(finished)[path]}
    assert not changed
    assert set(_ages(copied)) == set(ages)


# --- changed settings and input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting", ["frames.count=12", "flow.method=farneback", "frames.selection=uniform", "crop.at_most=65"]
)
def test_a_changed_setting_recomputes_what_it_touches_once(release: Path, copied: Path, setting: str) -> None:
    assert _run(release, copied, setting).computed == 4
    assert _run(release, copied, setting).computed == 0


def test_settings_that_had_no_say_recompute_nothing(release: Path, copied: Path) -> None:
    no_frame_was_made_up = ["interpolation.method=none", "interpolation.precision=bf16"]
    every_face_was_found_at_once = ["crop.upsample=2", "crop.neighbours=1"]
    the_sheet_has_every_apex = ["apex.missing=fail", "apex.outside=middle", "apex.smoothing=0"]
    settings = [*no_frame_was_made_up, *every_face_was_found_at_once, *the_sheet_has_every_apex, "run.workers=1"]
    ages = _ages(copied)
    assert _run(release, copied, *settings).computed == 0
    assert _ages(copied) == ages


def test_short_clips_alone_depend_on_the_interpolation(release: Path, tmp_path: Path) -> None:
    lengths = {clip.name + clip.subject: clip.offset - clip.onset for clip in read_release("casme2", release).clips}
    count = sorted(lengths.values())[1] + 1  # two clips, or more of equal length, are too short for it
    short = sum(length < count for length in lengths.values())
    assert 0 < short < len(lengths)
    settings = f"frames.count={count}"
    assert _run(release, tmp_path, settings).computed == 4
    assert _run(release, tmp_path, settings, "interpolation.method=none").computed == short


def test_a_changed_frame_recomputes_its_clip_and_a_moved_data_set_none(
    release: Path, copied: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(release, tmp_path / "elsewhere"))  # keeps the times, as rsync -a and mv do
    assert _run(root, copied).computed == 0
    clip = read_release("casme2", root).clips[2]
    os.utime(clip.frames[clip.onset + 1], (1, 1))
    ages = _ages(copied)
    assert _run(root, copied).computed == 1
    assert _remade(ages, copied) == {flow_path(copied, clip.key)}


def test_given_landmarks_recompute_the_clips_they_change(release: Path, copied: Path) -> None:
    releases, config = read_release("casme2", release), load_config(PreprocessConfig, None, QUICK)
    clip = releases.clips[1]
    found = read_whole(flow_path(copied, clip.key))[0]["landmarks"]
    moved = preprocess(releases, config, copied, {clip.key: found + 2}, quiet=True)
    assert moved.computed == 1 and moved.records[clip.key].about["face_frame"] == clip.apex
    assert preprocess(releases, config, copied, {clip.key: found + 2}, quiet=True).computed == 0
    assert preprocess(releases, config, copied, quiet=True).computed == 1


def test_a_clip_that_begins_to_fail_loses_its_old_flow_file(release: Path, copied: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(release, tmp_path / "raw"))
    clip = read_release("casme2", root).clips[0]
    clip.frames[clip.onset].write_bytes(b"gone bad")
    result = _run(root, copied)
    assert [remark.kind for remark in result.failures] == ["undecodable_frame"]
    assert not flow_path(copied, clip.key).exists() and len(result.clips) == 3


# --- odd frames ------------------------------------------------------------------------------------------------------


def _named_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link_in_a_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _far_too_large(path: Path) -> None:
    """The header of a 20000 x 20000 picture over the data of a small one."""
    raw = bytearray(cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1])
    raw[16:24] = struct.pack(">II", 20_000, 20_000)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("damage", "kind", "words"),
    [
        (_named_pipe, "no_onset_frame", "is missing"),
        (_folder, "no_onset_frame", "is missing"),
        (_link_in_a_circle, "no_onset_frame", "is missing"),
        (_far_too_large, "undecodable_frame", "20000 x 20000 pixels; at most 40 million"),
    ],
)
def test_a_frame_that_is_no_picture_costs_its_own_clip(
    release: Path, tmp_path: Path, damage: Callable[[Path], None], kind: str, words: str
) -> None:
    root = Path(shutil.copytree(release, tmp_path / "raw"))
    clip = read_release("casme2", root).clips[0]
    damage(clip.frames[clip.onset])
    result = _run(root, tmp_path / "out")
    assert len(result.clips) == 3
    (failure,) = result.failures
    assert (failure.clip, failure.kind) == (clip.name, kind) and words in failure.reason


@pytest.mark.parametrize("name", ["n" * 251, "a\0b"])
def test_a_name_that_no_file_can_have_costs_its_own_clip(release: Path, tmp_path: Path, name: str) -> None:
    whole = read_release("casme2", release)
    odd = replace(whole.clips[0], name=name)
    config = load_config(PreprocessConfig, None, QUICK)
    result = preprocess(replace(whole, clips=(odd, *whole.clips[1:])), config, tmp_path / "out", quiet=True)
    assert [(remark.clip, remark.kind) for remark in result.failures] == [(name, "bad_name")]
    assert len(result.clips) == 3


@pytest.mark.parametrize("name", ["n" * 300 + ".png", "a\0b.png"])
def test_a_frame_whose_path_no_file_can_have_costs_its_own_clip(release: Path, tmp_path: Path, name: str) -> None:
    whole = read_release("casme2", release)
    clip = whole.clips[0]
    odd = replace(clip, frames={**clip.frames, clip.onset: clip.folder / name})
    config = load_config(PreprocessConfig, None, QUICK)
    result = preprocess(replace(whole, clips=(odd, *whole.clips[1:])), config, tmp_path / "out", quiet=True)
    assert [(remark.clip, remark.kind) for remark in result.failures] == [(clip.name, "undecodable_frame")]
    assert len(result.clips) == 3


def test_frames_of_twelve_bits_give_the_flow_of_eight(release: Path, finished: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(release, tmp_path / "raw"))
    clip = read_release("casme2", root).clips[0]
    for number, path in clip.frames.items():
        deep = cv2.imread(str(path)).astype(np.uint16) * 16
        if number == clip.offset:
            deep[0, 0] = 4095  # the brightest value of the clip stands in a frame that no plan needs
        path.with_suffix(".png").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
        path.unlink()
    result = _run(root, tmp_path / "out")
    assert [(remark.clip, remark.kind) for remark in result.flags] == [(clip.name, "unused_bits")]
    of_twelve, of_eight = (read_flow(flow_path(out, clip.key)) for out in (tmp_path / "out", finished))
    assert np.array_equal(of_twelve, of_eight)


def test_a_clip_without_motion_is_flagged(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(shutil.copytree(release, tmp_path / "raw"))
    clip = read_release("casme2", root).clips[0]
    for path in clip.frames.values():
        path.write_bytes(clip.frames[clip.onset].read_bytes())
    result = _run(root, tmp_path / "out")
    assert [(remark.clip, remark.kind) for remark in result.flags] == [(clip.name, "identical_frames")]
    assert main(["--dataset", "casme2", "--root", str(root), "--out", str(tmp_path / "new"), "--check", *QUICK]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "identical_frames:" in line)
    assert clip.name in line


def test_a_frame_of_another_picture_is_flagged_by_its_flow(release: Path, tmp_path: Path) -> None:
    """What a damaged, still well-formed JPEG looks like: half of the picture is shifted."""
    root = Path(shutil.copytree(release, tmp_path / "raw"))
    clip = read_release("casme2", root).clips[0]
    assert clip.apex is not None
    number = clip.apex + 2
    picture = cv2.imread(str(clip.frames[number]))
    picture[120:] = np.roll(picture[120:], 25, axis=1)
    clip.frames[number].write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
    result = _run(root, tmp_path / "out")
    assert [(remark.clip, remark.kind) for remark in result.flags] == [(clip.name, "flow_outlier")]
    assert f"frame {number} " in result.flags[0].reason


# --- failed before ---------------------------------------------------------------------------------------------------


@pytest.fixture
def with_a_failure(release: Path, tmp_path: Path) -> tuple[Path, Path, Clip]:
    """(release, output folder of a whole run, the clip that failed in it)."""
    root, out = Path(shutil.copytree(release, tmp_path / "raw")), tmp_path / "out"
    clip = read_release("casme2", root).clips[0]
    for path in clip.frames.values():
        grey = np.full((240, 320), 90, np.uint8)
        path.write_bytes(cv2.imencode(".jpg", grey)[1].tobytes())
    result = _run(root, out)
    assert [remark.kind for remark in result.failures] == ["no_face"] and result.not_retried == 0
    return root, out, clip


def test_a_failed_clip_is_not_tried_again(with_a_failure: tuple[Path, Path, Clip]) -> None:
    root, out, clip = with_a_failure
    before = _bytes(out)
    result = _run(root, out)
    assert (result.computed, result.kept, result.not_retried) == (0, 3, 1) and not result.seconds
    assert [(remark.clip, remark.kind) for remark in result.failures] == [(clip.name, "no_face")]
    assert _bytes(out) == before


@pytest.mark.parametrize("change", ["file", "setting", "landmarks", "retry"])
def test_a_failed_clip_is_tried_again_where_something_changed(
    with_a_failure: tuple[Path, Path, Clip], release: Path, change: str
) -> None:
    root, out, clip = with_a_failure
    if change == "file":
        shutil.copy(release / clip.frames[clip.onset].relative_to(root), clip.frames[clip.onset])
    config = load_config(PreprocessConfig, None, [*QUICK, *(["crop.upsample=2"] if change == "setting" else [])])
    points = np.random.default_rng(0).uniform(90, 150, (68, 2)).astype(np.float32)
    points[8, 1], points[19, 1], points[57, 1] = 180, 80, 150
    given = {clip.key: points} if change == "landmarks" else None
    retry = change == "retry"
    result = preprocess(read_release("casme2", root), config, out, given, quiet=True, retry=retry)
    assert result.not_retried == 0
    assert [remark.kind for remark in result.failures] == ([] if change == "landmarks" else ["no_face"])


def test_what_is_the_machines_fault_is_tried_again(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def killed(make: object, arguments: object, tasks: list[Task], where: object) -> Iterator[Iterator[workers.Died]]:
        yield (workers.Died(task, -9, "killed") for task in tasks)

    with monkeypatch.context() as patched:
        patched.setattr(workers, "at_work", killed)
        assert len(_run(release, tmp_path).failures) == 4
    assert len(_run(release, tmp_path).clips) == 4


def test_the_command_says_what_it_left_and_how_to_try_it(
    with_a_failure: tuple[Path, Path, Clip], capsys: pytest.CaptureFixture[str]
) -> None:
    root, out, _ = with_a_failure
    arguments = ["--dataset", "casme2", "--root", str(root), "--out", str(out), "--workers", "1", *QUICK]
    assert main(arguments) == 1
    assert "1 of them failed before and were not tried again; --retry tries them" in capsys.readouterr().out
    assert main([*arguments, "--retry"]) == 1
    assert "failed before" not in capsys.readouterr().out


def test_with_nothing_to_do_nothing_heavy_is_loaded(with_a_failure: tuple[Path, Path, Clip]) -> None:
    root, out, _ = with_a_failure
    arguments = ["--dataset", "casme2", "--root", str(root), "--out", str(out), "--workers", "1", *QUICK]
    code = f"import sys; from slstt.cli.preprocess import main; main({arguments}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


# --- the whole folder -----------------------------------------------------------------------------------------------


def test_two_data_sets_share_a_folder(synthetic_release: Release, finished: Path, copied: Path, release: Path) -> None:
    _run(synthetic_release("smic"), copied, dataset="smic")
    both = (copied / "index.csv").read_text().splitlines()
    assert set((finished / "index.csv").read_text().splitlines()) < set(both) and len(both) == 9
    assert _run(release, copied).computed == 0
    assert (copied / "index.csv").read_text().splitlines() == both


def test_until_a_run_is_over_the_index_lists_only_what_is_current(
    release: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLSTT_RIFE_WEIGHTS", "unused")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "_make_work", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _run(release, copied, "flow.method=farneback")
    assert (copied / "index.csv").read_text().count("\n") == 1, "only the header: no flow of mixed settings"


def test_two_runs_at_once_into_one_folder_are_refused(
    release: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from slstt.preprocessing.run import only_run

    with only_run(finished, "casme2"):
        arguments = ["--dataset", "casme2", "--root", str(release), "--out", str(finished), *QUICK]
        assert main([*arguments, "--workers", "1"]) == 2
    assert "another slstt-preprocess is at work" in capsys.readouterr().err


@pytest.mark.parametrize(("side", "failures"), [(15, ["no_square"]), (16, [])])
def test_a_face_too_small_to_measure_costs_its_own_clip(
    release: Path, copied: Path, side: int, failures: list[str]
) -> None:
    releases, config = read_release("casme2", release), load_config(PreprocessConfig, None, QUICK)
    clip = releases.clips[1]
    tensors, about = read_whole(flow_path(copied, clip.key))
    small = (tensors["landmarks"] - 160) * (side / about["square"][2]) + 160
    result = preprocess(releases, config, copied, {clip.key: small}, quiet=True)
    assert [remark.kind for remark in result.failures] == failures
    assert result.kept == 3 and result.computed == 1 - len(failures)


def test_odd_landmarks_are_flagged_against_the_subject(release: Path, tmp_path: Path) -> None:
    releases, config = read_release("casme2", release), load_config(PreprocessConfig, None, QUICK)
    first = releases.clips[0]
    points = np.random.default_rng(0).normal((160, 120), 1, (68, 2)).astype(np.float32)
    points[8, 1], points[19, 1], points[57, 1] = 150, 90, 135
    given = {clip.key: points for clip in releases.clips if clip.subject == first.subject}
    # Three clips of one subject are the fewest that have a majority.
    third = Clip(first.dataset, first.subject, "EP99_01f", first.emotion, first.onset, first.apex, first.offset,
                 first.folder, first.frames)  # fmt: skip
    more = type(releases)(releases.dataset, releases.layout, releases.root, None, (*releases.clips, third), ())
    given[third.key] = points + 60
    result = preprocess(more, config, tmp_path, given, quiet=True)
    assert [remark.clip for remark in result.flags if remark.kind == "landmark_outlier"] == ["EP99_01f"]


def test_versions_come_from_the_modules_whatever_the_packages_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    import dlib
    import torch

    def renamed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", renamed)
    found = versions()
    assert found["opencv"] == cv2.__version__ and found["dlib"] == dlib.__version__
    assert found["numpy"] == np.__version__ and found["torch"] == torch.__version__
    monkeypatch.delitem(sys.modules, "torch")
    assert versions()["torch"] == found["torch"], "the same without importing it"
    assert "torch" not in sys.modules


# --- killed and interrupted -----------------------------------------------------------------------------------------


def _start(root: Path, out: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "slstt.cli.preprocess", "--dataset", "casme2", "--root", str(root)]
    command += ["--out", str(out), "--workers", "2", *QUICK]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )


def _session(identity: int) -> list[int]:
    """Processes of a session, Linux only."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == identity and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def _wait_until_gone(identity: int) -> None:
    deadline = time.monotonic() + 60
    while _session(identity):
        assert time.monotonic() < deadline, "worker processes outlived their parent"
        time.sleep(0.05)


def _kill_and_resume(release: Path, finished: Path, out: Path, flows: int, delay: float) -> None:
    """SIGKILL some time after the first `flows` flow files appeared (0: after the start), then run again."""
    process = _start(release, out)
    while process.poll() is None and len(list(out.glob("flow/*/*/*"))) < flows:
        time.sleep(0.01)
    time.sleep(delay)
    process.kill()
    process.communicate()
    if Path("/proc").is_dir():
        _wait_until_gone(process.pid)
    before = _ages(out)
    assert main(["--dataset", "casme2", "--root", str(release), "--out", str(out), "--workers", "1", *QUICK]) == 0
    assert _bytes(out) == _bytes(finished)
    assert not before.keys() & _remade(before, out), "finished clips are not made again"


def test_killed_and_started_again_it_ends_with_the_same_bytes(release: Path, finished: Path, tmp_path: Path) -> None:
    _kill_and_resume(release, finished, tmp_path / "out", flows=1, delay=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_killed_at_random_points_it_ends_with_the_same_bytes(
    release: Path, finished: Path, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    _kill_and_resume(release, finished, tmp_path / "out", chance.randrange(4), chance.uniform(0, 0.5))


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_an_interrupt_ends_with_130_and_keeps_the_work(
    release: Path, finished: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = _start(release, out)
    while process.poll() is None and not list(out.glob("flow/*/*/[!.]*")):
        time.sleep(0.01)
    process.send_signal(number)
    error = process.communicate()[1]
    if process.returncode != 0:  # it may have been done already
        assert process.returncode == 130
        assert "interrupted; finished work is kept, run the same command to continue" in error
        assert "Traceback" not in error
    if Path("/proc").is_dir():
        _wait_until_gone(process.pid)
    assert _run(release, out).kept >= 1
    for path, raw in _bytes(finished).items():
        if path.startswith("flow/"):
            assert (out / path).read_bytes() == raw


def _deaths(out: Path, clip: Clip) -> Path:
    return out / f"deaths-{clip.subject}-{clip.name}"


def _make_deadly(worker: Worker, config: PreprocessConfig) -> Callable[[Task], ClipOutcome]:
    """As in a real run, but the worker is killed as often as the clip's file of deaths says."""
    work = _make_work(worker, config)

    def deadly(task: Task) -> ClipOutcome:
        deaths = _deaths(task.path.parents[3], task.clip)
        if deaths.exists() and (left := int(deaths.read_text())):
            deaths.write_text(str(left - 1))
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
        return work(task)

    return deadly


def test_a_killed_worker_costs_no_clip_unless_it_happens_twice(
    release: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, always, *_ = read_release("casme2", release).clips
    out = tmp_path / "out"
    out.mkdir()
    _deaths(out, once).write_text("1")
    _deaths(out, always).write_text("9")
    monkeypatch.setattr(pipeline, "_make_work", _make_deadly)
    result = _run(release, out, worker_count=2)
    (failure,) = result.failures
    assert (failure.clip, failure.subject, failure.kind) == (always.name, always.subject, "worker_died")
    assert "ended twice (exit code -9; killed by the kernel: out of memory?)" in failure.reason
    assert "fewer --workers" in failure.reason
    assert _deaths(out, always).read_text() == "7"
    for clip in read_release("casme2", release).clips:
        if clip != always:
            assert flow_path(out, clip.key).read_bytes() == flow_path(finished, clip.key).read_bytes()


@pytest.mark.cluster
def test_ray_gives_the_same_bytes(release: Path, finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    arguments = ["--dataset", "casme2", "--root", str(release), "--out", str(tmp_path / "out"), "--workers", "2"]
    command = [sys.executable, "-m", "slstt.cli.preprocess", *arguments, *QUICK, "run.executor=ray"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert _bytes(tmp_path / "out") == _bytes(finished)


def test_rife_fills_a_short_clip(synthetic_release: Release, official_rife: Path, tmp_path: Path) -> None:
    """More frames are asked for than the shortest clip has: RIFE makes the rest, which lies between its neighbours."""
    whole = read_release("casme2", synthetic_release("casme2"))
    clip = min(whole.clips, key=lambda clip: clip.offset - clip.onset)
    alone = type(whole)(whole.dataset, whole.layout, whole.root, None, (clip,), ())
    count = clip.offset - clip.onset + 2
    config = load_config(PreprocessConfig, None, [f"frames.count={count}", "crop.at_most=64"])
    result = preprocess(alone, config, tmp_path, quiet=True)
    about = result.records[clip.key].about
    assert about["inserted"] == 2 and "rife" in about["depends"]
    at = [place for place, position in enumerate(about["positions"]) if position != int(position)]
    intensity = [0.0, *about["intensity"], about["intensity"][-1]]
    for place in at:
        low, high = sorted((intensity[place], intensity[place + 2]))
        assert low - 0.05 <= intensity[place + 1] <= high + 0.05
