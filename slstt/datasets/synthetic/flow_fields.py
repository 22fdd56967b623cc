"""Onset-referenced flow without pixels: vector fields of action units on a canonical face, in the crop.

The same table of units as the rendered clips (`action_units.py`), made in thousands a second for pretraining. All
samples are drawn and computed together: a pull is a Gaussian along x times a Gaussian along y, so a batch of fields is
one product of matrices. Where asked for, a share of them is no expression: speech, chewing, blinks, turning heads.
Nothing here reads any data set; the face is `faces.canonical_landmarks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slstt.config.pretrain import Fields
from slstt.datasets.synthetic.action_units import EMOTIONS, ONE_SIDED, place
from slstt.datasets.synthetic.faces import canonical_landmarks
from slstt.flow.encoding import min_max
from slstt.flow.optical_flow import strain


def smooth_noise(generator: np.random.Generator, count: int, resolution: int) -> np.ndarray:
    """(count, R, R) float32: smooth noise of unit deviation, features of about a seventh of the map."""
    knots = 8
    small = generator.standard_normal((count, knots, knots), dtype=np.float32)
    at = np.linspace(0, knots - 1, resolution)
    weights = np.exp(-0.5 * ((at[:, None] - np.arange(knots)) / 0.7) ** 2)
    weights = (weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))).astype(np.float32)
    return np.matmul(np.matmul(weights, small), weights.T)


FIELD_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26)
"""Units in the order of `FlowFields.units`."""
BLINK = 45
PUBLISHED_CROP = (-1.0, 1.0, -0.9, 2.0)
"""About what the published 28x28 flow maps show of a face: eyes 8.5 rows down, the mouth 19.5, the chin at the edge."""


@dataclass(frozen=True)
class FlowFields:
    """A batch of N clips."""

    maps: np.ndarray
    """(N, T, 3, R, R) float32: u right and v down in pixels of the map, and optical strain; or all in 0..1."""
    units: np.ndarray
    """(N, units, 2) float32: intensity 0..1 of `FIELD_UNITS` on the picture's left and right half."""
    emotions: np.ndarray
    """(N,) int64: position in the `emotions` that were asked for; of no meaning where `none`."""
    none: np.ndarray
    """(N,) bool: whether the motion is no expression."""
    intensity: np.ndarray
    """(N, T) float32: the profile, 1 at the apex."""


def combinations(emotion: str) -> tuple[tuple[int, ...], ...]:
    """The alternatives of `emotion`: of a name those of `action_units.EMOTIONS`, of units such as `4+7` these alone.

    Raises ValueError for anything else.
    """
    if emotion in EMOTIONS:
        return EMOTIONS[emotion]
    parts = emotion.split("+")
    if not all(part.isdecimal() and int(part) in FIELD_UNITS for part in parts):
        raise ValueError(f"'{emotion}' is neither an emotion ({', '.join(EMOTIONS)}) nor units such as 4+7")
    return (tuple(int(part) for part in parts),)


def face_crop() -> tuple[float, float, float, float]:
    """Left, right, top, bottom of the square over the canonical face whose lower edge is the chin."""
    landmarks = canonical_landmarks()
    (left, _), (right, bottom) = landmarks.min(axis=0), landmarks.max(axis=0)
    return float(left), float(right), float(bottom - (right - left)), float(bottom)


