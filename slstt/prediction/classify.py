"""One interval of a recording -> the flow the network wants, by the steps that make training clips.

Frames are first mapped onto the apex frame by `FaceMotion.stabilization`, so that the head does not move. Then, as in
slstt-preprocess: the square of the apex frame's landmarks (or the crop the weights were trained on), the apex-first
choice of frames, made-up frames where the interval is short, and flow from the onset.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from slstt.config.load import load_config
from slstt.config.preprocess import PredictConfig, PreprocessConfig, SquarePlace
from slstt.datasets.synthetic.flow_fields import PUBLISHED_CROP
from slstt.errors import ConfigError, DataError, Problems, WeightsError, listed
from slstt.face.crop import cut, face_square
from slstt.files import sha256
from slstt.flow.encoding import encode, min_max, normalized, resize_pictures, resized
from slstt.flow.flow_files import storable
from slstt.flow.interpolation import FramePlan, Rife, fill
from slstt.flow.optical_flow import consecutive_flow, onset_flow, strain
from slstt.images import Picture
from slstt.models.model_file import SYNTHETIC, ModelInput, load_model, read_model_input
from slstt.models.readout import Readout, load_readout
from slstt.models.slstt import SLSTT
from slstt.prediction.face_motion import FaceMotion, Interval
from slstt.preprocessing.clip import nearest_place, plan_frames
from slstt.training.run_folder import CONFIG, FOLDS

Crop = tuple[float, float, float, float]
IntervalFrames = Callable[[Iterable[int]], Iterator[tuple[int, Picture]]]
"""`Recording.at`: the frames of these numbers, in rising order, as (number, RGB uint8 picture)."""


class Unclassifiable(Exception):
    """The interval cannot be put through preprocessing: a line that says why."""


@dataclass(frozen=True)
class IntervalFlow:
    """What stands for an interval."""

    flow: np.ndarray
    """(T, 2, H, W) float32 from the onset, in pixels of the crop."""
    shown: dict[str, Picture]
    """The crop on the frames `onset`, `apex`, `offset`."""
    apex_place: int
    """Which of the T is nearest to the apex."""
    eyes: float
    """Distance between the eyes in pixels of the crop."""
    remarks: tuple[str, ...]


@dataclass
class _IntervalPlan:
    """An interval in the making. Places count its frames with a face, from the onset (0) on."""

    place: int
    """Of the apex."""
    last: int
    frames: FramePlan
    wanted: dict[int, int]
    """Frame number -> place."""
    onto_apex: np.ndarray
    """(3, 3): from the stabilized frames onto the apex frame."""
    crop_face: Callable[[Picture, np.ndarray], Picture]
    eyes: float
    remarks: list[str]
    cuts: dict[int | float, Picture] = field(default_factory=dict)


def interval_flows(
    frames: IntervalFrames,
    motion: FaceMotion,
    intervals: Sequence[Interval],
    crop: Crop | None,
    config: PreprocessConfig,
    rife: Callable[[], Rife],
) -> Iterator[tuple[int, IntervalFlow | Unclassifiable]]:
    """(place in `intervals`, its flow or why there is none) for each, in one pass over the frames they need.

    Only faces are kept, and those of an interval only until its last frame. `crop` as in `ModelInput`; `rife` is
    called where frames have to be made up.
    """
    plans: dict[int, _IntervalPlan] = {}
    for index, interval in enumerate(intervals):
        try:
            plans[index] = _plan(motion, interval, crop, config)
        except Unclassifiable as why:
            yield index, why
    for number, picture in frames(sorted({n for plan in plans.values() for n in plan.wanted})):
        for index in [index for index, plan in plans.items() if number in plan.wanted]:
            plan = plans[index]
            matrix = plan.onto_apex @ _whole(motion.stabilization[number])
            plan.cuts[plan.wanted[number]] = plan.crop_face(picture, matrix[:2])
            if len(plan.cuts) == len(plan.wanted):
                yield index, _flow(plans.pop(index), config, rife)
    for index in plans:
        yield index, Unclassifiable("a frame of it could not be read")


def _plan(motion: FaceMotion, interval: Interval, crop: Crop | None, config: PreprocessConfig) -> _IntervalPlan:
    numbers = [
        n
        for n in range(interval.onset, interval.offset + 1)
        if np.isfinite(motion.stabilization[n]).all() and np.isfinite(motion.landmarks[n]).all()
    ]
    if interval.onset not in numbers:
        raise Unclassifiable(f"no face on its onset, frame {interval.onset}")
    if len(numbers) < 2:
        raise Unclassifiable(f"no frame with a face after its onset {interval.onset} up to {interval.offset}")
    remarks = []
    if lost := interval.offset + 1 - interval.onset - len(numbers):
        remarks.append(f"{lost} of its frames show no face and are left out")
    place = max(1, nearest_place(numbers, interval.apex))  # the flow from the onset to itself would say nothing
    apex = numbers[place]
    if apex != interval.apex:
        remarks.append(f"frame {apex} stands for its apex, {interval.apex}")
    plan = plan_frames(numbers, place, config)
    if plan.inserted:
        made = f"{len(plan.inserted)} of {len(plan.positions)} frames were made up"
        remarks.append(f"{made} ({config.interpolation.method}), since it is short")
    wanted = {numbers[at]: at for at in (0, place, len(numbers) - 1, *plan.needed)}
    onto_apex = np.linalg.inv(_whole(motion.stabilization[apex]))
    crop_face, eyes = _crop_function(motion.landmarks[apex], crop, config.crop.at_most, config.crop.place)
    return _IntervalPlan(place, len(numbers) - 1, plan, wanted, onto_apex, crop_face, eyes, remarks)


def _flow(plan: _IntervalPlan, config: PreprocessConfig, rife: Callable[[], Rife]) -> IntervalFlow | Unclassifiable:
    positions = plan.frames.positions
    method = config.interpolation.method if plan.frames.inserted else "none"
    filled = fill(plan.cuts, positions, method, rife() if method == "rife" else None)
    stack = np.stack([plan.cuts[0], *(filled[position] for position in positions)])
    between = onset_flow if config.flow.reference == "onset" else consecutive_flow
    flow = between(stack, config.flow.method, config.flow.grey)
    if not storable(flow):
        return Unclassifiable("its flow holds values that are not finite")
    return IntervalFlow(
        flow,
        {"onset": plan.cuts[0], "apex": plan.cuts[plan.place], "offset": plan.cuts[plan.last]},
        min(range(len(positions)), key=lambda t: abs(positions[t] - plan.place)),
        plan.eyes,
        tuple(plan.remarks),
    )


def _crop_function(
    landmarks: np.ndarray, crop: Crop | None, at_most: int, place: SquarePlace
) -> tuple[Callable[[Picture, np.ndarray], Picture], float]:
    """(from a frame and its (2, 3) map onto the apex frame to the face, the paper's square or `crop`; the distance
    between the eyes there, in pixels). The cut has the face's size in the frame, or is shrunk to `at_most` pixels.
    """
    eyes = np.array([landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)], np.float64)
    across = eyes[1] - eyes[0]
    interocular = float(np.hypot(*across))
    if interocular < 2:
        raise Unclassifiable(f"the eyes lie {interocular:.1f} pixels apart on its apex frame")
    if crop is None:
        try:
            square = face_square(landmarks, place)
        except DataError as error:
            raise Unclassifiable(str(error)) from error
        side = min(square[2], at_most)
        scaled = interocular * side / square[2]
        return lambda picture, matrix: cut(_stabilized(picture, matrix), square, side), scaled

    left, right, top, bottom = crop
    # At the frame's scale first, then shrunk as `cut` does: a warp alone would skip pixels of a large face.
    unscaled = (max(2, round((right - left) * interocular)), max(2, round((bottom - top) * interocular)))
    scale = min(1.0, at_most / max(unscaled))
    size = (max(2, round(unscaled[0] * scale)), max(2, round(unscaled[1] * scale)))
    turn = np.array([[across[0], across[1]], [-across[1], across[0]]]) / interocular  # the eyes' line becomes level
    corner = np.array([left, top]) * interocular
    level = np.eye(3)
    level[:2, :2], level[:2, 2] = turn, -turn @ eyes.mean(axis=0) - corner

    def crop_by_eyes(picture: Picture, matrix: np.ndarray) -> Picture:
        piece = _warp(picture, (level @ _whole(matrix))[:2], unscaled)
        return (
            piece if size == unscaled else np.asarray(cv2.resize(piece, size, interpolation=cv2.INTER_AREA), np.uint8)
        )

    return crop_by_eyes, interocular * scale


def _stabilized(picture: Picture, matrix: np.ndarray) -> Picture:
    """The frame moved so that the head is where it is on the apex frame."""
    if np.abs(matrix - np.eye(3)[:2]).max() < 1e-9:
        return picture
    return _warp(picture, matrix, (picture.shape[1], picture.shape[0]))


def _warp(picture: Picture, matrix: np.ndarray, size: tuple[int, int]) -> Picture:
    moved = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _whole(matrix: np.ndarray) -> np.ndarray:
    """(2, 3) -> (3, 3)."""
    return np.vstack([matrix, [0.0, 0.0, 1.0]])


DEFAULT = "synthetic_recording"
"""The shipped weights that `default` stands for."""
HELD_BYTES = 2 * 10**9
"""Models of up to this size together stay in memory; larger ones are read again for each recording."""


@dataclass(frozen=True)
class Reading:
    """What the weights of slstt-pretrain tell of an interval beside its class."""

    units: tuple[tuple[float, float], ...] = ()
    """Probability of each action unit on the person's left and right."""
    none: float | None = None
    """Probability that the motion is no expression; None where they do not tell."""


