"""Run the variants of an ablation that are still missing, then print one table with intervals.

    python scripts/ablate.py configs/ablation/flow_maps.yaml data.root=flow_maps
    python scripts/ablate.py configs/ablation/synthetic.yaml --table-only

The YAML names the base config, what all variants share, and what each one changes; the first variant is the one the
others are compared with:

    out: runs/ablation            # every variant is a run folder (or one folder per seed) below it
    config: configs/demo.yaml     # settings of slstt-train
    seeds: [0, 1]
    shared: [training.epochs=20]
    preprocess:                   # only where variants change the flow: words of slstt-preprocess
      arguments: [--dataset, casme2, --root, raw, --config, configs/demo_preprocess.yaml]
    variants:
      onset flow, LSTM: {}
      consecutive flow: {preprocess: [flow.reference=consecutive]}
      mean: {train: [model.aggregator=mean]}

Every step is a command of the package, so an interrupted ablation continues where it stopped.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from slstt import cli
from slstt.config.load import Section, load_config
from slstt.errors import ConfigError, SlsttError
from slstt.evaluation.compare import compare
from slstt.evaluation.run import EvaluatedRun, evaluate, read_run
from slstt.evaluation.tables import SCORE_TITLES, Table, as_latex, as_markdown, as_text, score_text
from slstt.files import fingerprint, write_text

EXAMPLES = "  python scripts/ablate.py configs/ablation/flow_maps.yaml data.root=flow_maps"


class Variant(Section):
    """What one variant changes, as `section.key=value`."""

    train: list[str] = Field(default=[])
    preprocess: list[str] = Field(default=[])


class Preprocess(Section):
    """How the flow is made, where variants change it."""

    arguments: list[str]


class Ablation(Section):
    """The YAML file."""

    title: str = "Ablation"
    out: Path
    config: Path
    seeds: list[int] = Field(default=[0], min_length=1)
    shared: list[str] = Field(default=[])
    preprocess: Preprocess | None = None
    variants: dict[str, Variant] = Field(min_length=1)


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser("ablate", __doc__ or "", EXAMPLES)
    parser.add_argument("ablation", type=Path, help="the YAML file of variants")
    parser.add_argument("--table-only", action="store_true", help="run nothing, show what is finished")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="for slstt-train, in every variant")
    return cli.run(parser, _ablate, argv)


def _ablate(arguments: argparse.Namespace) -> int:
    ablation = load_config(Ablation, arguments.ablation)
    if ablation.preprocess is None and any(variant.preprocess for variant in ablation.variants.values()):
        raise ConfigError(f"{arguments.ablation}: variants change the flow, but there is no section 'preprocess'")
    failed = []
    for name, variant in ablation.variants.items():
        code = 0 if arguments.table_only else _run_variant(ablation, name, variant, arguments)
        if code == cli.INTERRUPTED:
            return code
        if code != 0:
            failed.append(name)
    table = _table(ablation)
    print(as_text(table))
    write_text(ablation.out / "ablation.md", as_markdown([table]))
    write_text(ablation.out / "ablation.tex", as_latex([table]))
    for name in failed:
        print(f"ablate: variant '{name}' did not finish; the same command continues it", file=sys.stderr)
    return 1 if failed else 0


def folder_of(ablation: Ablation, name: str) -> Path:
    """The variant's folder: its name, without what a path cannot hold."""
    return ablation.out / "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def _run_variant(ablation: Ablation, name: str, variant: Variant, arguments: argparse.Namespace) -> int:
    from slstt.cli import preprocess, train

    flags = [flag for flag in ("--quiet", "--debug") if getattr(arguments, flag.strip("-"))]
    data = []
    if ablation.preprocess is not None:
        # Variants with equal flow share one cache.
        cache = ablation.out / f"flow-{fingerprint({'flow': variant.preprocess})}"
        data = [f"data.root={cache}"]
        words = [*ablation.preprocess.arguments, "--out", str(cache), *variant.preprocess, *flags]
        if (code := preprocess.main(words)) not in (0, 1):  # 1: some clips failed, the rest is kept
            return code
    for seed in ablation.seeds:
        run = folder_of(ablation, name) / f"seed-{seed}"
        words = ["--config", str(ablation.config), "--out", str(run), *ablation.shared, *data, *arguments.overrides]
        code = train.main([*words, *variant.train, f"run.seed={seed}", *flags])
        if code != 0:
            return code
    return 0


def _table(ablation: Ablation) -> Table:
    """UF1 and UAR of each variant, and the paired difference in UF1 from the first."""
    first: EvaluatedRun | None = None
    rows = []
    for name in ablation.variants:
        cells: list[str]
        try:
            run = read_run(folder_of(ablation, name))
            metrics: dict[str, Any] = evaluate(run)
            cells = [score_text(metrics["full"][score], metrics["full"]["ci"][score]) for score in ("uf1", "uar")]
            cells.append(f"{metrics['seeds']['sd']['uf1']:.3f}" if run.several else "-")
            cells.append(_difference(run, first, name) if first is not None else "(reference)")
            cells.append(f"{len(run.seeds)}{', PARTIAL' if run.missing else ''}")
            first = first or run
        except SlsttError as error:
            cells = ["-", "-", "-", str(error.problems[0]).rpartition(": ")[2], "0"]
        rows.append((name, *cells))
    header = ("Variant", SCORE_TITLES["uf1"], SCORE_TITLES["uar"], "SD over seeds", "UF1 minus the first's", "Seeds")
    notes = (
        "Intervals: 95%, 2,000 bootstrap draws of subjects, seeds pooled; differences are paired by subject.",
        "An interval that excludes zero is no proof where many variants are tried.",
    )
    return Table(ablation.title, header, tuple(rows), notes)


def _difference(run: EvaluatedRun, first: EvaluatedRun, name: str) -> str:
    found = compare(run.seeds, first.seeds, (name, "the first"))
    low_high = found.ci["uf1"]
    interval = "" if low_high is None else f" [{low_high[0]:+.3f}, {low_high[1]:+.3f}]"
    return f"{found.difference['uf1']:+.3f}{interval}"


if __name__ == "__main__":
    sys.exit(main())
