"""One style for all pages and figures: one template environment, one style sheet, one figure style.

A page needs no other file: pictures stand in it as `data:` URIs (images.py). The one page with a video beside it has a
few lines of script, which make the video jump; without them its links lead to the intervals all the same.
"""

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from slstt import __version__
from slstt.errors import printable
from slstt.files import whole_file
from slstt.images import data_uri

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
DARK, LIGHT, WARM, GREY = "#08519c", "#9ecae1", "#d95f02", "#555555"
"""Colours of figures: dark blue, light blue and orange differ in lightness as well as in hue."""
_FIGURE_STYLE: Any = {
    "text.parse_math": False,  # a class called "$x" is a name, not a formula
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "svg.hashsalt": "slstt",
    "savefig.dpi": 200,
}


def render(template: str, **values: Any) -> str:
    """The page that `template` (a file of `slstt/templates`) makes of `values`; all text from files stays text."""
    return _environment().get_template(template).render(version=__version__, **values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,  # clip and class names come from files: `<script>` stays text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    return environment


@contextmanager
def figure_style() -> Iterator[None]:
    """The style of all figures; names in scripts the font lacks are drawn as boxes without a word about it."""
    import matplotlib

    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with matplotlib.rc_context(_FIGURE_STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            yield
    finally:
        log.setLevel(level)


def save_figure(figure: "Figure", folder: Path, name: str, formats: Sequence[str] = ("png", "pdf")) -> str:
    """Write `name`.png and `name`.pdf below `folder`; returns the figure as a `data:` URI (SVG), sharp in print."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is found once, not once for each format
    for suffix in formats:
        with whole_file(folder / f"{name}.{suffix}") as part:
            figure.savefig(part, format=suffix, metadata={"CreationDate": None} if suffix == "pdf" else None)
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return data_uri(stream.getvalue(), "image/svg+xml")
