"""One fold: it learns, continues bit for bit, and cannot know its test subject."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import tiny

from slstt.config.train import TrainConfig
from slstt.models.slstt import SLSTT
from slstt.training.flow_data import FlowData, read_data
from slstt.training.folds import leave_one_subject_out, with_validation
from slstt.training.inputs import FlowInputs, FrozenFeatures, compute_features, open_features
from slstt.training.run import make_folds
from slstt.training.trainer import Callbacks, FoldFailed, FoldSetup, Trained, make_model, train_fold

CPU = torch.device("cpu")
EVERYTHING = (
    "training.augment.mirror=true",
    "training.augment.rotate=10",
    "training.augment.jitter=0.5",
    "training.ema=0.9",
    "training.balance=sampling",
    "training.clip_norm=1",
    "training.label_smoothing=0.1",
    "training.accumulate=2",
    "data.normalize=train",
    "selection.method=inner",
    "selection.subjects=0.4",
    "run.peek=true",
    "run.checkpoint_seconds=0",
)


def trained(settings: TrainConfig, folder: Path, stop: Callable[[], bool] = lambda: False, data=None) -> Trained | None:
    data = data or read_data(settings.data, settings.model.image_size)
    fold = make_folds(settings, data)[0]
    folder.mkdir(parents=True, exist_ok=True)
    inputs = FlowInputs(data, settings, CPU, fold.train)
    return train_fold(FoldSetup(fold, data, settings, inputs, folder, CPU), Callbacks(stop))


def bits(found: Trained | None) -> tuple:
    assert found is not None
    weights = {name: value.numpy().tobytes() for name, value in found.model.state_dict().items()}
    return found.probabilities.tobytes(), found.history.epochs, found.history.peek, found.epoch, weights


@pytest.mark.parametrize(
    "recipe",
    [
        EVERYTHING,
        ("training.optimizer=sgd", "model.regularizer=dropout"),
        ("encoder.trainable=norm", "encoder.dropout=0.3"),
    ],
)
def test_a_fold_stopped_after_every_single_step_ends_with_the_same_bits(tmp_path, flow_root, recipe) -> None:
    settings = tiny(flow_root, *recipe)
    whole = bits(trained(settings, tmp_path / "whole"))
    stops = 0
    while (found := trained(settings, tmp_path / "pieces", stop=lambda: True)) is None:
        stops += 1
        torch.rand(stops)  # whatever else this process does with random numbers must not matter
    assert bits(found) == whole
    assert stops >= 3


def maps(count: int = 18, size: int = 16) -> FlowData:
    """Random flow maps of three subjects."""
    generator = torch.Generator().manual_seed(0)
    names = tuple(str(number) for number in range(count))
    return FlowData(
        keys=tuple(sorted(("smic", f"s{number % 3}", name.zfill(2)) for number, name in enumerate(names))),
        labels=tuple(number % 3 for number in range(count)),
        classes=("negative", "positive", "surprise"),
        fingerprint="random",
        fingerprints=names,
        frames=1,
        channels=3,
        image_size=size,
        held={i: torch.randn(1, 3, size, size, generator=generator) for i in range(count)},
    )


@pytest.mark.parametrize("more", [(), ("training.ema=0.9", "selection.method=inner", "selection.subjects=0.4")])
def test_batch_norms_statistics_survive_an_interruption(tmp_path, more: tuple[str, ...]) -> None:
    settings, data = tiny(tmp_path, "data.kind=flow_maps", "classifier.name=ststnet", *more), maps()
    whole = bits(trained(settings, tmp_path / "whole", data=data))
    while (found := trained(settings, tmp_path / "pieces", stop=lambda: True, data=data)) is None:
        pass
    assert bits(found) == whole
    assert any("running_mean" in name for name in whole[-1])


def test_the_best_epoch_keeps_its_own_statistics(tmp_path) -> None:
    """The scores of the chosen epoch are those of the model that predicts, BatchNorm's statistics included."""
    more = ("selection.method=inner", "selection.subjects=0.4", "training.epochs=6", "run.peek=true")
    settings = tiny(tmp_path, "data.kind=flow_maps", "classifier.name=ststnet", *more, "training.learning_rate=0.1")
    found = trained(settings, tmp_path / "run", data=maps())
    assert found is not None and found.epoch < 6, "the last epoch would prove nothing"
    assert found.model.get_buffer("streams.2.num_batches_tracked") == found.epoch  # one batch an epoch


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path, flow_root) -> None:
    first, second, other = (
        bits(trained(tiny(flow_root, *EVERYTHING, f"run.seed={seed}"), tmp_path / str(i)))
        for i, seed in enumerate((1, 1, 2))
    )
    assert first == second and first[0] != other[0]


