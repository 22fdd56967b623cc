"""The settings of `slstt-predict`; each is described where it is defined."""

from pydantic import Field, ValidationInfo, field_validator

from slstt.config.load import Section
from slstt.config.preprocess import Crop, Flow, Frames, Interpolation, PreprocessConfig


class Spotting(Section):
    """How intervals are spotted. Times in milliseconds; frames follow from the frame rate."""

    shortest_ms: float = Field(default=65.0, gt=0, le=60_000, description="Shortest interval, onset to offset.")
    longest_ms: float = Field(
        default=500.0,
        gt=0,
        le=60_000,
        description="Longest interval; micro-expressions are told from longer ones by the limit of half a second.",
    )
    threshold: float = Field(
        default=5.0,
        ge=0,
        le=1e6,
        description="How many times the usual deviation (robust, of this recording) above its median a peak must "
        "stand; 4 finds more weak ones, and more that are none.",
    )
    weakest: float = Field(
        default=1.5,
        ge=0,
        le=1e6,
        description="Smallest motion at the apex against the onset that counts, in thousandths of the interocular "
        "distance.",
    )
    back: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="Share of the motion that must have gone back at the offset, and not been there before the onset.",
    )
    foot: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Onset and offset lie where the motion is this share of its height above rest.",
    )
    smoothing_ms: float = Field(
        default=12.0,
        ge=0,
        le=60_000,
        description="Standard deviation of the Gaussian over time that takes the noise off.",
    )

    @field_validator("longest_ms")
    @classmethod
    def _above_shortest(cls, longest: float, info: ValidationInfo) -> float:
        shortest = info.data.get("shortest_ms", 0.0)  # absent where it is wrong itself
        if shortest >= longest:
            raise ValueError(f"must be above spotting.shortest_ms, which is {shortest:g}")
        return longest


class PredictConfig(Section):
    """All settings of `slstt-predict`."""

    spotting: Spotting = Spotting()
    frames: Frames = Frames()
    crop: Crop = Crop()
    interpolation: Interpolation = Interpolation()
    flow: Flow = Flow()

    @property
    def preprocessing(self) -> PreprocessConfig:
        """The same as slstt-preprocess takes it."""
        return PreprocessConfig(frames=self.frames, crop=self.crop, interpolation=self.interpolation, flow=self.flow)
