"""`slstt-train`: leave-one-subject-out training on preprocessed clips or published flow maps."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from slstt import cli
from slstt.config.combinations import problems
from slstt.config.load import find_config, load_config
from slstt.config.train import TrainConfig, with_absolute_roots
from slstt.errors import ConfigError
from slstt.workers import Stop

EXAMPLES = """\
  slstt-train --config configs/flow_maps/slstt.yaml data.root=flow_maps --out runs/maps
  slstt-train --config configs/paper/slstt.yaml data.root=casme2 model.pretrained=imagenet encoder.dropout=0
  slstt-train --config configs/paper/slstt.yaml data.protocol=cde data.root=all model.pretrained=FILE --shard 2/8
  slstt-train --config configs/demo.yaml data.root=preprocessed --out runs/two run.executor=processes run.workers=2
  slstt-train --config configs/demo.yaml data.root=preprocessed --out runs/try --check
Every section.key is described in docs/training.md. --shard is for job arrays.
After an interruption, run the same command again to continue; finished folds are skipped."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = cli.parser("slstt-train", __doc__ or "", EXAMPLES)
    parser.add_argument("--config", type=Path, required=True, help="settings (YAML); see configs/")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/<name of the config>)")
    parser.add_argument("--folds", help="train only these folds: sub01,sub02 or casme2-sub01,... or casme2/sub01,...")
    parser.add_argument("--shard", help="train only part i of n of the folds, as i/n; all parts may share one --out")
    parser.add_argument("--check", action="store_true", help="check everything, say what would be done, write nothing")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings that win over the file")
    return cli.run(parser, _train, argv)


def _train(arguments: argparse.Namespace) -> int:
    with Stop() as stop:
        settings = with_absolute_roots(load_config(TrainConfig, find_config(arguments.config), arguments.overrides))
        found = problems(settings)
        shard = None
        if arguments.shard is not None:
            match = re.fullmatch(r"(\d+)/(\d+)", arguments.shard)
            shard = (int(match[1]), int(match[2])) if match else (0, 0)
            if not 1 <= shard[0] <= shard[1]:
                found.append(f"--shard {arguments.shard}: write i/n with 1 <= i <= n, e.g. 2/4")
        from slstt.training.run import check, machine_problems, train

        found += machine_problems(settings)
        if found:
            raise ConfigError(*found)
        wanted = None
        if arguments.folds is not None:
            wanted = [name.strip() for name in arguments.folds.split(",") if name.strip()]
        run = arguments.out or Path("runs") / arguments.config.stem
        if arguments.check:
            check(settings, run, wanted, shard)
            return 0
        return train(settings, run, wanted, shard, stop, arguments.quiet)


if __name__ == "__main__":
    sys.exit(main())