@dataclass(frozen=True)
class IntervalClassifier:
    """Networks of one input and one set of classes."""

    source: str
    """As given."""
    paths: tuple[Path, ...]
    wanted: ModelInput
    """Of the first; the others differ in `mean`, `deviation` and `left_out` alone."""
    remarks: tuple[str, ...] = ()

    @property
    def crop(self) -> tuple[float, float, float, float] | None:
        """As `ModelInput.crop`; published maps do not say what they show, so it is what they seem to show."""
        return self.wanted.crop or (PUBLISHED_CROP if self.wanted.kind == "flow_maps" else None)

    @property
    def shipped(self) -> bool:
        """Whether the weights came with slstt."""
        return self.paths[0].parent == SYNTHETIC.parent

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """SHA-256 of each file."""
        return tuple(sha256(path) for path in self.paths)

    @cached_property
    def _held(self) -> dict[Path, tuple[SLSTT, ModelInput]]:
        if sum(path.stat().st_size for path in self.paths) > HELD_BYTES:
            return {}
        return {path: _load_models(path) for path in self.paths}

    @cached_property
    def _readouts(self) -> tuple[Readout, ...]:
        """One for each model; none where a model lacks it, as those of slstt-train do."""
        found = [load_readout(path) for path in self.paths]
        alike = len({one.numbers for one in found if one is not None}) == 1
        return tuple(one for one in found if one is not None) if alike and None not in found else ()

    @property
    def units(self) -> tuple[int, ...]:
        """The action units that the networks tell beside the class; () where they tell none."""
        return self._readouts[0].numbers if self._readouts else ()

    @property
    def tells_none(self) -> bool:
        """Whether the networks tell an expression from other motion."""
        return bool(self._readouts) and all(readout.none is not None for readout in self._readouts)

    def load(self) -> None:
        """Read the models now, so that a damaged one is found before any work. Raises WeightsError."""
        _ = self._readouts
        if not self._held:
            for path in self.paths:
                _load_models(path)

    def models(self):
        """Each model with what it wants, in evaluation mode."""
        for path in self.paths:
            yield self._held.get(path) or _load_models(path)

    def probabilities(self, flows: Sequence[Float[Tensor, "T 2 H W"]]) -> Float[Tensor, "N K"]:
        """Intervals' flow in pixels of the crop (each T, 2, H, W) -> probabilities (N, K), averaged over the models.

        Raises WeightsError naming the file whose answer is not finite.
        """
        total = torch.zeros(len(flows), len(self.wanted.classes), dtype=torch.float64)
        for path, (model, wanted) in zip(self.paths, self.models(), strict=True):
            for row, flow in enumerate(flows):
                answer = logits(model, wanted, flow).double()
                if not answer.isfinite().all():
                    raise WeightsError(f"{path}: its answer is not finite; give other weights")
                total[row] += answer.softmax(0)
        return total / len(self.paths)

    @torch.inference_mode()
    def readings(self, flows: Sequence[Float[Tensor, "T 2 H W"]]) -> list[Reading]:
        """What the networks tell beside the class of each interval's flow; empty readings where they tell nothing."""
        if not self._readouts:
            return [Reading() for _ in flows]
        found = []
        for flow in flows:
            units, none = torch.zeros(len(self.units), 2, dtype=torch.float64), 0.0
            for readout, (model, wanted) in zip(self._readouts, self.models(), strict=True):
                device = next(model.parameters()).device
                by_unit, no_expression = readout(model.encode(pictures(wanted, flow).to(device))[None].cpu())
                units += by_unit[0].double().sigmoid() / len(self.paths)
                none += 0.0 if no_expression is None else float(no_expression.double().sigmoid()) / len(self.paths)
            by_side = tuple((right, left) for left, right in units.tolist())  # the picture's left is the person's right
            found.append(Reading(by_side, none if self.tells_none else None))
        return found


