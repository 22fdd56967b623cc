"""The models that a run kept of its folds, each with clips of the subject it never saw."""

from collections.abc import Iterator

import torch

from slstt.config.train import TrainConfig
from slstt.errors import DataError
from slstt.evaluation.attention import AttentionInput
from slstt.evaluation.run import EvaluatedRun
from slstt.models.model_file import load_model
from slstt.progress import Progress
from slstt.training.inputs import FlowInputs, read_data
from slstt.training.loso import make_folds

CLIPS_PER_FOLD = 12
"""At most, evenly taken: enough for a mean, bounded for large models on a laptop."""


def shown_clips(run: EvaluatedRun, quiet: bool = False) -> Iterator[AttentionInput]:
    """Each fold's model with its left-out subject's clips (of several seeds: the first seed's).

    Raises DataError where the run kept no models (`run.save_models`), no settings, or where its data is gone.
    """
    models = {path.parent.name: path for path in run.fold_files("model.safetensors")}
    if not models or not run.settings:
        raise DataError(
            f"{run.folder}: holds no models of its folds (folds/*/model.safetensors); "
            "train with run.save_models=true to look at their attention"
        )
    try:
        settings = TrainConfig.model_validate(dict(run.settings))
    except ValueError as error:
        raise DataError(f"{run.folder}/config.resolved.yaml: not the settings of this version") from error
    data = read_data(settings.data, settings.model.image_size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with Progress("attention", len(models), unit="fold", quiet=quiet) as progress:
        for fold in make_folds(settings, data):
            if fold.name not in models:
                continue
            inputs = FlowInputs(data, settings, device, fold.train if settings.data.normalize == "train" else ())
            step = -(-len(fold.test) // CLIPS_PER_FOLD)
            chosen = fold.test[::step]
            flow = data.batch(chosen).float().to(device)
            classes = [data.classes[data.labels[i]] for i in chosen]
            model = load_model(models[fold.name]).to(device)
            yield AttentionInput(model, inputs.plain(flow), flow, classes)
            progress.advance()