def test_what_the_test_subject_looks_like_cannot_change_what_is_learned(tmp_path, flow_root) -> None:
    """The test subject's clips are replaced by noise and its classes exchanged: the weights keep every bit."""
    settings = tiny(flow_root, *EVERYTHING)
    data = read_data(settings.data, settings.model.image_size)
    honest = bits(trained(settings, tmp_path / "honest"))
    fold = make_folds(settings, data)[0]
    noise = {i: torch.randn(3, 2, 16, 16).half() * 100 for i in fold.test}
    labels = tuple((label + 1) % 3 if i in fold.test else label for i, label in enumerate(data.labels))
    strange = FlowData(**{**vars(data), "labels": labels, "held": {**data.held, **noise}, "sums": {}})
    found = bits(trained(settings, tmp_path / "strange", data=strange))
    assert found[0] != honest[0], "the noise must have been seen when predicting"
    assert found[1] == honest[1] and found[3:] == honest[3:]


def test_peeking_changes_nothing_but_the_diagnosis(tmp_path, flow_root) -> None:
    plain = trained(tiny(flow_root), tmp_path / "plain")
    peeking = trained(tiny(flow_root, "run.peek=true"), tmp_path / "peeking")
    assert plain is not None and peeking is not None
    assert plain.probabilities.tobytes() == peeking.probabilities.tobytes() and plain.epoch == peeking.epoch == 3
    assert plain.history.peek == [] and len(peeking.history.peek) == 3
    assert peeking.history.peek[-1] == peeking.probabilities.argmax(1).tolist()


def test_the_inner_choice_takes_the_epoch_that_is_best_on_validation(tmp_path, flow_root) -> None:
    found = trained(tiny(flow_root, "selection.method=inner", "training.epochs=8", "run.peek=true"), tmp_path)
    assert found is not None
    rows = found.history.epochs
    best = max(rows, key=lambda row: (row["inner_uf1"], -row["inner_loss"]))
    assert found.epoch == best["epoch"]
    assert found.history.peek[found.epoch - 1] == found.probabilities.argmax(1).tolist()


def test_it_learns(tmp_path, flow_root) -> None:
    recipe = ("training.epochs=40", "training.batch_size=4", "training.learning_rate=1e-2", "data.normalize=train")
    found = trained(tiny(flow_root, *recipe), tmp_path)
    data = read_data(tiny(flow_root).data, 16)
    assert found is not None
    true = [data.labels[i] for i in leave_one_subject_out(data.keys)[0].test]
    assert (found.probabilities.argmax(1) == true).all()
    assert found.history.epochs[-1]["train_loss"] < 0.3 < found.history.epochs[0]["train_loss"]


@pytest.mark.parametrize("recipe", ["training.optimizer=sgd training.learning_rate=1e6", "training.learning_rate=1e6"])
def test_a_loss_that_is_not_finite_fails_the_fold_with_its_reason(tmp_path, flow_root, recipe) -> None:
    with pytest.raises(FoldFailed, match=r"not finite|the loss is (nan|inf) in epoch \d, step \d; lower"):
        trained(tiny(flow_root, *recipe.split(), "training.warmup_epochs=0"), tmp_path)