@torch.inference_mode()
def logits(model: SLSTT, wanted: ModelInput, flow: Float[Tensor, "T 2 H W"]) -> Float[Tensor, " K"]:
    """One model's answer to one interval."""
    device = next(model.parameters()).device
    return model(pictures(wanted, flow)[None].to(device))[0].cpu()


def pictures(wanted: ModelInput, flow: Float[Tensor, "T 2 H W"]) -> Float[Tensor, "T 3 S S"]:
    """Flow in pixels of the crop -> what the network sees, as slstt-train and slstt-pretrain make it."""
    height, width = flow.shape[-2:]
    if wanted.kind == "flow_maps":
        small = resized(flow, wanted.image_size).float()
        maps = torch.cat([small, torch.from_numpy(strain(small.numpy()))[:, None]], dim=1)
        encoded = torch.from_numpy(2 * min_max(maps[None].numpy()) - 1)
    else:
        square = flow if height == width else resized(flow, max(height, width))  # the crop, stretched to a square
        encoded = resize_pictures(encode(square[None].float(), wanted.encoding), wanted.image_size)
    if wanted.mean is not None and wanted.deviation is not None:
        mean, deviation = (torch.tensor(x)[:, None, None] for x in (wanted.mean, wanted.deviation))
        return ((encoded - mean) / deviation)[0]
    return normalized(encoded, wanted.normalize)[0]