def _times(generator: np.random.Generator, settings: Fields, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, T) times of the frames, onset 0 and offset T + 1, and (count, 1) that of the apex."""
    frames = settings.frames
    if frames == 1:
        return np.ones((count, 1)), np.ones((count, 1))
    at = np.arange(1, frames + 1)[None]
    apex = generator.integers(max(1, frames // 4), max(2, (3 * frames) // 4 + 1), count)[:, None]
    return apex + generator.uniform(*settings.window, (count, 1)) * (at - apex), apex


def _profiles(generator: np.random.Generator, times: np.ndarray, apex: np.ndarray) -> np.ndarray:
    """(N, T) float32 intensities: a rise and fall, 1 at the apex, which may be any frame but the last."""
    count, frames = times.shape
    if frames == 1:
        return np.ones((count, 1), np.float32)
    bend = generator.uniform(0.8, 1.25, (count, 1))
    up = np.clip(times / apex, 0, 1) ** bend
    down = np.clip((frames + 1 - times) / (frames + 1 - apex), 0, 1) ** bend
    return (0.5 - 0.5 * np.cos(np.pi * np.where(times <= apex, up, down))).astype(np.float32)


def _intensities(
    generator: np.random.Generator, settings: Fields, names: Sequence[str], emotions: np.ndarray
) -> np.ndarray:
    """(N, units, 2): how strongly each unit pulls in each clip, left and right; `emotions` are places in `names`."""
    count, width = len(emotions), len(FIELD_UNITS)
    alternatives = [combinations(emotion) for emotion in names]
    one_sided = np.array([e in ONE_SIDED for e, found in zip(names, alternatives, strict=True) for _ in found])
    table = np.array([[unit in chosen for unit in FIELD_UNITS] for found in alternatives for chosen in found])
    sizes = np.array([len(found) for found in alternatives])
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    chosen = first[emotions] + (generator.random(count) * sizes[emotions]).astype(int)

    present = table[chosen]
    kept = present & (generator.random((count, width)) >= settings.dropped)
    lost = ~kept.any(axis=1)
    kept[lost] = present[lost]
    strength = generator.uniform(0.4, 1.0, (count, width)) * kept
    stray = generator.random(count) < settings.stray
    which = generator.integers(width, size=count)
    weak = generator.uniform(0.1, 0.4, count)
    strength[stray, which[stray]] = np.maximum(strength[stray, which[stray]], weak[stray])
    sides = strength[..., None] * generator.uniform(0.55, 1.0, (count, width, 2))
    silent = generator.integers(2, size=count)
    rows = np.flatnonzero(one_sided[chosen] | (generator.random(count) < settings.one_sided))
    sides[rows, :, silent[rows]] = 0.0
    return sides.astype(np.float32)


def draw(
    settings: Fields,
    count: int,
    seed: int,
    *,
    resolution: int = 28,
    emotions: Sequence[str] = ("negative", "positive", "surprise"),
    scaled: bool = False,
) -> FlowFields:
    """Draw `count` clips; the same arguments give the same values. `settings.classes` is not looked at here.

    `resolution` is the height and width of a map in its own pixels. `emotions` (see `combinations`) are dealt with
    equal chances. `scaled` min-max scales each channel of each clip to 0..1, as in published flow maps, where zero and
    scale are lost.
    """
    generator = np.random.default_rng(seed)
    dealt = generator.integers(len(emotions), size=count)
    units = _intensities(generator, settings, emotions, dealt)
    times, apex = _times(generator, settings, count)
    intensity = _profiles(generator, times, apex)
    low, high = np.log(settings.peak)
    peak = np.exp(generator.uniform(low, high, (count, 1, 1))).astype(np.float32)

    flow = _moved(generator, settings, resolution, units, times, intensity, peak)
    none = np.zeros(count, bool)
    if settings.none:  # a stream of its own: the expressions are those drawn without it
        apart = np.random.default_rng([seed, 1])
        none = apart.random(count) < settings.none
        kinds = np.array(tuple(NON_EXPRESSIONS))[
            apart.choice(len(NON_EXPRESSIONS), count, p=list(NON_EXPRESSIONS.values()))
        ]
        for kind in NON_EXPRESSIONS:
            rows = np.flatnonzero(none & (kinds == kind))
            units[rows], flow[rows] = _non_expression(apart, settings, resolution, kind, times[rows], intensity[rows])
    if settings.background:
        flow += _background(np.random.default_rng([seed, 2]), settings, resolution, times)
    left, right, top, bottom = settings.crop or face_crop()
    flow *= resolution / np.array([right - left, bottom - top], np.float32)[:, None, None]

    maps = np.concatenate([flow, strain(flow)[:, :, None]], axis=2).astype(np.float32)
    if scaled:
        maps = min_max(maps)
    return FlowFields(maps, units, dealt, none, intensity)


def _moved(
    generator: np.random.Generator,
    settings: Fields,
    resolution: int,
    units: np.ndarray,
    times: np.ndarray,
    intensity: np.ndarray,
    peak: np.ndarray,
    others: np.ndarray | None = None,
) -> np.ndarray:
    """(N, T, 2, R, R) float32 flow in face coordinates, shrunk: units, `others` (N, 2, R, R), lids, head, noise."""
    count = len(units)
    action, lids = _pulls(generator, settings, resolution, units)
    if others is not None:
        action += others
    longest = np.sqrt((action**2).sum(axis=1)).max(axis=(-2, -1))[:, None, None]
    action *= (peak / np.maximum(longest, 1e-9))[:, None]
    flow = intensity[:, :, None, None, None] * action[:, None]
    flow += _blinks(generator, settings, times)[:, :, None, None, None] * lids[:, None]
    flow += _head(generator, settings, resolution, times)
    noise = smooth_noise(generator, count * settings.frames * 2, resolution)
    flow += noise.reshape(flow.shape) * (settings.noise * peak)[:, None, None]
    low, high = settings.shrinkage
    patchy = smooth_noise(generator, count, resolution)
    level = generator.uniform(low, high, (count, 1, 1)).astype(np.float32)
    flow *= np.clip(level + patchy * (0.1 if low < 1 else 0.0), 0.2, 1.1)[:, None, None]
    return flow


NON_EXPRESSIONS = {
    "speech": 0.35,
    "chewing": 0.1,
    "blink": 0.1,
    "gaze": 0.1,
    "head": 0.15,
    "light": 0.1,
    "elsewhere": 0.1,
}
"""What else moves a face, and how often each is drawn."""
SPOKEN = ("25+26", "25", "26", "25+26+23", "25+17", "26+17", "25+26+20", "25+10", "26+15", "23+25", "25+26+10")
"""Units of speech: the mouth opens, and what else a sound needs."""


def _non_expression(
    generator: np.random.Generator,
    settings: Fields,
    resolution: int,
    kind: str,
    times: np.ndarray,
    intensity: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(units (N, units, 2), flow (N, T, 2, R, R) in face coordinates) of one of NON_EXPRESSIONS, as it looks once the
    head's motion is taken off: what is left of a turning head is what moves against the rest of it.
    """
    count = len(times)
    units = np.zeros((count, len(FIELD_UNITS), 2), np.float32)
    low, high = np.log(settings.peak)
    peak = np.exp(generator.uniform(low, high, (count, 1, 1))).astype(np.float32)
    others = None
    varied: dict[str, float] = {"blink": 0.3, "one_sided": 0.0}
    if kind == "speech":
        units = _intensities(
            generator, settings.model_copy(update=varied), SPOKEN, generator.integers(len(SPOKEN), size=count)
        )
    elif kind == "chewing":  # the jaw goes round, the cheeks follow
        others = _anywhere(generator, settings, resolution, count, ((-0.3, 0.3), (1.5, 1.9)), (0.3, 0.6), 2)
        others += _anywhere(generator, settings, resolution, count, ((-0.9, 0.9), (0.9, 1.4)), (0.15, 0.3), 2)
    elif kind == "blink":
        varied["blink"] = 1.0
    elif kind == "gaze":  # both eyes' balls and lids go the same way
        across = _anywhere(generator, settings, resolution, count, ((-0.5, -0.5), (0.0, 0.0)), (0.08, 0.15), 1)
        others = across + across[..., ::-1] * np.array([-1, 1], np.float32)[:, None, None] * generator.choice(
            (-1, 1), (count, 1, 1, 1)
        )
    elif kind == "head":
        varied["head"] = settings.head * 4
    elif kind == "light":  # flow programs follow shades as if they were skin
        varied["noise"] = 1.0
    else:
        others = _anywhere(generator, settings, resolution, count, ((-1.0, 1.0), (-0.8, 2.0)), (0.15, 0.5), 4)
    flow = _moved(generator, settings.model_copy(update=varied), resolution, units, times, intensity, peak, others)
    if kind == "head":
        flow += _in_depth(generator, settings, resolution, times)
    return units, flow


