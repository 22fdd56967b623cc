"""The page that shows what preprocessing did to every clip."""

from pathlib import Path

from slstt.files import write_text
from slstt.preprocessing.pipeline import Result


def write_report(result: Result, out: Path) -> Path:
    """Write report/index.html below `out` and return its path."""
    page = out / "report" / "index.html"
    write_text(page, f"<!doctype html><title>{result.release.dataset}</title>{len(result.clips)} clips")
    return page
