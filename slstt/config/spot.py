"""The settings of `slstt-spot`; each is described where it is defined."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from slstt.config.load import NameOrPath, Section
from slstt.config.preprocess import PreprocessRun

SpottingMethodName = Literal["slstt", "feature_difference", "mdmd", "neighbour_flow"]


class Spot(Section):
    """How intervals are spotted."""

    method: SpottingMethodName = Field(
        default="slstt",
        description="`slstt`: motion of tracked patches that comes back; `feature_difference`: local binary patterns "
        "against those before and after (Moilanen et al. 2014); `mdmd`: main directional maximal difference (the MEGC "
        "2020 baseline); `neighbour_flow`: length of the flow from frame to frame.",
    )
    strongest: float = Field(
        default=30.0,
        gt=0,
        le=1e6,
        description="With `slstt`: a larger motion within half a second, in thousandths of the interocular distance, "
        "is no micro-expression (`spotting.strongest` of slstt-predict).",
    )
    fps: float | None = Field(
        default=None, ge=1, le=10_000, description="Frames a second of every video; null: what the data set says."
    )


class KindGrid(Section):
    """What is tried for one kind of expression on the other subjects; with `--fixed` the one value given each."""

    thresholds: tuple[float, ...] | None = Field(
        default=None,
        description="Thresholds to choose from, in the method's own unit; null: its own (docs/spotting.md).",
    )
    lengths_ms: tuple[float, ...] | None = Field(
        default=None,
        description="Lengths to choose from, in milliseconds: the shortest interval, or with `feature_difference` the "
        "length of all; null: the method's own.",
    )

    @field_validator("thresholds", "lengths_ms")
    @classmethod
    def _usable(cls, values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if values is not None and not (1 <= len(values) <= 100 and all(0 < value <= 60_000 for value in values)):
            raise ValueError("1 to 100 numbers above 0 and up to 60000")
        return None if values is None else tuple(sorted(set(values)))


class Recognition(Section):
    """Spot-then-recognise."""

    run: NameOrPath | None = Field(
        default=None,
        description="A run of slstt-train on the same data set with `run.save_models=true`: each interval gets the "
        "class that the fold without its subject predicts. null: intervals get no class.",
    )


class SpotRun(PreprocessRun):
    """Where the videos are worked on, and what is kept."""

    measured: Path | None = Field(
        default=None,
        description="Folder of what is measured in each video, which several --out of one data set may share; null: "
        "`measured` in --out.",
    )


class SpotConfig(Section):
    """All settings of `slstt-spot`."""

    spot: Spot = Spot()
    micro: KindGrid = KindGrid()
    macro: KindGrid = KindGrid()
    recognition: Recognition = Recognition()
    run: SpotRun = SpotRun()