def _anywhere(
    generator: np.random.Generator,
    settings: Fields,
    resolution: int,
    count: int,
    box: tuple[tuple[float, float], tuple[float, float]],
    spread: tuple[float, float],
    pulls: int,
) -> np.ndarray:
    """(N, 2, R, R) float32: displacement by `pulls` Gaussian pulls at random places of `box` (x, y), any direction."""
    x, y = _axes(settings, resolution)
    position = np.stack([generator.uniform(*side, (count, pulls, 1)) for side in box], axis=-1)
    width, turn = generator.uniform(*spread, (count, pulls, 1)), generator.uniform(0, 2 * np.pi, (count, pulls))
    across = np.exp(-0.5 * ((x - position[..., 0]) / width) ** 2)
    down = np.exp(-0.5 * ((y - position[..., 1]) / width) ** 2)
    strength = generator.uniform(0.3, 1.0, (count, pulls))
    parts = [np.einsum("np,npy,npx->nyx", strength * way, down, across) for way in (np.cos(turn), np.sin(turn))]
    return np.stack(parts, axis=1).astype(np.float32)


def _in_depth(generator: np.random.Generator, settings: Fields, resolution: int, times: np.ndarray) -> np.ndarray:
    """(N, T, 2, R, R) float32: what a similarity cannot take off a turning head, to second order in x and y."""
    x, y = np.meshgrid(*_axes(settings, resolution))
    x, y = x / 1.3, (y - 0.4) / 1.3
    basis = np.stack([x * x, x * y, y * y]).astype(np.float32)
    amount = generator.standard_normal((len(times), 2, 3), dtype=np.float32) * (4 * settings.head)
    field = np.einsum("nck,khw->nchw", amount, basis)
    return ((times / settings.frames)[:, :, None, None, None] * field[:, None]).astype(np.float32)


