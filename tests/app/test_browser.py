"""The page in a browser, from a dropped video to the downloads, with every request watched, in and out."""

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from simulated_runs import predictions

from slstt.datasets.synthetic.recordings import draw_recording, write_video
from slstt.evaluation.predictions import write_predictions

pytest.importorskip("gradio", reason="slstt-app needs gradio: pip install 'slstt[app]'")
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="the browser test needs playwright: pip install playwright"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: apt install chromium"),
]

NAME = "<img src=x onerror=alert(1)>.avi"
# Everything that the server's process asks of the network is written down and, unless it stays here, refused.
WATCH = """
import os, sys
def watch(event, arguments):
    if event == "socket.connect":
        host = arguments[1][0] if isinstance(arguments[1], tuple) else "local"
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if host not in ("127.0.0.1", "localhost", "::1", "local", None):
        with open(os.environ["WATCHED"], "a") as stream:
            stream.write(f"{event} {host}\\n")
        raise OSError("refused by the test")
sys.addaudithook(watch)
"""


@dataclass
class Server:
    """A running slstt-app."""

    process: "subprocess.Popen[str]"
    address: str
    port: int
    temporary: Path
    watched: Path


@dataclass
class Seen:
    """What a page asked for and said."""

    addresses: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCH)
    (folder / "tmp").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join(filter(None, [str(folder / "watch"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "WATCHED": str(folder / "watched"), "TMPDIR": str(folder / "tmp")}
    command = [sys.executable, "-m", "slstt.cli.app", "--port", str(port), "--largest-mb", "3"]
    with (folder / "err").open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
    assert process.stdout is not None
    address = process.stdout.readline().removeprefix("open ").strip()
    assert address.startswith("http://127.0.0.1:"), (folder / "err").read_text()
    _wait(lambda: _listens(port))
    yield Server(process, address, port, folder / "tmp", folder / "watched")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert "ended" in process.stdout.read()
    process.stdout.close()
    assert not list((folder / "tmp").glob("slstt-app-*"))  # all uploads and results
    assert not (folder / "watched").exists(), (folder / "watched").read_text()
    assert "Traceback" not in (folder / "err").read_text()


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def _wait(condition: Any, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def page(browser: Any, server: Server, seen: Seen) -> Iterator[Any]:
    """The page, as wide as a phone; what it asked for and said is checked at the end."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, accept_downloads=True)
    context.set_default_timeout(120_000)
    context.on("request", lambda request: seen.addresses.append(request.url))
    opened = context.new_page()
    opened.on("dialog", lambda dialog: seen.errors.append(f"dialog: {dialog.message}"))
    opened.on("pageerror", lambda error: seen.errors.append(str(error)))
    opened.on("console", lambda said: seen.errors.append(said.text) if said.type == "error" else None)
    opened.goto(server.address)
    opened.wait_for_selector("#look")
    yield opened
    context.close()
    here = (f"http://127.0.0.1:{server.port}/", f"blob:http://127.0.0.1:{server.port}/", "data:")
    assert [address for address in seen.addresses if not address.startswith(here)] == []
    assert not seen.errors
    _wait(lambda: not list(server.temporary.glob("slstt-app-*/visit-*")))  # closed, so deleted
    _wait(lambda: not [path for path in server.temporary.glob("slstt-app-*/uploads/*/*") if path.is_file()])


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = draw_recording(3, seed=6, size=(320, 240), head=10, grey=True)
    path = tmp_path_factory.mktemp("filmed") / NAME
    return write_video(path, (picture for _, picture in drawn.frames()), drawn.rate)


def test_from_a_dropped_video_to_the_downloads(page: Any, filmed: Path, tmp_path: Path, seen: Seen) -> None:
    page.set_input_files("#dropped input[type=file]", filmed)
    page.wait_for_selector("#dropped >> text=/avi/")
    page.click("#look")
    report = page.frame_locator("iframe.slstt-report")
    report.locator(".facts").wait_for()
    assert "1 interval" in page.inner_text("#said") and page.locator("#said img").count() == 0
    assert "no lie detector" in report.locator("body").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390  # a phone need not scroll sideways
    sandboxed = page.get_attribute("iframe.slstt-report", "sandbox")
    assert sandboxed == "allow-scripts"

    # The line of time: its script and its video work without other rights.
    report.locator("a.mark").first.dispatch_event("click")
    _wait(lambda: report.locator("video").evaluate("video => video.currentTime") > 0.4)

    (row,) = _downloaded(page, "intervals.csv", tmp_path)
    assert [page.inner_text(f'[data-testid="cell-0-{column}"]').strip() for column in range(3)] == [
        row["onset"],
        row["apex"],
        row["offset"],
    ]
    assert row["source"] == "spotted"
    for name in ("intervals.eaf", "report.html", "annotated.mp4", "predictions.csv"):
        with page.expect_download() as started:
            _click(page, f'#downloads a[download="{name}"]')
        assert started.value.path().stat().st_size > 100

    onset = int(row["onset"]) - 2
    _edit(page, 0, 0, str(onset))
    _click(page, "#again")
    report.locator("text=The intervals given").wait_for()
    (row,) = _downloaded(page, "intervals.csv", tmp_path)
    assert (row["onset"], row["source"]) == (str(onset), "given")

    _edit(page, 0, 0, "<b>soon")
    _click(page, "#again")
    page.wait_for_selector("#said .slstt-problem")
    assert "row 1: onset '<b>soon' is no frame number" in page.inner_text("#said")
    assert page.locator("#said b").count() == 0


def test_what_is_no_recording_of_a_face_gets_one_line(page: Any, tmp_path: Path, server: Server) -> None:
    for name, content, said in (
        ("empty.mp4", b"", "empty file"),
        ("page.mp4", b"<script>alert(1)</script>" * 100, "not a readable video"),
        ("list.mp4", b"ffconcat version 1.0\nfile other.ts\n", "not a readable video"),
    ):
        (tmp_path / name).write_bytes(content)
        page.set_input_files("#dropped input[type=file]", tmp_path / name)
        page.wait_for_selector(f"#dropped >> text={name.split('.')[0]}")
        page.click("#look")
        page.wait_for_selector(f"#said .slstt-problem >> text={said}")
        assert str(server.temporary) not in page.inner_text("#said")
        page.click("#dropped button[aria-label='Clear'], #dropped button[aria-label='clear']")
    page.click("#look")
    page.wait_for_selector("#said >> text=give a video first")


def test_a_run_is_opened_in_the_second_tab(page: Any, tmp_path: Path) -> None:
    run = tmp_path / "${alert(1)} <i>run"
    write_predictions(run / "predictions.csv", predictions(subjects=4, clips=4))
    page.click("role=tab[name='A run']")
    page.fill("#folder input, #folder textarea", str(run))
    page.click("#open")
    report = page.frame_locator("#run-report iframe")
    report.locator("text=Most confident mistakes").wait_for()
    assert "${alert(1)} <i>run" in report.locator("h1").inner_text()
    page.fill("#folder input, #folder textarea", "/nowhere/<b>here")
    page.click("#open")
    page.wait_for_selector("#run-said .slstt-problem >> text=no such run folder")
    assert page.locator("#run-said b").count() == 0


def test_uploads_have_a_largest_size_and_no_path(server: Server, page: Any, tmp_path: Path) -> None:
    key = server.address.partition("key=")[2]

    def upload(name: str, content: bytes) -> str:
        body = (
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="' + name.encode() + b'"\r\n\r\n'
            + content + b"\r\n--x--\r\n"
        )  # fmt: skip
        asked = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/gradio_api/upload",
            body,
            {"content-type": "multipart/form-data; boundary=x", "cookie": f"slstt_app={key}"},
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.read().decode()

    said = upload("../../../escaped.avi", b"x" * 100)
    assert str(server.temporary) in said and ".." not in said
    assert not list(server.temporary.parent.rglob("../escaped.avi"))
    with pytest.raises(urllib.error.HTTPError) as refused:
        upload("large.avi", b"x" * 3_100_000)
    assert refused.value.code == 413
    refused.value.close()
    (tmp_path / "large.avi").write_bytes(b"x" * 3_100_000)
    page.set_input_files("#dropped input[type=file]", tmp_path / "large.avi")
    page.wait_for_selector("text=/exceed|maximum|too large/i")
    for path in server.temporary.glob("slstt-app-*/uploads/*/escaped.avi"):
        path.unlink()  # it belongs to no page, and would stay until the end


def _click(page: Any, selector: str) -> None:
    """Click without a pointer: while the page scrolls, Chromium may give the click to the report."""
    page.locator(selector).evaluate("element => element.click()")


def _edit(page: Any, row: int, column: int, text: str) -> None:
    page.locator("#intervals").scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    page.dblclick(f'[data-testid="cell-{row}-{column}"]')
    page.wait_for_timeout(500)  # until the cell can be written in
    page.keyboard.press("Control+A")
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    page.wait_for_selector(f'[data-testid="cell-{row}-{column}"] >> text={text}')


def _downloaded(page: Any, name: str, folder: Path) -> list[dict[str, str]]:
    with page.expect_download() as started:
        _click(page, f'#downloads a[download="{name}"]')
    started.value.save_as(folder / name)
    with (folder / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
