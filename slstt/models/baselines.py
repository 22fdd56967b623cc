"""The networks that people compare against: four on onset-to-apex flow maps, two on clips of flow.

Those on maps are written from what their papers, authors and readers say of them; each class names its sources. All
take what SLSTT takes: clips (B, T, 3, H, W), the first four of one frame with channels u, v, strain.

ReLU comes after max pooling where nothing stands between them: the same numbers and gradients from fewer pixels.

Shapes in this file: B clips, T frames, H x W pixels, K classes.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slstt.errors import ConfigError, WeightsError, listed

MAP_NETWORKS = ("ststnet", "off_apexnet", "sssnet", "htnet")
CLIP_NETWORKS = ("r3d_18", "resnet18")
NAMES = (*MAP_NETWORKS, *CLIP_NETWORKS)


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
            nn.ReLU(inplace=True),
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
                nn.MaxPool2d(2),
                nn.ReLU(),
                nn.Conv2d(6, 16, 5, padding=2),
                nn.MaxPool2d(2),
                nn.ReLU(),
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


class SSSNet(nn.Module):
    """The three-layer network of Varanka et al. (github.com/tvaranka/meb, whose tables call it SSSNet).

    16 kernels of 5x5, max pool 3x3, 32 of 3x3, max pool 2x2; each time ReLU, pooling, batch norm and Dropout of whole
    channels (one half); 128 hidden numbers with Dropout, as their default config has them. It wants 64 x 64 pixels;
    smaller maps are enlarged (bilinear), which is ours.
    """

    SIDE, SIZES = 64, (16, 32, 128)

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        first, second, hidden = self.SIZES
        self.features = nn.Sequential(
            nn.Conv2d(3, first, 5),
            nn.MaxPool2d(3),
            nn.ReLU(),
            nn.BatchNorm2d(first),
            nn.Dropout2d(0.5),
            nn.Conv2d(first, second, 3),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.BatchNorm2d(second),
            nn.Dropout2d(0.5),
        )
        self.classifier = nn.Sequential(
            nn.Linear(second * 9**2, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, classes)
        )

    def forward(self, x: Float[Tensor, "B 1 3 H W"]) -> Float[Tensor, "B K"]:
        """Clips (B, 1, 3, H, W) -> maps (B, 3, 64, 64) -> (B, 16, 20, 20) -> (B, 32, 9, 9) -> logits (B, K)."""
        maps = F.interpolate(x[:, 0], (self.SIDE, self.SIDE), mode="bilinear", align_corners=False)
        return self.classifier(self.features(maps.contiguous(memory_format=torch.channels_last)).flatten(1))


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        """(B, D, H, W) -> the same."""
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class AreaBlock(nn.Module):
    """A pre-norm transformer block whose attention stays inside areas of a map; all areas share its weights."""

    def __init__(self, width: int, heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.heads, inner = heads, width // heads * heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width))

    def forward(self, x: Float[Tensor, "N L D"]) -> Float[Tensor, "N L D"]:
        """Areas of L tokens each, (N, L, D) -> the same."""
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.mlp_norm(x))


class HTNet(nn.Module):
    """HTNet (Wang et al. 2024, arXiv 2307.14637): a nested transformer over four squares of the face.

    Squares of half the side around the eyes' and the mouth's corners are set side by side as a new map; patches of a
    quarter of the side become 256 numbers; three levels of (2, 2, 10) blocks of 256, 512, 1024 numbers and 3, 6, 12
    heads, attention within 4 x 4, 2 x 2 and 1 area(s) of the map; between levels a 3x3 convolution, norm and max pool
    of stride 2. After the authors' program (github.com/wangzhifengharrison/HTNet). It finds the corners in the apex
    frame; a published map has none, so here they are where that program puts them when it finds no face. 4 x 4 patches
    in 4 x 4 areas leave one token an area, so its attention weighs nothing; that is the published configuration.
    """

    CENTRES = ((9, 11), (21, 10), (10, 21), (20, 21))
    """(column, row) of left eye, right eye, left and right corner of the mouth in maps of 28 x 28, within 7..21."""
    WIDTH, HEADS, DEPTHS = 256, 3, (2, 2, 10)

    def __init__(self, image_size: int = 28, classes: int = 3) -> None:
        super().__init__()
        if image_size % 28:
            raise ConfigError(f"model.image_size: {image_size} is not a multiple of 28, which HTNet's squares need")
        self.scale, self.patch = image_size // 28, image_size // 4
        widths = [self.WIDTH * 2**level for level in range(3)]
        self.embedding = nn.Conv2d(3, widths[0], self.patch, stride=self.patch)
        self.positions = nn.ParameterList(nn.Parameter(torch.randn(1)) for _ in widths)  # one token an area, one number
        self.levels = nn.ModuleList(
            nn.Sequential(*(AreaBlock(width, self.HEADS * 2**level) for _ in range(depth)))
            for level, (width, depth) in enumerate(zip(widths, self.DEPTHS, strict=True))
        )
        self.between = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), ChannelNorm(b), nn.MaxPool2d(3, stride=2, padding=1))
            for a, b in pairwise(widths)
        )
        self.norm, self.classifier = nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], classes)

    def squares(self, maps: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """The four squares as one map: the left eye above the right, each with its corner of the mouth beside it."""
        half = 7 * self.scale
        left_eye, right_eye, left_mouth, right_mouth = (
            maps[:, :, self.scale * row - half : self.scale * row + half, self.scale * column - half :][..., : 2 * half]
            for column, row in self.CENTRES
        )
        rows = torch.cat((left_eye, left_mouth), dim=3), torch.cat((right_eye, right_mouth), dim=3)
        return torch.cat(rows, dim=2)

    def forward(self, x: Float[Tensor, "B 1 3 H W"]) -> Float[Tensor, "B K"]:
        """Clips (B, 1, 3, H, W) -> (B, 256, 4, 4) -> (B, 512, 2, 2) -> (B, 1024, 1, 1) -> logits (B, K)."""
        found = self.embedding(self.squares(x[:, 0]))
        for level, (position, blocks) in enumerate(zip(self.positions, self.levels, strict=True)):
            side = found.shape[-1]
            tokens = found.flatten(2).transpose(1, 2).flatten(0, 1)[:, None] + position  # (B * side * side, 1, D)
            tokens = blocks(tokens)[:, 0].unflatten(0, (len(x), side * side))
            found = tokens.transpose(1, 2).unflatten(2, (side, side))
            if level < len(self.between):
                found = self.between[level](found)
        return self.classifier(self.norm(found.flatten(2).mean(2)))


class R3D18(nn.Module):
    """r3d_18 (Tran et al., CVPR 2018, arXiv 1711.11248): 18 layers of 3D convolutions, torchvision's own network.

    It takes the whole clip of onset-referenced flow as it would take a video, three channels a frame.
    """

    def __init__(self, classes: int = 3) -> None:
        from torchvision.models.video import r3d_18  # here: only who trains it needs it

        super().__init__()
        self.network = r3d_18(num_classes=classes)

    def forward(self, x: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B K"]:
        """Clips (B, T, 3, H, W) -> (B, 512, T / 8, H / 16, W / 16), their mean -> logits (B, K)."""
        return self.network(x.transpose(1, 2))


class FrameResNet18(nn.Module):
    """ResNet-18 (He et al., CVPR 2016, arXiv 1512.03385) on several flows of a clip, torchvision's own network.

    Each frame's flow from the onset passes the same network; the mean of their 512 numbers is classified. With frames
    chosen around the apex (`frames.selection: apex`) these are several onset-to-near-apex flows.
    """

    def __init__(self, classes: int = 3) -> None:
        from torchvision.models import resnet18

        super().__init__()
        self.network = resnet18(num_classes=classes)

    def forward(self, x: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B K"]:
        """Clips (B, T, 3, H, W) -> logits of each frame (B * T, K) -> their mean (B, K)."""
        return self.network(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1)  # the last layer is linear


def load_pretrained(model: nn.Module, source: str) -> None:
    """Fill all of a `CLIP_NETWORKS` model but its last layer from `source`: a torchvision name or a file of its own.

    Such names are R3D_18_Weights.KINETICS400_V1 and ResNet18_Weights.IMAGENET1K_V1. Raises WeightsError where the
    weights are missing, damaged or of another network; the model is then unchanged.
    """
    from slstt.models.model_file import find_weights
    from slstt.models.weight_files import read_weights

    assert isinstance(model, R3D18 | FrameResNet18)  # config/combinations.py: no other takes weights
    state, _ = read_weights(find_weights(source))
    own = {name: value for name, value in model.network.state_dict().items() if not name.startswith("fc.")}
    # Older files do not count the batches that a norm has seen; the number says nothing here.
    wrong = [
        name
        for name, value in own.items()
        if not name.endswith("num_batches_tracked") and (name not in state or state[name].shape != value.shape)
    ]
    if wrong:
        kind = "r3d_18" if isinstance(model, R3D18) else "resnet18"
        raise WeightsError(
            f"{source}: not weights of torchvision's {kind} ({listed(wrong, 2)} missing or of other size)"
        )
    model.network.load_state_dict({name: state[name] for name in own if name in state}, strict=False)


def baseline(name: str, image_size: int, classes: int) -> nn.Module:
    """The network called `name`. Raises ConfigError for a name that is none of `NAMES`."""
    match name:
        case "ststnet":
            return STSTNet(image_size, classes)
        case "off_apexnet":
            return OFFApexNet(image_size, classes)
        case "sssnet":
            return SSSNet(classes)
        case "htnet":
            return HTNet(image_size, classes)
        case "r3d_18":
            return R3D18(classes)
        case "resnet18":
            return FrameResNet18(classes)
    raise ConfigError(f"model.name: '{name}' is unknown; choose {', '.join(NAMES[:-1])} or {NAMES[-1]}")
