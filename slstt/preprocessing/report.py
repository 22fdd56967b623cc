"""The page that shows what preprocessing did to every clip: failed and flagged ones first, then all others.

Each data set's part is kept in `report/parts/`, and `report/index.html` is all parts in one page that needs no other
file. A clip costs some 20 kB (its strip was drawn by the worker and lies in the flow file), so 250 clips give 5 MB.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from markupsafe import Markup

from slstt.datasets.clips import Clip, Remark
from slstt.files import write_text
from slstt.images import data_uri
from slstt.pages import render
from slstt.preprocessing.provenance import FlowRecord
from slstt.preprocessing.run import PreprocessingResult, only_writer

CURVE_WIDTH, CURVE_HEIGHT, CURVE_MARGIN = 300, 64, 6
"""Of the intensity curve, in SVG units."""


@dataclass(frozen=True)
class ClipCard:
    """One clip on the page."""

    clip: Clip
    record: FlowRecord
    flags: list[Remark]
    curve: list[tuple[float, float]]
    """Points of the intensity curve in SVG units, the onset's first."""
    apex_x: float
    """Where the apex lies on the curve."""

    @property
    def picture(self) -> str:
        """The strip as a `data:` URI."""
        return data_uri(self.record.picture, "image/jpeg")


def write_report(result: PreprocessingResult, out: Path) -> Path:
    """Write the data set's part and `report/index.html` below `out`; returns the page's path."""
    cards = _cards(result)
    failures = sorted(result.failures, key=lambda r: (r.kind, r.subject, r.clip))
    part = render(
        "preprocessing_part.html",
        dataset=result.release.dataset,
        layout=result.release.layout,
        annotations=result.release.annotations,
        failures=[(kind, list(same)) for kind, same in groupby(failures, key=lambda r: r.kind)],
        failed=len({(r.subject, r.clip) for r in failures}),
        flagged=[card for card in cards if card.flags],
        plain=[card for card in cards if not card.flags],
        flag_kinds=sorted(Counter(r.kind for r in result.flags).items()),
        ignored=sorted(Counter(r.kind for r in result.remarks if r.action == "ignored").items()),
        emotions=Counter(clip.emotion for clip in result.clips).most_common(),
        subjects=sorted(Counter(clip.subject for clip in result.clips).items()),
        apexes=Counter(record.about["apex_from"] for record in result.records.values()).most_common(),
        curve=(CURVE_WIDTH, CURVE_HEIGHT, CURVE_MARGIN),
    )
    page, folder = out / "report" / "index.html", out / "report" / "parts"
    with only_writer(out):
        write_text(folder / f"{result.release.dataset}.html", part)
        parts = {path.stem: Markup(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("[!.]*.html"))}
        write_text(page, render("preprocessing.html", parts=parts))
    return page


def _cards(result: PreprocessingResult) -> list[ClipCard]:
    flags: dict[tuple[str, str, str], list[Remark]] = {}
    for remark in result.flags:
        flags.setdefault((remark.dataset, remark.subject, remark.clip), []).append(remark)
    cards = []
    for clip in sorted(result.clips, key=lambda clip: clip.key):
        record = result.records[clip.key]
        curve, apex_x = _curve(clip, record)
        cards.append(ClipCard(clip, record, flags.get(clip.key, []), curve, apex_x))
    return cards


def _curve(clip: Clip, record: FlowRecord) -> tuple[list[tuple[float, float]], float]:
    """The intensity (mean flow length) over the frames, from the onset's 0 on, and the apex's x; SVG units."""
    about = record.about
    positions = [clip.onset, *about["positions"]]
    values = [0.0, *about["intensity"]]
    highest = max(values) or 1.0
    width, height = CURVE_WIDTH - 2 * CURVE_MARGIN, CURVE_HEIGHT - 2 * CURVE_MARGIN
    span = max(positions[-1], about["apex"]) - positions[0] or 1

    def x(position: int | float) -> float:
        return round(CURVE_MARGIN + width * (position - positions[0]) / span, 1)

    points = [
        (x(position), round(CURVE_MARGIN + height * (1 - value / highest), 1))
        for position, value in zip(positions, values, strict=True)
    ]
    return points, x(about["apex"])
