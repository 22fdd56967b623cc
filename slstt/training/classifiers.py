"""Folds without epochs: a pretrained model as it is (zero-shot), support vector machines, and the committee.

They see the very inputs the network sees (`inputs.plain`), on the same folds, and answer with the same `Trained`.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from slstt.config.train import TrainConfig
from slstt.errors import WeightsError
from slstt.training.checkpoint import FoldHistory
from slstt.training.committee import committee
from slstt.training.inputs import FrozenFeatures
from slstt.training.optimization import batches
from slstt.training.trainer import FoldSetup, Inputs, Trained, make_model, make_slstt, predict

ITERATIONS = 1_000_000
"""Upper limit of the SVM's solver; 309 maps need a few thousand."""


def classify_fold(setup: FoldSetup) -> Trained:
    """One fold under `classifier.name` pretrained, svm_linear, svm_rbf or committee.

    Raises WeightsError where the pretrained network's answers are not finite.
    """
    fold, data, settings, inputs, device = setup.fold, setup.data, setup.settings, setup.inputs, setup.device
    torch.set_num_threads(settings.run.threads_per_fold)
    if settings.classifier.name == "pretrained":
        model = make_model(settings, len(data.classes)).to(device)
        probabilities, _ = predict(model, inputs, fold.test, settings, device)
        if not np.isfinite(probabilities).all():
            raise WeightsError(
                f"{settings.model.pretrained}: its answers to {fold.name} are not finite; give other weights as "
                "model.pretrained"
            )
        return Trained(model, probabilities, FoldHistory(), 0)
    if settings.classifier.name == "committee":
        maps = (maps_of(inputs, indices, settings) for indices in (fold.train, fold.test))
        labels, keys = np.array([data.labels[i] for i in fold.train]), [data.keys[i] for i in fold.train]
        learned, asked = maps
        answer, _ = committee(learned, labels, keys, asked, len(data.classes), settings.classifier.inner)
        return Trained(nn.Identity(), answer, FoldHistory(), 0)
    encoder = make_slstt(settings, len(data.classes)).encoder.to(device)
    norm = encoder.norm if isinstance(inputs, FrozenFeatures) else nn.Identity()
    train, test = (numbers(norm, inputs, indices, settings) for indices in (fold.train, fold.test))
    labels = torch.tensor([data.labels[i] for i in fold.train])
    scores = svm_scores(train, labels, test, len(data.classes), settings)
    return Trained(encoder, scores.softmax(1).numpy(), FoldHistory(), 0)


def maps_of(inputs: Inputs, indices: tuple[int, ...], settings: TrainConfig) -> Float[np.ndarray, "N 3 H W"]:
    """The clips' normalised maps, one frame each."""
    read = inputs.read(batches(indices, settings.training.batch_size))
    return torch.cat([inputs.plain(raw)[:, 0].cpu() for _, raw in read]).numpy()


@torch.no_grad()
def numbers(norm: nn.Module, inputs: Inputs, indices: tuple[int, ...], settings: TrainConfig) -> Float[Tensor, "N F"]:
    """What an SVM sees of the clips: the pictures' numbers, or the frozen encoder's features, frames one after another.

    Features are the class token after `norm`, the encoder's last; pictures pass an Identity.
    """
    found = []
    for _, raw in inputs.read(batches(indices, settings.training.batch_size)):
        found.append(norm(inputs.plain(raw)).flatten(1).cpu())
    return torch.cat(found)


def svm_scores(
    train: Float[Tensor, "N F"],
    labels: Tensor,
    test: Float[Tensor, "M F"],
    classes: int,
    settings: TrainConfig,
) -> Float[Tensor, "M K"]:
    """The test clips' one-vs-rest scores, float64; minus infinity for a class without training clips.

    Each number is standardised over the training clips; errors cost inversely to the class's size.
    """
    # here: networks need no sklearn
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    present = labels.unique().tolist()
    scores = torch.full((len(test), classes), -torch.inf, dtype=torch.float64)
    if len(present) == 1:
        scores[:, present[0]] = 0.0
        return scores
    chosen = settings.classifier
    machine = SVC(
        C=chosen.penalty,
        kernel="linear" if chosen.name == "svm_linear" else "rbf",
        class_weight="balanced",
        max_iter=ITERATIONS,
    )
    fitted = make_pipeline(StandardScaler(), machine).fit(train.numpy(), labels.numpy())
    decided = torch.from_numpy(fitted.decision_function(test.numpy()))
    scores[:, present] = torch.stack((-decided, decided), dim=1) if decided.dim() == 1 else decided
    return scores