def find_classifier(source: str) -> IntervalClassifier:
    """The networks that `source` means: `default`, a shipped name, a model file, or a run folder.

    Raises WeightsError where there are none, where one is not a model file of slstt, or where they do not go together.
    """
    shipped = {path.stem: path for path in sorted(SYNTHETIC.parent.glob("*.safetensors"))}
    path, remarks = Path(source), []
    if source == "default":
        paths = [shipped[DEFAULT]]
    elif path.is_dir():
        paths, remarks = _models_of_run(path)
    elif path.is_file():
        paths = [path]
    elif source in shipped:
        paths = [shipped[source]]
    else:
        raise WeightsError(f"{source}: no such model file or run folder; give one, or default")
    wanted = [read_model_input(path) for path in paths]
    plain = [replace(one, mean=None, deviation=None, left_out="") for one in wanted]
    odd = [str(path) for path, one in zip(paths, plain, strict=True) if one != plain[0]]
    if odd:
        raise WeightsError(f"{odd[0]}: wants other input or names other classes than {paths[0]}; give one run's folds")
    return IntervalClassifier(source, tuple(paths), wanted[0], tuple(remarks))


def _load_models(path: Path) -> tuple[SLSTT, ModelInput]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_model(path).to(device), read_model_input(path)


def _models_of_run(run: Path) -> tuple[list[Path], list[str]]:
    """The model files of a run of slstt-train (or of slstt-pretrain), and remarks on them."""
    if (run / "model.safetensors").is_file():
        return [run / "model.safetensors"], []
    found = sorted(run.glob("folds/*/model.safetensors"))
    if not found:
        raise WeightsError(f"{run}: {_why_none(run)}")
    try:
        folds = [fold["name"] for fold in json.loads((run / FOLDS).read_text(encoding="utf-8"))["folds"]]
        if not all(isinstance(name, str) for name in folds):
            raise TypeError("a fold's name is text")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return found, [f"{run}: {FOLDS} is missing or unreadable, so folds may be missing"]
    missing = sorted(set(folds) - {path.parent.name for path in found})
    if not missing:
        return found, []
    return found, [f"{run}: {len(missing)} of {len(folds)} folds have no model yet: {listed(missing, 5)}"]


