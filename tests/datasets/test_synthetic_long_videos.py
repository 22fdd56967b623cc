"""Synthetic data sets of long recordings: readable as the real ones are, with the truth beside them."""

import csv
import hashlib

import pytest

from slstt.datasets import read_release
from slstt.datasets.synthetic import LONG_LAYOUTS, write
from slstt.datasets.synthetic.long_videos import EXPRESSIONS, VIDEOS
from slstt.errors import ConfigError

SMALL = {"subjects": 2, "clips_per_subject": 3, "size": (160, 160), "quiet": True}


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("layout", "subjects", "seconds"),
    [
        ("casme_square", 1, 6.0),
        pytest.param("casme_square", 2, 12.0, marks=SLOW),
        pytest.param("samm_long", 2, 4.0, marks=SLOW),
    ],
)
def test_the_readers_find_every_expression_and_every_recording(tmp_path, layout, subjects, seconds):
    root = write(tmp_path / "set", layout, seconds=seconds, **{**SMALL, "subjects": subjects})
    release = read_release(layout, root)
    assert {r.kind for r in release.remarks} == {"folder_without_row"}  # the recordings at rest
    told = {
        (e["subject"], e["clip"], e["video"], int(e["onset"]), int(e["apex"]), int(e["offset"]), e["kind"], e["units"])
        for e in rows_of(root / EXPRESSIONS)
    }
    assert told == {
        (c.subject, c.name, c.video, c.onset, c.apex, c.offset, c.kind, c.action_units) for c in release.clips
    }
    emotions = {(e["subject"], e["clip"]): e["emotion"] for e in rows_of(root / EXPRESSIONS)}
    for clip in release.clips:
        known = emotions[clip.subject, clip.name] if layout == "casme_square" or clip.kind == "micro" else ""
        assert clip.emotion == known
    videos = {(v["subject"], v["video"]): int(v["frames"]) for v in rows_of(root / VIDEOS)}
    assert {(v.subject, v.name) for v in release.videos} == set(videos) and len(videos) == 3 * subjects
    for clip in release.clips:
        assert list(clip.frames) == list(range(1, videos[clip.subject, clip.video] + 1))
    shown = {(clip.subject, clip.video) for clip in release.clips}
    assert len(shown) == 2 * subjects  # every third recording is at rest
    if seconds == 12:
        assert {clip.kind for clip in release.clips} == {"micro", "macro"}
        assert len(release.clips) >= 8


def test_the_same_settings_give_the_same_bytes(tmp_path):
    def digests(root):
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    settings = {**SMALL, "subjects": 1, "clips_per_subject": 2, "seconds": 2.0}
    one = write(tmp_path / "one", "casme_square", workers=1, **settings)
    two = write(tmp_path / "two", "casme_square", workers=2, **settings)
    assert digests(one) == digests(two)
    before = digests(one)
    assert write(one, "casme_square", **settings) == one and digests(one) == before


def test_all_wrong_settings_of_long_recordings_are_reported_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        write(tmp_path / "set", "casme_square", 0, 10, 1.5, -1, 1.0, (100, 480), ("joy",), seconds=0.0)
    problems = "\n".join(caught.value.problems)
    for name in ("subjects", "clips_per_subject", "difficulty", "seed", "size", "emotions", "seconds"):
        assert f"{name}: " in problems
    assert set(LONG_LAYOUTS) == {"casme_square", "samm_long"}
