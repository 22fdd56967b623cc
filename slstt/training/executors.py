"""Where the folds are trained: one after another in this process (more ways: see `run_folds`)."""

from collections.abc import Callable, Iterator, Sequence

from slstt.training.flow_dataset import FlowData
from slstt.training.loso import FoldTrainer, Job, Outcome


def run_serial(
    job: Job,
    names: Sequence[str],
    data: FlowData,
    stop: Callable[[], bool],
    report: Callable[[str, int], None],
    say: Callable[[str], None],
) -> Iterator[Outcome]:
    """One fold after another."""
    trainer = FoldTrainer(job, data)
    for name in names:
        if stop():
            yield Outcome(name, "interrupted")
        else:
            yield trainer.train(name, stop, lambda epoch, name=name: report(name, epoch), say)