def test_pieces_of_a_batch_add_up_to_its_gradient(tmp_path, flow_root) -> None:
    recipe = ("training.balance=loss", "training.epochs=2", "model.drop_path=0", "training.optimizer=sgd")
    whole, pieces = (
        trained(tiny(flow_root, *recipe, f"training.accumulate={count}"), tmp_path / str(count)) for count in (1, 4)
    )
    assert whole is not None and pieces is not None
    # The same sums in another order, through four steps. Worst seen: 1e-8.
    np.testing.assert_allclose(whole.probabilities, pieces.probabilities, rtol=0, atol=1e-5)


MODES = {
    "all": {
        "encoder.patch",
        "encoder.class",
        "encoder.positions",
        "encoder.blocks.0",
        "encoder.blocks.1",
        "encoder.norm",
    },
    "last:1": {"encoder.blocks.1", "encoder.norm"},
    "norm": {"encoder.norm"},
    "none": set(),
}


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_trains_exactly_its_part(tmp_path, flow_root, mode: str) -> None:
    settings = tiny(flow_root, f"encoder.trainable={mode}", "training.optimizer=sgd", "training.weight_decay=0.1")
    found = _with_features(settings, tmp_path)[0] if mode != "all" else trained(settings, tmp_path / "fold")
    assert found is not None
    before = make_model(settings, 3).state_dict()
    for name, value in found.model.state_dict().items():
        changed = not torch.equal(value, before[name])
        learns = name.startswith("aggregator") or any(name.startswith(part) for part in MODES[mode])
        assert changed == learns, name


def test_the_frozen_encoder_sees_every_frame_once_however_many_epochs_and_folds(
    tmp_path, flow_root, monkeypatch
) -> None:
    frames = 0
    frozen, embed = SLSTT.frozen_features, type(make_model(tiny(flow_root), 3).encoder).embed

    def counted(self, pictures):
        nonlocal frames
        frames += len(pictures)
        return embed(self, pictures)

    monkeypatch.setattr(type(make_model(tiny(flow_root), 3).encoder), "embed", counted)
    settings = tiny(flow_root, "encoder.trainable=norm", "training.epochs=5")
    data = read_data(settings.data, 16)
    _with_features(settings, tmp_path, folds=3)
    assert frames == len(data) * data.frames
    _with_features(
        settings.model_copy(update={"training": settings.training.model_copy(update={"epochs": 2})}), tmp_path
    )
    assert frames == len(data) * data.frames, "another recipe on the same features computes none"
    assert SLSTT.frozen_features is frozen


@pytest.mark.parametrize("mode", ["norm", "last:1"])
def test_training_on_stored_features_equals_training_on_pictures(tmp_path, flow_root, mode: str) -> None:
    settings = tiny(flow_root, f"encoder.trainable={mode}", "data.normalize=map")
    stored = _with_features(settings, tmp_path / "stored")[0]
    computed = trained(settings, tmp_path / "computed")
    assert stored is not None and computed is not None
    # Frames go through the encoder in other batches, so sums differ in the last bits. Worst seen: 1e-8.
    np.testing.assert_allclose(stored.probabilities, computed.probabilities, rtol=0, atol=1e-5)


def test_dropout_in_frozen_blocks_changes_what_is_learned_and_not_what_is_frozen(tmp_path, flow_root) -> None:
    settings = tiny(flow_root, "encoder.trainable=norm", "encoder.dropout=0.3")
    plain = trained(tiny(flow_root, "encoder.trainable=norm"), tmp_path / "plain")
    found = trained(settings, tmp_path / "dropout")
    assert plain is not None and found is not None
    assert found.history.epochs[0]["train_loss"] != plain.history.epochs[0]["train_loss"]
    before = make_model(settings, 3).state_dict()
    for name, value in found.model.state_dict().items():
        assert torch.equal(value, before[name]) == (not name.startswith(("encoder.norm", "aggregator"))), name