def _background(generator: np.random.Generator, settings: Fields, resolution: int, times: np.ndarray) -> np.ndarray:
    """(N, T, 2, R, R) float32: what is behind the face moves against it once the head is held in place."""
    count = len(times)
    x, y = np.meshgrid(*_axes(settings, resolution))
    wide = generator.uniform(0.85, 1.1, (count, 1, 1))
    radius = np.sqrt((x / wide) ** 2 + ((y - 0.45) / (1.45 * wide)) ** 2)
    outside = np.clip((radius - 1) / 0.12 + 0.5, 0, 1)
    shift = generator.standard_normal((count, 2)) * settings.background * generator.uniform(0, 1, (count, 1))
    field = outside[:, None] * shift[..., None, None]
    return ((times / settings.frames)[:, :, None, None, None] * field[:, None]).astype(np.float32)


def _axes(settings: Fields, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """(R,) x and (R,) y in face coordinates, float32: centres of the map's columns and rows."""
    left, right, top, bottom = settings.crop or face_crop()
    share = (np.arange(resolution) + 0.5) / resolution
    return (left + share * (right - left)).astype(np.float32), (top + share * (bottom - top)).astype(np.float32)


def _pulls(
    generator: np.random.Generator, settings: Fields, resolution: int, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(N, 2, R, R) displacement by the units, and by lids that close wholly, each in face coordinates."""
    sites = place((*FIELD_UNITS, BLINK), canonical_landmarks())
    count, pulls = len(units), len(sites.unit)
    column = np.array([[*FIELD_UNITS, BLINK].index(unit) for unit in sites.unit])
    weights = np.concatenate([units, np.ones((count, 1, 2), np.float32)], axis=1)[:, column, sites.right.astype(int)]

    # Where the face lies in the crop, how large it is, and its own shape: all move the sites.
    size = 1 + settings.place * generator.standard_normal((count, 1, 1), dtype=np.float32)
    shift = settings.place * generator.standard_normal((count, 1, 2), dtype=np.float32)
    person = settings.shape * generator.standard_normal((count, pulls, 2), dtype=np.float32)
    position = (sites.position + person) * size + shift
    spread = (sites.spread * generator.uniform(*settings.spread, (count, pulls, 1)) * size).astype(np.float32)
    x, y = _axes(settings, resolution)
    across = np.exp(-0.5 * ((x - position[..., :1]) / spread[..., :1]) ** 2).astype(np.float32)
    down = np.exp(-0.5 * ((y - position[..., 1:]) / spread[..., 1:]) ** 2).astype(np.float32)

    blink = column == len(FIELD_UNITS)
    fields = []
    for pulled in (~blink, blink):
        parts = []
        for direction in (0, 1):
            amount = weights[:, pulled] * sites.direction[pulled, direction].astype(np.float32)
            # (N, R, pulls) x (N, pulls, R): the sum over pulls of outer products
            parts.append(np.matmul((down[:, pulled] * amount[..., None]).transpose(0, 2, 1), across[:, pulled]))
        fields.append(np.stack(parts, axis=1))
    action, lids = fields
    return action, lids * np.float32(0.14)  # the eye's opening


def _blinks(generator: np.random.Generator, settings: Fields, times: np.ndarray) -> np.ndarray:
    """(N, T) float32: how far the lids are closed, against the onset."""
    count, frames = times.shape
    happens = generator.random((count, 1)) < settings.blink
    start, length = generator.uniform(-0.6, 1.0, (count, 1)), generator.uniform(0.3, 1.0, (count, 1))
    at = np.concatenate([np.zeros((count, 1)), times / frames if frames > 1 else np.full((count, 1), 0.5)], axis=1)
    share = np.clip((at - start) / length, 0, 1)
    closed = 0.5 - 0.5 * np.cos(2 * np.pi * share)
    return (happens * (closed[:, 1:] - closed[:, :1])).astype(np.float32)


def _head(generator: np.random.Generator, settings: Fields, resolution: int, times: np.ndarray) -> np.ndarray:
    """(N, T, 2, R, R) float32: the head's shift, turn, growth and nod or turn in depth (the nose moves most)."""
    count, frames = times.shape
    amount = generator.standard_normal((count, 6, 1), dtype=np.float32) * settings.head
    bend = generator.uniform(0.6, 1.6, (count, 6, 1))
    at = times[:, None] / frames
    course = (amount * at**bend).astype(np.float32)  # (N, 6, T)
    x, y = np.meshgrid(*_axes(settings, resolution))
    nose = 0.5 * np.exp(-0.5 * ((x / 0.3) ** 2 + ((y - 0.5) / 0.35) ** 2))
    rim = 1.3  # from the face's centre, (0, 0.4)
    x, y = x / rim, (y - 0.4) / rim
    one, none = np.ones_like(x), np.zeros_like(x)
    basis = np.stack(
        [
            np.stack([one, none]),
            np.stack([none, one]),
            np.stack([-y, x]),  # turn
            np.stack([x, y]),  # growth
            np.stack([nose, none]),
            np.stack([none, nose]),
        ]
    ).astype(np.float32)
    return np.einsum("nkt,kchw->ntchw", course, basis, optimize=True)
