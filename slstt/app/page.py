"""The page: what stands on it and which work each button starts. Words from files and errors are always escaped."""

import html
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before gradio is imported: it would tell its makers of every start otherwise.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import gradio as gr
from gradio.themes import Base

from slstt.app.visits import REPORT, Shown, Visits
from slstt.errors import ConfigError, DataError, SlsttError, printable
from slstt.prediction import DEFAULT_WEIGHTS, LIMITS

THEME = Base(
    font=["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "DejaVu Sans", "sans-serif"],
    font_mono=["ui-monospace", "DejaVu Sans Mono", "monospace"],
    radius_size="sm",
)
STYLE = """
.gradio-container { max-width: 72rem !important; margin: 0 auto !important; }
.slstt-note { border-left: 4px solid #08519c; padding: .4rem .8rem; margin: .4rem 0; }
.slstt-problem { border-left: 4px solid #b3261e; padding: .4rem .8rem; margin: .4rem 0; overflow-wrap: anywhere; }
.slstt-files a { display: inline-block; margin: .2rem 1rem .2rem 0; text-decoration: underline; }
#intervals { overflow-x: auto; }
iframe.slstt-report { width: 100%; height: 85vh; border: 1px solid #8884; background: #fff; }
button[aria-label="Trim video to selection"] { display: none; }  /* it would load a program from another host */
"""
COLUMNS = ("onset", "apex", "offset", "class")
CAMERA = {"video": {"frameRate": {"ideal": 120}, "width": {"ideal": 1280}, "height": {"ideal": 720}}}
"""What is asked of the camera; it gives what it can."""
FOLDER = "made"
"""The address below which the server sends what was made."""


def _as_recorded(payload: Any) -> str | None:
    """The path of the file that the camera recorded: gradio would call an ffmpeg program to take the sound off it."""
    return payload.path if payload is not None else None


def problem(error: Exception, visits: Visits) -> str:
    """An error as a box on the page, escaped; paths of this server are taken out."""
    if not isinstance(error, SlsttError):
        traceback.print_exception(error, file=sys.stderr)
        return _box(
            [f"{type(error).__name__}: {error} (a fault in slstt; the window of slstt-app shows where)"], visits
        )
    return _box(error.problems, visits)


def _box(lines: Any, visits: Visits) -> str:
    said = []
    for line in lines:
        words = [Path(word).name if word.startswith(str(visits.root)) else word for word in str(line).split(" ")]
        said.append(html.escape(printable(" ".join(words))))
    return f'<div class="slstt-problem" role="alert">{"<br>".join(said)}</div>'


def report_frame(token: str) -> str:
    """The report in a frame whose only right is to run its own script: it reaches neither the page nor a network."""
    address = f"/{FOLDER}/{token}/{REPORT}"
    return (
        f'<iframe class="slstt-report" title="report" sandbox="allow-scripts" src="{address}"></iframe>'
        f'<p class="slstt-files"><a href="{address}" target="_blank" rel="noopener">the report alone</a></p>'
    )


def links(shown: Shown) -> str:
    """What can be downloaded."""
    made = [
        f'<a href="/{FOLDER}/{shown.token}/{name}" download="{html.escape(name)}">{html.escape(name)}</a>'
        for name in shown.files()
    ]
    return f'<p class="slstt-files"><b>Download:</b> {" ".join(made)}</p>'


def _rate(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise ConfigError(f"'{text.strip()[:20]}' is no number of frames per second") from None


def _about(visits: Visits) -> str:
    bounds = visits.bounds
    weights = visits.predictor.classifier
    limits = "".join(
        f"<li>{html.escape(line)}</li>" for line in (*LIMITS, *([DEFAULT_WEIGHTS] if weights.shipped else []))
    )
    return (
        "<h1>slstt</h1><div class='slstt-note'><b>Everything stays on this computer.</b> The page is served by "
        "slstt-app to this computer alone; it loads nothing from the internet and sends nothing there. What you drop "
        "here is deleted when you close the page, or when slstt-app ends. <b>It is no lie detector and reads no "
        "feelings; not for decisions about people.</b></div>"
        f"<details><summary>Limits</summary><ul>{limits}</ul></details>"
        f"<p>At most {bounds.largest_mb:g} MB and {bounds.longest_s:g} seconds. Weights: "
        f"{html.escape(printable(weights.source))}.</p>"
    )


def build(visits: Visits) -> gr.Blocks:
    """The page, whose buttons work on `visits`."""

    def worked(
        work: Callable[[str, Callable[[int, int], None]], Shown], request: gr.Request, progress: gr.Progress
    ) -> tuple[Any, ...]:
        """(message, report, table, links, the part with the results) after one piece of work."""

        def advance(done: int, total: int) -> None:
            if done % 20 == 0 or done >= total:
                progress((min(done, total), total), desc="measuring motion", unit="frames")

        try:
            shown = work(str(request.session_hash), advance)
        except Exception as error:
            return problem(error, visits), gr.skip(), gr.skip(), gr.skip(), gr.skip()
        count = len(shown.result.found)
        said = f"{html.escape(printable(shown.result.name))}: {count} interval{'' if count == 1 else 's'}."
        table = shown.rows() or [[""] * len(COLUMNS)]
        return said, report_frame(shown.token), table, links(shown), gr.update(visible=True)

    def analyse(
        dropped: str | None, filmed: str | None, fps: str, request: gr.Request, progress: gr.Progress
    ) -> tuple[Any, ...]:
        def work(name: str, advance: Callable[[int, int], None]) -> Shown:
            upload = dropped or filmed
            if upload is None:
                raise DataError("give a video first: drop a file, or record with the camera")
            return visits.analyse(name, Path(upload), _rate(fps), advance)

        return worked(work, request, progress)

    def analyse_file(
        dropped: str | None,
        fps: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        return analyse(dropped, None, fps, request, progress)

    def analyse_camera(
        filmed: str | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        return analyse(None, filmed, "", request, progress)

    def classify(
        rows: list[list[object]],
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        return worked(lambda name, advance: visits.classify(name, rows, advance), request, progress)

    def open_run(folder: str, request: gr.Request) -> tuple[str, str]:
        try:
            if not folder.strip():
                raise DataError(
                    "write the path of a folder of slstt-train or slstt-spot, or of one with predictions.csv"
                )
            token = visits.open_run(str(request.session_hash), Path(folder.strip()).expanduser())
        except Exception as error:
            return problem(error, visits), ""
        return "", report_frame(token)

    def kept(upload: str | None, request: gr.Request) -> None:
        if upload is not None:
            visits.keep(str(request.session_hash), Path(upload))

    def ended(request: gr.Request) -> None:
        visits.end(str(request.session_hash))

    one_at_a_time: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "work", "api_visibility": "private"}
    one_at_a_time["scroll_to_output"] = True
    with gr.Blocks(title="slstt", analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as page:
        gr.HTML(_about(visits))
        with gr.Tab("A recording"):
            with gr.Row():
                with gr.Column():
                    dropped = gr.File(label="Drop a video here", elem_id="dropped", height=160)
                    fps = gr.Textbox(
                        label="Frames per second", placeholder="only where the file is wrong about it", elem_id="fps"
                    )
                    look = gr.Button("Look for micro-expressions", variant="primary", elem_id="look")
                with gr.Column():
                    filmed = gr.Video(
                        label="Or record with the camera", elem_id="filmed", height=260, sources=["webcam"],
                        include_audio=False, webcam_options=gr.WebcamOptions(mirror=False, constraints=CAMERA),
                    )  # fmt: skip
                    filmed.preprocess = _as_recorded
                    look_filmed = gr.Button("Look at what was recorded", elem_id="look-filmed")
            said = gr.HTML(elem_id="said")
            with gr.Column(visible=False) as results:
                report = gr.HTML(elem_id="report")
                downloads = gr.HTML(elem_id="downloads")
                gr.HTML(
                    "<h3>Correct the intervals</h3><p>Frames are counted from 0. Change onset, apex and offset, add or "
                    "delete rows; an empty apex is looked for. Then classify again: nothing else is looked for.</p>"
                )
                table = gr.Dataframe(
                    headers=list(COLUMNS), datatype="str", type="array", interactive=True, elem_id="intervals",
                    static_columns=[3], column_count=len(COLUMNS), show_label=False,
                )  # fmt: skip
                again = gr.Button("Classify again", elem_id="again")
        with gr.Tab("A run"):
            gr.HTML(
                "<p>The folder of a run of slstt-train or slstt-spot, or any folder with a predictions.csv, as "
                "slstt-eval reads it: scores, confusion, mistakes. Nothing is written into it.</p>"
            )
            folder = gr.Textbox(label="Folder on this computer", placeholder="runs/cde", elem_id="folder")
            opened = gr.Button("Open", variant="primary", elem_id="open")
            run_said, run_report = gr.HTML(elem_id="run-said"), gr.HTML(elem_id="run-report")
        shown = [said, report, table, downloads, results]
        dropped.upload(kept, dropped, None, api_visibility="private", show_progress="hidden")
        filmed.stop_recording(kept, filmed, None, api_visibility="private", show_progress="hidden")
        look.click(analyse_file, [dropped, fps], shown, show_progress_on=said, **one_at_a_time)
        look_filmed.click(analyse_camera, filmed, shown, show_progress_on=said, **one_at_a_time)
        again.click(classify, table, shown, show_progress_on=said, **one_at_a_time)
        for event in (opened.click, folder.submit):
            event(open_run, folder, [run_said, run_report], **one_at_a_time)
        page.unload(ended)
    return page