def test_mirrored_views_are_kept_beside_the_clips_own(tmp_path, flow_root) -> None:
    settings = tiny(flow_root, "encoder.trainable=none", "training.augment.mirror=true")
    data = read_data(settings.data, 16)
    features = open_features(make_model(settings, 3), data, settings, tmp_path)
    inputs = FlowInputs(data, settings, CPU, ())
    assert compute_features(features, make_model(settings, 3), inputs.plain, settings, CPU) == 2 * 18 * 3
    views = features.read(4)
    assert views.shape == (2, 3, 16) and not torch.equal(views[0], views[1])
    stored = FrozenFeatures(features, CPU)
    ((_, batch),) = stored.read([[4] * 200])
    chosen = stored.training(batch, torch.Generator().manual_seed(0))
    mirrored = (chosen != views[0]).flatten(1).any(1)
    assert 60 < mirrored.sum() < 140 and torch.equal(stored.plain(batch)[0], views[0])


def test_features_of_another_flow_encoding_or_encoder_are_computed_anew(tmp_path, flow_root) -> None:
    settings = tiny(flow_root, "encoder.trainable=norm")
    data = read_data(settings.data, 16)

    def missing(settings: TrainConfig, data: FlowData) -> int:
        return len(open_features(make_model(settings, 3), data, settings, tmp_path).missing())

    _with_features(settings, tmp_path)
    assert missing(settings, data) == 0
    for change in ("data.encoding=hsv_clip", "data.normalize=map", "run.seed=5", "model.heads=4"):
        assert missing(tiny(flow_root, "encoder.trainable=norm", change), data) == 18, change
    other = FlowData(**{**vars(data), "fingerprints": ("changed", *data.fingerprints[1:])})
    assert missing(settings, other) == 1
    path = open_features(make_model(settings, 3), data, settings, tmp_path).path(7)
    path.write_bytes(path.read_bytes()[:100])
    assert missing(settings, data) == 1


def test_bf16_learns_about_the_same(tmp_path, flow_root) -> None:
    plain, half = (trained(tiny(flow_root, f"run.precision={name}"), tmp_path / name) for name in ("fp32", "bf16"))
    assert plain is not None and half is not None
    # Eight bits of mantissa through six steps of a tiny network. Worst seen: 0.002.
    np.testing.assert_allclose(plain.probabilities, half.probabilities, rtol=0, atol=0.05)
    assert plain.probabilities.tobytes() != half.probabilities.tobytes()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("recipe", [(), ("run.precision=bf16",), ("run.compile=true",)])
def test_a_gpu_gives_about_what_the_cpu_gives(tmp_path, flow_root, recipe) -> None:
    settings = tiny(flow_root, *EVERYTHING[:3], *recipe)
    data = read_data(settings.data, 16)
    fold, found = make_folds(settings, data)[0], []
    for name in ("cpu", "cuda"):
        device = torch.device(name)
        inputs = FlowInputs(data, settings, device, fold.train)
        (tmp_path / name).mkdir()
        found.append(train_fold(FoldSetup(fold, data, settings, inputs, tmp_path / name, device)))
    assert found[0] is not None and found[1] is not None
    np.testing.assert_allclose(found[0].probabilities, found[1].probabilities, rtol=0, atol=0.1)


def test_a_validation_subject_never_enters_the_statistics(flow_root) -> None:
    settings = tiny(flow_root, "data.normalize=train")
    data = read_data(settings.data, 16)
    fold = with_validation(leave_one_subject_out(data.keys)[0], data.keys, 0.5, 0)
    found = FlowInputs(data, settings, CPU, fold.train)
    assert found.mean is not None
    expected, _ = data.statistics(fold.train, "uv_magnitude")
    assert torch.equal(found.mean[:, 0, 0], expected)
    assert not torch.equal(expected, data.statistics((*fold.train, *fold.validation), "uv_magnitude")[0])


def _with_features(settings: TrainConfig, folder: Path, folds: int = 1) -> list[Trained | None]:
    data = read_data(settings.data, settings.model.image_size)
    model = make_model(settings, len(data.classes))
    features = open_features(model, data, settings, folder)
    compute_features(features, model, FlowInputs(data, settings, CPU, ()).plain, settings, CPU)
    found = []
    for number, fold in enumerate(make_folds(settings, data)[:folds]):
        inputs = FrozenFeatures(features, CPU)
        part = folder / f"{settings.training.epochs}-{number}"
        found.append(train_fold(FoldSetup(fold, data, settings, inputs, part, CPU)))
    return found
