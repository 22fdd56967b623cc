"""The two small convolutional networks that people compare against on onset-to-apex flow maps.

Written from what their papers, authors and readers say of them; each class names its sources. Both take what SLSTT
takes, clips (B, 1, 3, H, W) of one frame with channels u, v, strain.

Shapes in this file: B clips, H x W pixels, K classes.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slstt.errors import ConfigError

NAMES = ("ststnet", "off_apexnet")


class STSTNet(nn.Module):
    """Shallow Triple Stream Three-dimensional CNN (Liong et al., FG 2019, arXiv 1902.03634).

    Three streams of 3, 5 and 8 kernels of 3x3 over all three channels, ReLU, batch norm, max pool 3x3 with stride 3
    (28 -> 10), dropout of one half; side by side (16 channels), average pool 2x2 (-> 5), one linear layer. After the
    authors' program (github.com/christy1206/STSTNet), which pads convolutions by 2 pixels where we pad by 1: both pool
    to 10. Nothing in a stream joins its channels, so the three are computed as one convolution of 16 kernels.
    """

    KERNELS = (3, 5, 8)

    def __init__(self, image_size: int = 28, classes: int = 3) -> None:
        super().__init__()
        width = sum(self.KERNELS)
        self.streams = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(width),
            nn.MaxPool2d(3, stride=3, padding=1),
            nn.Dropout(0.5),
        )
        side = ((image_size + 2 - 3) // 3 + 1) // 2
        if side < 1:
            raise ConfigError(f"model.image_size: {image_size} is too small for STSTNet; its maps have 28")
        self.pool = nn.AvgPool2d(2)
        self.classifier = nn.Linear(width * side**2, classes)

    def forward(self, x: Float[Tensor, "B 1 3 H W"]) -> Float[Tensor, "B K"]:
        """Clips (B, 1, 3, H, W) -> streams (B, 16, H / 3, W / 3) -> (B, 16, H / 6, W / 6) -> logits (B, K)."""
        maps = x[:, 0].contiguous(memory_format=torch.channels_last)  # pooling then takes half the time on a CPU
        return self.classifier(self.pool(self.streams(maps)).flatten(1))


class OFFApexNet(nn.Module):
    """OFF-ApexNet (Gan, Liong et al., Signal Processing: Image Communication 74, 2019, arXiv 1805.08699).

    u and v in a stream each: 6 kernels of 5x5, max pool 2x2, 16 kernels of 5x5, max pool 2x2; both side by side into
    two fully connected layers of 1024, dropout of one half after each. Strain is not looked at. No program of the
    authors' is public; sizes and dropout are those of a reimplementation that counts the same 2.66 million numbers.
    """

    def __init__(self, image_size: int = 28, classes: int = 3, hidden: int = 1024) -> None:
        super().__init__()
        side = image_size // 4
        if side < 1:
            raise ConfigError(f"model.image_size: {image_size} is too small for OFF-ApexNet; its maps have 28")
        self.u, self.v = (
            nn.Sequential(
                nn.Conv2d(1, 6, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(6, 16, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            for _ in range(2)
        )
        self.classifier = nn.Sequential(
            nn.Linear(2 * 16 * side**2, hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Float[Tensor, "B 1 3 H W"]) -> Float[Tensor, "B K"]:
        """Clips (B, 1, 3, H, W) -> u, v (B, 1, H, W) -> (B, 16, H / 4, W / 4) each -> logits (B, K)."""
        u, v = self.u(x[:, 0, :1]), self.v(x[:, 0, 1:2])
        return self.classifier(torch.cat((u.flatten(1), v.flatten(1)), dim=1))


def baseline(name: str, image_size: int, classes: int) -> nn.Module:
    """The network called `name`. Raises ConfigError for a name that is none of `NAMES`."""
    match name:
        case "ststnet":
            return STSTNet(image_size, classes)
        case "off_apexnet":
            return OFFApexNet(image_size, classes)
    raise ConfigError(f"model.name: '{name}' is unknown; choose {' or '.join(NAMES)}")
