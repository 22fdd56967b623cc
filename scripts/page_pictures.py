"""Pictures of the pages that the commands write, for the docs: rendered clips, one of them with planted faults.

    python scripts/page_pictures.py [--out docs] [--keep FOLDER]

Writes preprocessing_report.jpg, evaluation_report.jpg and prediction_report.jpg. Needs Chromium.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2

from slstt.cli import evaluate, predict, preprocess, train
from slstt.datasets import synthetic
from slstt.datasets.synthetic.recordings import draw_recording, write_recording

WIDTH = 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work here and keep the pages")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("page_pictures: needs chromium or google-chrome", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out.resolve()
        os.chdir(options.keep or temporary)  # the pages name paths as they were given
        for name, (page, height) in write_pages().items():
            take(chromium, page, height, out / name)
            print(out / name)
    return 0


def write_pages() -> dict[str, tuple[Path, int]]:
    """Name of the picture -> the page and how many pixels of it are shown, after the commands have written them."""
    raw, cache, run = Path("CASME2"), Path("cache"), Path("runs/first")
    synthetic.write(raw, layout="casme2", subjects=3, clips_per_subject=5, size=(320, 240), quiet=True)
    plant_faults(raw)
    settings = ["--config", "configs/demo_preprocess.yaml", "--workers", "1", "--quiet"]
    preprocess.main(["--dataset", "casme2", "--root", str(raw), "--out", str(cache), *settings])
    train.main(["--config", "configs/demo.yaml", "--out", str(run), "--quiet", f"data.root={cache}"])
    evaluate.main([str(run)])
    drawn = draw_recording(6, seed=6, size=(320, 240), grey=True, emotions=["happiness", "surprise"])
    predict.main([str(write_recording(Path("talk.avi"), drawn)), "--quiet"])
    return {
        "preprocessing_report.jpg": (cache / "report" / "index.html", 1065),
        "evaluation_report.jpg": (run / "report.html", 725),
        "prediction_report.jpg": (Path("predicted/talk/report.html"), 975),
    }


def plant_faults(raw: Path) -> None:
    """Spoil two clips: one loses a frame in its middle, one shows no face."""
    clips = sorted(path for path in raw.rglob("sub0*/*") if path.is_dir())
    frames = sorted(clips[0].glob("*.jpg"), key=lambda path: int(path.stem.removeprefix("img")))
    frames[len(frames) // 3].unlink()
    for path in clips[1].glob("*.jpg"):
        picture = cv2.imread(str(path))
        assert picture is not None
        cv2.imwrite(str(path), picture * 0 + 128)


def take(chromium: str, page: Path, height: int, out: Path) -> None:
    """Save the upper part of a page as a picture of WIDTH x `height` pixels."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--window-size={WIDTH},{height}", f"--screenshot={shot}", page.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        picture = cv2.imread(str(shot))
        assert picture is not None
        cv2.imwrite(str(out), picture, [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    sys.exit(main())