def _why_none(run: Path) -> str:
    try:
        settings = yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))
        name = settings["classifier"]["name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError):
        return f"not a run folder (no folds/*/model.safetensors and no {CONFIG}); give a run of slstt-train"
    if name != "slstt":
        return f"its classifier is {name}, which leaves no network behind; give a run with classifier.name=slstt"
    return "holds no models of its folds; train with run.save_models=true"


SECTIONS = ("frames", "crop", "interpolation", "flow")
"""Of slstt-preprocess; its defaults, or what the weights' own clips were made with."""


def read_settings(classifier: IntervalClassifier, overrides: Sequence[str]) -> tuple[PredictConfig, list[str]]:
    """(the settings, lines about where they are from): the weights' own first, then `section.key=value` overrides.

    Raises ConfigError listing everything wrong.
    """
    sections, remarks = _of_weights(classifier)
    frames = classifier.wanted.frames
    before = [
        f"{section}.{key}={json.dumps(value)}" for section in SECTIONS for key, value in sections[section].items()
    ]
    problems, settings = Problems(), PredictConfig()
    given = {
        value.strip() for name, _, value in (o.partition("=") for o in overrides) if name.strip() == "frames.count"
    }
    if given - {str(frames)}:
        problems.add(ConfigError(f"'frames.count': the weights take {frames}; leave it out"))
    with problems.collecting():
        settings = load_config(PredictConfig, None, [*before, *overrides, f"frames.count={frames}"])
    problems.raise_if_any()
    return settings, remarks


def _of_weights(classifier: IntervalClassifier) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The preprocessing of the clips that the networks learned from, as far as their files tell it."""
    found, wanted = classifier.wanted.preprocessing, classifier.wanted
    if isinstance(found, dict):
        if "size" in (found.get("crop") or {}):
            raise ConfigError(
                f"{classifier.source}: learned from flow of an earlier version of slstt (crop.size); preprocess and "
                "train again"
            )
        return {s: dict(found[s]) if isinstance(found.get(s), dict) else {} for s in SECTIONS}, []
    remarks = []
    if wanted.kind == "cache" and not wanted.trained_on:  # what was drawn was never preprocessed
        what = "does not say how its clips were preprocessed; the default settings of slstt-preprocess are taken"
        remarks = [f"{classifier.source}: {what}"]
    return {section: {} for section in SECTIONS}, remarks
