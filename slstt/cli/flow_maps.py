"""`slstt-flow-maps`: from a data set as its owners publish it to onset-to-apex flow maps.

The flow is made by preprocessing, one frame a clip; maps are drawn from its flow files.
"""

import argparse
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slstt import cli
from slstt.cli.preprocess import add_inputs, print_source, print_summary, read_given
from slstt.errors import ConfigError, DataError, Problems

if TYPE_CHECKING:
    import numpy as np

    from slstt.datasets.clips import Clip
    from slstt.preprocessing.run import PreprocessingResult

DESCRIPTION = """\
Read a data set as its owners publish it, find the face on each clip's apex frame, measure the optical flow from the
onset to the apex, and draw it as a map of 28x28 pixels: u, v and optical strain, each scaled to 0..255.
Run the same command again to continue after an interruption or after a change of files or settings."""
EXAMPLES = """\
  slstt-flow-maps --dataset casme2 --root /data/CASME2 --out maps --check
  slstt-flow-maps --dataset casme2 --root /data/CASME2 --out maps
  slstt-flow-maps --dataset samm --root /data/SAMM --out maps flow.method=tvl1
  slstt-flow-maps --dataset smic --root /data/SMIC_all_raw --out maps --crop square --tree maps_by_subject
Several data sets share one --out: together they are the composite. docs/flow_maps.md says what a map is."""
MAP_DATASETS = ("casme2", "samm", "smic")
"""The data sets of the composite, whose ids tell them apart in the pictures' names."""
PROTOCOL = "cde"
FIXED = ("frames.count=1", "frames.selection=apex", "interpolation.method=none", "flow.reference=onset")
"""What makes the flow of a clip its onset-to-apex flow."""
MOST_PIXELS = 512


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = cli.parser("slstt-flow-maps", DESCRIPTION, EXAMPLES)
    add_inputs(parser, MAP_DATASETS)
    parser.add_argument(
        "--crop",
        choices=("published", "square"),
        default="published",
        help="what of the face is shown: about what the published maps show (default), or slstt's square",
    )
    parser.add_argument("--size", type=int, default=28, metavar="N", help="side of the maps in pixels (default: 28)")
    parser.add_argument(
        "--tree",
        type=cli.path,
        metavar="DIR",
        help="also lay all maps of --out out by left-out subject, as the published programs read them",
    )
    return cli.run(parser, _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    from slstt.preprocessing.run import preprocess, write_report

    problems = Problems()
    for problem in (*_problems(arguments), *_would_be_lost(arguments)):
        problems.add(ConfigError(problem))
    config, release, landmarks, workers = None, None, {}, 1
    with problems.collecting():
        config, release, landmarks, workers = read_given(arguments, *FIXED)
    problems.raise_if_any()
    assert config is not None and release is not None
    classes = _classes(release.clips)
    if not classes:
        raise DataError(f"{release.root}: no clip of the composite's classes; correct --dataset or --root")
    release = replace(release, clips=tuple(clip for clip in release.clips if clip.key in classes))
    if not arguments.quiet:
        print_source(release)
    if arguments.check:
        from slstt.preprocessing.check import check

        code = check(release, config, arguments.out, landmarks, workers, arguments.quiet)
        print(f"maps: {_counted(classes.values())}, {arguments.size}x{arguments.size} pixels, crop {arguments.crop}")
        return code
    result = preprocess(release, config, arguments.out, landmarks, workers, arguments.quiet, arguments.retry)
    page = write_report(result, arguments.out)
    _write_maps(result, classes, arguments)
    print_summary(result, arguments.out, page)
    print(f"{_counted(classes[clip.key] for clip in result.clips)} in {arguments.out}")
    if arguments.tree is not None:
        from slstt.datasets.flow_maps import write_tree

        print(f"laid out for {write_tree(arguments.out, arguments.tree)} left-out subjects in {arguments.tree}")
    if result.clips:
        print(f"next: slstt-train --config configs/flow_maps/committee.yaml data.root={arguments.out} --out runs/maps")
    return 1 if result.failures else 0


def _problems(arguments: argparse.Namespace) -> list[str]:
    found = []
    if not 8 <= arguments.size <= MOST_PIXELS:
        found.append(f"--size {arguments.size}: from 8 to {MOST_PIXELS}")
    wanted = {name: value for name, _, value in (setting.partition("=") for setting in FIXED)}
    for name, _, value in (override.partition("=") for override in arguments.overrides):
        if wanted.get(name.strip(), value.strip()) != value.strip():
            found.append(f"'{name.strip()}': a flow map is of onset and apex alone; leave it out")
    if arguments.tree is not None:
        tree, out = arguments.tree.absolute(), arguments.out.absolute()
        if tree == out or out in tree.parents:
            found.append(f"--tree {arguments.tree}: lies in --out, whose pictures would be there twice; name another")
    return found


def _would_be_lost(arguments: argparse.Namespace) -> list[str]:
    """Maps that somebody else made, such as the published ones, are not written over."""
    from slstt.datasets.flow_maps import FOLDER, foreign_files

    out, tree, found = arguments.out, arguments.tree, []
    if not (out / "manifest.json").exists() and any((out / name).exists() for name in ("labels.csv", FOLDER)):
        found.append(f"--out {out}: holds flow maps that slstt-flow-maps did not make; name another folder")
    if tree is not None and (others := foreign_files(out, tree)):
        what = f"{len(others)} file(s) that are no maps of --out, such as {others[0].relative_to(tree)}"
        found.append(f"--tree {tree}: holds {what}; name another folder, or delete this one")
    return found


def _classes(clips: "Collection[Clip]") -> dict[tuple[str, str, str], str]:
    """The class of each clip that is of the composite."""
    from slstt.datasets.protocols import PROTOCOLS, class_of

    found = {clip.key: class_of(PROTOCOLS[PROTOCOL], clip) for clip in clips}
    return {key: label for key, label in found.items() if label is not None}


def _counted(labels: Iterable[str]) -> str:
    counts = Counter(labels)
    return f"{counts.total()} flow maps ({', '.join(f'{name} {counts[name]}' for name in sorted(counts))})"


def _write_maps(
    result: "PreprocessingResult", classes: Mapping[tuple[str, str, str], str], arguments: argparse.Namespace
) -> None:
    from slstt.datasets.flow_maps import draw, write
    from slstt.flow.flow_files import flow_path, read_whole
    from slstt.preprocessing.run import only_writer
    from slstt.progress import Progress

    maps, out = [], arguments.out
    with Progress("drawing maps", len(result.clips), quiet=arguments.quiet) as bar:
        for clip in result.clips:
            tensors, about = read_whole(flow_path(out, clip.key))
            box = published_box(tensors["landmarks"], about) if arguments.crop == "published" else None
            maps.append((clip.key, classes[clip.key], draw(tensors["flow"][0], box, arguments.size)))
            bar.advance()
    with only_writer(out):
        write(out, result.release.dataset, maps)


def published_box(landmarks: "np.ndarray", about: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in pixels of the flow: about what the published maps show of a face.

    `landmarks` (68, 2) in pixels of the frame, `about` as a flow file has it. The box is upright, about the middle of
    the eyes, and its sides are `PUBLISHED_CROP` times the distance between them.
    """
    import numpy as np

    from slstt.datasets.synthetic.flow_fields import PUBLISHED_CROP

    x0, y0, _ = about["square"]
    points = (np.asarray(landmarks, np.float64) - (x0, y0)) * about["scale"]
    eyes = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    (x, y), apart = (eyes[0] + eyes[1]) / 2, float(np.hypot(*(eyes[1] - eyes[0])))
    left, right, top, bottom = (round(side * apart) for side in PUBLISHED_CROP)
    x, y = round(x), round(y)
    return x + left, y + top, x + max(right, left + 1), y + max(bottom, top + 1)


if __name__ == "__main__":
    raise SystemExit(main())
