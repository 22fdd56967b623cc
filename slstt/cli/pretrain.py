"""`slstt-pretrain`: weights trained on synthetic flow of action units alone; no data set is read."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from slstt import cli
from slstt.config.load import find_config, load_config
from slstt.config.pretrain import PretrainConfig, problems
from slstt.errors import ConfigError
from slstt.workers import Stop

EXAMPLES = """\
  slstt-pretrain --config configs/pretrain/flow_map.yaml --out pretrained
  slstt-pretrain --config configs/pretrain/flow_map.yaml --out try training.steps=100 training.warmup_steps=10
  slstt-pretrain --config configs/pretrain/flow_map.yaml --out pretrained --check          (writes nothing)
After an interruption, run the same command again to continue."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = cli.parser("slstt-pretrain", __doc__ or "", EXAMPLES)
    parser.add_argument("--config", type=Path, required=True, help="settings (YAML); see configs/pretrain/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights and their settings")
    parser.add_argument("--check", action="store_true", help="check everything, say what would be done, write nothing")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings that win over the file")
    return cli.run(parser, _pretrain, argv)


def _pretrain(arguments: argparse.Namespace) -> int:
    with Stop() as stop:
        settings = load_config(PretrainConfig, find_config(arguments.config), arguments.overrides)
        if found := problems(settings):
            raise ConfigError(*found)
        from slstt.training import pretraining

        if arguments.check:
            for line in pretraining.check(settings, arguments.out):
                print(line)
            return 0
        pretraining.run(settings, arguments.out, stop, arguments.quiet)
        return 0


if __name__ == "__main__":
    sys.exit(main())
