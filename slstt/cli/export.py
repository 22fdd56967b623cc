"""`slstt-export`: trained networks as ONNX files, for programs without slstt."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from slstt import cli
from slstt.errors import DataError

DESCRIPTION = """\
Write the network of a model file, or of every fold of a run, as ONNX. Before a file is kept, it is run on several
numbers of clips and frames and compared with the network. The file's metadata and a .json beside it describe its input
and output."""
EXAMPLES = """\
  slstt-export default --out exported                       the weights that come with slstt, as ONNX
  slstt-export runs/cde --out exported                      every fold of a run
  slstt-export runs/cde/folds/smic-s01/model.safetensors --out exported"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = cli.parser("slstt-export", DESCRIPTION, EXAMPLES)
    parser.add_argument("weights", metavar="WEIGHTS", help="default, a model file, or a run folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the ONNX files")
    parser.add_argument("--check", action="store_true", help="say what would be written, write nothing")
    return cli.run(parser, _export, argv)


def _export(arguments: argparse.Namespace) -> int:
    import torch  # here: --help and a wrong command line need no torch

    from slstt.files import write_json
    from slstt.models.export import check_packages, export
    from slstt.prediction.classify import find_classifier
    from slstt.progress import Progress

    check_packages()
    found = find_classifier(arguments.weights)
    if arguments.out.exists() and not arguments.out.is_dir():
        raise DataError(f"{arguments.out}: is a file; --out must name a folder")
    torch.set_num_threads(1)  # the comparison then does not depend on the machine's load
    for remark in found.remarks:
        print(f"note: {remark}", file=sys.stderr)
    # A fold's file is called model.safetensors: its folder tells which it is.
    targets = [
        arguments.out / f"{path.parent.name if path.stem == 'model' else path.stem}.onnx" for path in found.paths
    ]
    if arguments.check:
        for target in targets:
            print(f"would be written: {target}")
        print("nothing was written (--check)")
        return 0
    worst = 0.0
    with Progress("export", len(targets), unit="file", quiet=arguments.quiet) as progress:
        for path, target in zip(found.paths, targets, strict=True):
            about = export(path, target)
            write_json(target.with_name(target.name + ".json"), about)
            worst = max(worst, float(about["largest_difference"]))
            progress.advance()
    print(f"{len(targets)} file(s) in {arguments.out}; logits differ by at most {worst:.0e} of the networks' largest")
    return 0


if __name__ == "__main__":
    sys.exit(main())
