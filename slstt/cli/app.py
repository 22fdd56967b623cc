"""`slstt-app`: a page in the browser for one's own recordings and for runs, served to this computer alone."""

import argparse
import importlib.util
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from slstt import cli
from slstt.errors import ConfigError, Problems

if TYPE_CHECKING:
    from slstt.prediction.run import Predictor

DESCRIPTION = """\
A page to drop a video into, or to record one with the camera: it spots small movements of the face as slstt-predict
does, shows the report, and lets you correct onset, apex and offset and classify again. A second tab shows the report
of a run. Open the address that is printed; end with Ctrl-C. The page is served to this computer alone, loads nothing
from the internet and sends nothing there. Uploads are deleted when their page is closed, and at the end.
It is no lie detector, reads no feelings, and is not for decisions about people."""
EXAMPLES = """\
  pip install 'slstt[app]'
  slstt-app
  slstt-app --weights runs/cde --port 8000
  slstt-app --largest-mb 2000 --longest-s 600 spotting.threshold=8
  ssh -L 7860:127.0.0.1:7860 machine                       the page of another machine, on this one
every section.key is described in docs/predict.md, the page in docs/app.md"""
PORTS = (1024, 65_535)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = cli.parser("slstt-app", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "--weights", default="default", metavar="WEIGHTS", help="default, a model file, or a run of slstt-train"
    )
    parser.add_argument("--port", type=int, default=7860, metavar="N", help="of the address (default: %(default)s)")
    parser.add_argument(
        "--largest-mb", type=float, default=500, metavar="N", help="largest file that is taken (default: %(default)s)"
    )
    parser.add_argument(
        "--longest-s", type=float, default=120, metavar="N", help="longest recording, seconds (default: %(default)s)"
    )
    parser.add_argument("--check", action="store_true", help="check everything, start nothing")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings")
    return cli.run(parser, _app, argv)


def _app(arguments: argparse.Namespace) -> int:
    predictor = _inputs(arguments)
    predictor.prepare()
    if arguments.check:
        print(f"weights: {predictor.classifier.source} ({', '.join(predictor.classifier.wanted.classes)})")
        print(f"would be served at http://127.0.0.1:{arguments.port}/ (--check)")
        return 0
    with tempfile.TemporaryDirectory(prefix="slstt-app-", ignore_cleanup_errors=True) as folder:
        root = Path(folder).resolve()
        os.environ["GRADIO_TEMP_DIR"] = str(root / "uploads")  # read when gradio is imported
        from slstt.app.server import address, serve
        from slstt.app.visits import Bounds, Visits

        visits = Visits(root, predictor, Bounds(arguments.largest_mb, arguments.longest_s))
        key = secrets.token_urlsafe(24)
        print(f"open {address(arguments.port, key)}\nend with Ctrl-C", flush=True)
        with suppress(KeyboardInterrupt):  # the usual end
            serve(visits, arguments.port, key, arguments.quiet)
    print("ended; what was uploaded and made is deleted")
    return 0


def _inputs(arguments: argparse.Namespace) -> "Predictor":
    """Everything the command line names; all that is wrong with it is raised at once."""
    problems = Problems()
    if importlib.util.find_spec("gradio") is None:
        problems.add(ConfigError("gradio is not installed; run pip install 'slstt[app]'"))
    for name, value in (("--largest-mb", arguments.largest_mb), ("--longest-s", arguments.longest_s)):
        if not 0 < value <= 1e6:
            problems.add(ConfigError(f"{name} {value:g}: give a number above 0, at most 1,000,000"))
    if not PORTS[0] <= arguments.port <= PORTS[1]:
        problems.add(ConfigError(f"--port {arguments.port}: from {PORTS[0]} to {PORTS[1]}"))
    elif not _free(arguments.port):
        problems.add(ConfigError(f"--port {arguments.port}: in use by another program; choose another"))

    from slstt.prediction.classify import find_classifier, read_settings  # these load torch
    from slstt.prediction.run import Predictor

    predictor = None
    with problems.collecting():
        classifier = find_classifier(arguments.weights)
        settings, remarks = read_settings(classifier, arguments.overrides)
        predictor = Predictor(classifier, settings, video=True)
        for remark in (*classifier.remarks, *remarks):
            print(f"slstt-app: note: {remark}", file=sys.stderr)
    problems.raise_if_any()
    assert predictor is not None
    return predictor


def _free(port: int) -> bool:
    with socket.socket() as asked:
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            asked.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
