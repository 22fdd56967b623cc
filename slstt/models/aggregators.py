"""From the features of a clip's frames to its class: over time with an LSTM, or by the mean.

SLSTT's temporal aggregators (arXiv 2112.05851).

Shapes in this file: B clips, T frames in order of time, D = width of a frame's features, K classes.
"""

from jaxtyping import Float
from torch import Tensor, nn


class LSTMAggregator(nn.Module):
    """LSTM over the frames; the last layer's output at the last frame -> Linear -> ReLU -> Linear.

    The sizes are the published checkpoints': three layers of 512, 512 -> 256 -> classes.
    """

    def __init__(
        self, width: int, classes: int, lstm_width: int = 512, lstm_layers: int = 3, head_width: int = 256
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, lstm_width, lstm_layers, batch_first=True)
        self.hidden = nn.Linear(lstm_width, head_width)
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(head_width, classes)

    def forward(self, features: Float[Tensor, "B T D"]) -> Float[Tensor, "B K"]:
        """Features (B, T, D) -> LSTM outputs (B, T, lstm_width) -> last frame (B, lstm_width) -> logits (B, K)."""
        outputs, _ = self.lstm(features)
        return self.classifier(self.relu(self.hidden(outputs[:, -1])))


class MeanAggregator(nn.Module):
    """One linear classifier for every frame, the logits averaged over the frames; order plays no part.

    Computed as the logit of the mean feature, which is the same number, since the classifier is linear.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, classes)

    def forward(self, features: Float[Tensor, "B T D"]) -> Float[Tensor, "B K"]:
        """Features (B, T, D) -> mean (B, D) -> logits (B, K)."""
        return self.classifier(features.mean(dim=1))
