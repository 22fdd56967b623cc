"""The closed-form motion of synthetic faces: profiles, units and fields."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slstt.datasets.synthetic.action_units import EMOTIONS, MIRROR, UNITS, code, place
from slstt.datasets.synthetic.clips import (
    Pose,
    action_field,
    blink_profile,
    displacement,
    grid,
    head_drift,
    incidental_field,
    inverse,
    profile,
    sample,
    slow_wave,
)
from slstt.datasets.synthetic.faces import canonical_landmarks, draw_face
from slstt.datasets.synthetic.layouts import LAYOUTS

SIZE = (320, 240)
POSE = Pose(interocular=48.0, x=160.0, y=105.0, roll=0.0)
times = st.tuples(st.integers(1, 9999), st.integers(1, 60), st.integers(1, 60))
bends = st.floats(0.5, 2.0)


@given(times, bends, bends)
def test_profile_rises_to_the_apex_and_falls_to_the_offset(when, rise, fall):
    onset, up, down = when
    apex, offset = onset + up, onset + up + down
    numbers = np.arange(onset - 5, offset + 6)
    values = profile(numbers, onset, apex, offset, rise, fall)
    assert (values[numbers <= onset] == 0).all() and (values[numbers >= offset] == 0).all()
    assert values[numbers == apex] == pytest.approx(1)
    assert (np.diff(values[(numbers >= onset) & (numbers <= apex)]) > 0).all()
    assert (np.diff(values[(numbers >= apex) & (numbers <= offset)]) < 0).all()
    assert numbers[values.argmax()] == apex


@given(times)
def test_profile_without_bend_is_half_way_at_half_time(when):
    onset, up, down = when
    middle = profile(np.array([onset + up / 2, onset + up + down / 2]), onset, onset + up, onset + up + down)
    np.testing.assert_allclose(middle, 0.5)


@given(st.floats(-20, 60), st.floats(5, 20), st.floats(5, 30))
def test_blink_closes_fully_and_opens_again(start, closing, opening):
    values = blink_profile(np.array([start, start + closing, start + closing + opening, start - 50, start + 90]),
                           start, closing, opening)  # fmt: skip
    np.testing.assert_allclose(values, [0, 1, 0, 0, 0], atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 5))
def test_drift_starts_at_the_onset_and_stays_within_its_amplitude(seed, amplitude):
    seconds = np.arange(-8, 40) / 200
    drift = head_drift(np.random.default_rng(seed), seconds, amplitude, reach=90.0)
    np.testing.assert_allclose(drift[8], 0, atol=1e-12)
    assert (np.abs(drift) <= amplitude * np.array([1, 0.7, 0.4 / 90, 0.4 / 90]) + 1e-12).all()
    assert np.abs(slow_wave(np.random.default_rng(seed), seconds)).max() <= 1


def test_mirroring_landmarks_twice_changes_nothing_and_fits_the_face():
    assert (MIRROR[MIRROR] == np.arange(68)).all()
    points = canonical_landmarks()
    np.testing.assert_allclose(points[MIRROR] * (-1, 1), points)


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_equal_sides_of_a_unit_give_a_mirror_image(unit):
    field = action_field(SIZE, Pose(48.0, 159.5, 105.0, 0.0), canonical_landmarks(), {unit: (1.0, 1.0)}, 2.0)
    np.testing.assert_allclose(field[:, ::-1] * (-1, 1), field, atol=1e-9)


@pytest.mark.parametrize(
    ("unit", "landmark", "direction"),
    [
        (1, 21, (0, -1)),  # inner brow up
        (2, 18, (0, -1)),  # outer brow up
        (4, 20, (0.3, 0.9)),  # brow down and inwards
        (5, 37, (0, -1)),  # upper lid up
        (9, 31, (0.1, -1)),  # nose wing up
        (10, 50, (0, -1)),  # upper lip up
        (12, 48, (-0.7, -0.7)),  # lip corner outwards and up
        (14, 48, (-1, 0)),  # lip corner outwards
        (15, 48, (-0.2, 1)),  # lip corner down
        (17, 57, (0, -1)),  # lower lip up
        (20, 48, (-1, 0.3)),  # lip corner outwards
        (23, 48, (1, 0)),  # lip corner inwards
        (25, 57, (0, 1)),  # lower lip down
        (26, 8, (0, 1)),  # chin down
        (45, 37, (0, 1)),  # upper lid down
    ],
)
def test_units_pull_landmarks_where_the_facial_action_coding_system_says(unit, landmark, direction):
    points = canonical_landmarks()
    sites = place([unit], points)
    moved = displacement(points[[landmark]], sites, np.ones(len(sites.unit)))[0]
    cosine = moved @ np.array(direction) / np.linalg.norm(moved) / np.linalg.norm(direction)
    assert np.linalg.norm(moved) > 0.3
    assert cosine > 0.9


def test_every_emotion_of_every_layout_has_units():
    assert {e for layout in LAYOUTS.values() for e in layout.emotions} <= set(EMOTIONS)
    assert {unit for alternatives in EMOTIONS.values() for units in alternatives for unit in units} <= set(UNITS)


def test_one_side_moves_where_only_one_side_acts():
    field = action_field(SIZE, POSE, canonical_landmarks(), {12: (1.0, 0.0)}, 2.0)
    right = grid(SIZE)[..., 0] > POSE.x + 0.3 * POSE.interocular
    assert np.abs(field[right]).max() < 0.05
    assert code({12: (1.0, 0.0)}) == "R12" and code({6: (1, 1), 12: (0, 1)}) == "6+L12"


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 3))
def test_fields_reach_exactly_their_peak(seed, peak):
    generator = np.random.default_rng(seed)
    face = draw_face(generator)
    units = {1: (0.8, 0.9), 2: (0.7, 1.0), 5: (1.0, 0.6)}
    for field in (
        action_field(SIZE, POSE, face.landmarks, units, peak),
        incidental_field(SIZE, POSE, face.landmarks, peak, generator),
    ):
        assert np.linalg.norm(field, axis=-1).max() == pytest.approx(peak)
    assert not action_field(SIZE, POSE, face.landmarks, units, 0.0).any()


@pytest.mark.parametrize("emotion", sorted(EMOTIONS))
def test_inverse_undoes_the_field(emotion):
    """A point moved by the field and moved back lands where it was, but for the grid's interpolation."""
    peak = 1.5  # pixels of a 320x240 frame, the most that `write` draws
    units = dict.fromkeys(EMOTIONS[emotion][0], (1.0, 0.9))
    field = action_field(SIZE, POSE, canonical_landmarks(), units, peak)
    points = grid(SIZE)[5:-5, 5:-5].reshape(-1, 2)
    forth = points + sample(field, points, SIZE)
    back = forth - sample(inverse(field, SIZE), forth, SIZE)
    assert np.abs(back - points).max() < 0.04 * peak
    assert np.abs(back - points).mean() < 0.002 * peak


def test_pose_goes_there_and_back():
    pose = Pose(90.0, 300.0, 200.0, 0.1)
    points = canonical_landmarks()
    np.testing.assert_allclose(pose.face(pose.pixels(points)), points, atol=1e-12)
    eyes = pose.pixels(np.array([[-0.5, 0.0], [0.5, 0.0]]))
    assert np.linalg.norm(eyes[1] - eyes[0]) == pytest.approx(90.0)
    assert eyes[1, 1] > eyes[0, 1]  # clockwise


def test_grid_lies_where_enlarging_a_field_puts_it():
    """cv2.resize of the grid's own coordinates gives each pixel its coordinates (but for the outermost)."""
    full = cv2.resize(grid(SIZE), SIZE, interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(full[120, 4:-4, 0], np.arange(4, 316), atol=1e-4)
    np.testing.assert_allclose(full[4:-4, 160, 1], np.arange(4, 236), atol=1e-4)
