"""docs/app.png: the page of slstt-app after a rendered recording was dropped into it. Needs slstt[app], playwright and
Chromium.

    python scripts/app_screenshot.py --out docs/app.png
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from slstt.datasets.synthetic.recordings import draw_recording, write_video

PORT = 7899


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/app.png"))
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    command = [sys.executable, "-m", "slstt.cli.app", "--port", str(PORT)]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            drawn = draw_recording(4, seed=6, size=(640, 480), head=10)
            path = write_video(Path(folder) / "talk.mp4", (picture for _, picture in drawn.frames()), drawn.rate)
            assert server.stdout is not None
            take(server.stdout.readline().removeprefix("open ").strip(), path, arguments.out, chromium)
        finally:
            server.terminate()


def take(address: str, recording: Path, out: Path, chromium: str | None) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(address)
        page.set_input_files("#dropped input[type=file]", recording)
        page.wait_for_selector("#dropped >> text=/mp4/")
        page.click("#look")
        page.frame_locator("iframe.slstt-report").locator(".facts").wait_for(timeout=300_000)
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(4000)
        page.screenshot(path=out, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
