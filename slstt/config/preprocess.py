"""The settings of `slstt-preprocess`; each is described where it is defined."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from slstt.config.load import Section

ApexPolicy = Literal["spot", "middle", "fail"]
"""What becomes of an unusable apex: spotted, replaced by the middle of onset..offset, or the clip fails."""
FrameSelection = Literal["apex", "uniform", "published"]
InterpolationMethod = Literal["rife", "linear", "none"]
FlowMethod = Literal["farneback", "dis", "tvl1"]
SquarePlace = Literal["centred", "published"]
Grey = Literal["standard", "swapped"]

MOST_WORKERS = 1024
NO_TVL1 = (
    "this OpenCV has no TV-L1; pip uninstall opencv-python-headless, then pip install opencv-contrib-python-headless"
)


class Frames(Section):
    """Which frames of a clip become flow."""

    count: int = Field(
        default=11, ge=1, le=64, description="Frames kept per clip, after the onset (T of the cached flow)."
    )
    selection: FrameSelection = Field(
        default="apex",
        description="When a clip has more frames than `count`: `apex` takes the window around the apex, "
        "`uniform` spreads the frames evenly over onset..offset. `published`: as the published program, from five "
        "frames before the apex on; what is missing up to the offset is made up, even where frames before are left.",
    )


class Apex(Section):
    """What happens to clips whose sheet gives no usable apex. Whatever is done is listed in flags.csv."""

    missing: ApexPolicy = Field(
        default="spot",
        description="The sheet has no apex (`/`): `spot` takes the frame of greatest onset-flow strength, "
        "`middle` the middle of onset..offset, `fail` lists the clip in failures.csv.",
    )
    outside: ApexPolicy = Field(
        default="spot", description="The sheet's apex lies outside onset..offset: same choices as `missing`."
    )
    smoothing: float = Field(
        default=0.04,
        ge=0,
        le=0.5,
        description="Spotting: width (standard deviation) of the Gaussian over the strength curve, "
        "as a share of the clip's length; 0 for none.",
    )


class Crop(Section):
    """The face square, taken from the landmarks of the apex frame and used for every frame of the clip."""

    at_most: int = Field(
        default=512,
        ge=32,
        le=1024,
        description="Largest side of the square in pixels. A smaller square stays as it is, in the frame's own pixels; "
        "a larger one is shrunk to this side (area averaging), and its flow is in pixels of the shrunk square.",
    )
    upsample: int = Field(
        default=1, ge=0, le=2, description="No face found: double the picture this many times and look again."
    )
    smallest_face: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Narrowest face that is taken, as a share of the frame's shorter side; what is narrower is often "
        "a chance pattern.",
    )
    place: SquarePlace = Field(
        default="centred",
        description="A square with an odd side: `centred`, the nose tip's pixel is its middle; `published`, one pixel "
        "further left and up, as the published program cuts it.",
    )
    neighbours: int = Field(
        default=3,
        ge=0,
        le=50,
        description="Still none: look on this many frames on either side of the apex (recorded in flags.csv).",
    )


class Interpolation(Section):
    """How frames are made up where a clip has fewer than `frames.count`."""

    method: InterpolationMethod = Field(
        default="rife",
        description="`rife`: the official RIFE network; `linear`: blending; `none`: the nearest real frame again.",
    )
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="Arithmetic of RIFE, which runs on the CPU.")


class Flow(Section):
    """Optical flow between the frames."""

    method: FlowMethod = Field(
        default="dis",
        description="`dis`: OpenCV's DIS, medium preset, which measures best; `farneback`: as published; `tvl1`: dual "
        "TV-L1, as older flow maps have it (slow; needs opencv-contrib-python-headless).",
    )
    reference: Literal["onset", "consecutive"] = Field(
        default="onset",
        description="`onset`: from the onset frame to each frame; `consecutive`: from frame to next frame.",
    )
    grey: Grey = Field(
        default="standard",
        description="How colour frames become grey: `standard` weights of red, green and blue (.299, .587, .114); "
        "`swapped`: red and blue exchanged, as in the published program.",
    )

    @field_validator("method")
    @classmethod
    def _is_installed(cls, method: FlowMethod) -> FlowMethod:
        if method == "tvl1":
            import cv2  # here: only this method needs to know

            if not hasattr(cv2, "optflow"):
                raise ValueError(NO_TVL1)
        return method


class PreprocessRun(Section):
    """Where the clips are worked on. Nothing here changes a result."""

    executor: Literal["processes", "ray"] = Field(
        default="processes", description="`processes` on this machine, or `ray` (pip install 'slstt[ray]')."
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=MOST_WORKERS,
        description="Worker processes; null for all cores of this machine. `--workers` wins.",
    )
    ray_address: str | None = Field(
        default=None, description="Address of a running Ray cluster that sees the same folders; null starts Ray here."
    )


class PreprocessConfig(Section):
    """All settings of `slstt-preprocess`."""

    frames: Frames = Frames()
    apex: Apex = Apex()
    crop: Crop = Crop()
    interpolation: Interpolation = Interpolation()
    flow: Flow = Flow()
    run: PreprocessRun = PreprocessRun()


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
    strongest: float = Field(
        default=30.0,
        gt=0,
        le=1e6,
        description="Largest such motion. What moves further within half a second is speech, chewing or a large "
        "expression; the report says how many such movements were left out.",
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

    @field_validator("strongest")
    @classmethod
    def _above_weakest(cls, strongest: float, info: ValidationInfo) -> float:
        weakest = info.data.get("weakest", 0.0)
        if weakest >= strongest:
            raise ValueError(f"must be above spotting.weakest, which is {weakest:g}")
        return strongest


class Tracking(Section):
    """Which face of a recording is tracked."""

    smallest_face: float = Field(
        default=0.12,
        ge=0.05,
        le=1,
        description="Narrowest face to track, as a share of the picture's shorter side.",
    )


class PredictConfig(Section):
    """All settings of `slstt-predict`."""

    spotting: Spotting = Spotting()
    tracking: Tracking = Tracking()
    frames: Frames = Frames()
    crop: Crop = Crop()
    interpolation: Interpolation = Interpolation()
    flow: Flow = Flow()

    @property
    def preprocessing(self) -> PreprocessConfig:
        """The same as slstt-preprocess takes it."""
        return PreprocessConfig(frames=self.frames, crop=self.crop, interpolation=self.interpolation, flow=self.flow)
