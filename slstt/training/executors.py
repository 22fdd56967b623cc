"""Where the folds are trained: here, in several processes, or by Ray. The result is the same everywhere."""

from collections.abc import Callable, Iterator, Sequence

from slstt.training.inputs import FlowData
from slstt.training.loso import FoldOutcome, FoldTrainer, TrainingJob


def run_folds(
    job: TrainingJob,
    names: Sequence[str],
    data: FlowData,
    stop: Callable[[], bool],
    report: Callable[[str, int], None],
    say: Callable[[str], None],
) -> Iterator[FoldOutcome]:
    """Train the folds with run.executor; outcomes come in the order in which the folds end.

    `report` hears (fold, finished epochs), `say` remarks for the user. Once `stop` says yes every fold at work saves
    its state. Raises DataError and the like where the whole run is concerned.
    """
    match job.settings.run.executor:
        case "processes" if len(names) > 0:
            from slstt.training.processes import run_processes

            yield from run_processes(job, names, stop, report, say)
        case "ray" if len(names) > 0:
            from slstt.training.ray_tasks import run_ray

            yield from run_ray(job, names, stop)
        case _:
            trainer = FoldTrainer(job, data)
            for name in names:
                if stop():
                    yield FoldOutcome(name, "interrupted")
                else:
                    yield trainer.train(name, stop, lambda epoch, name=name: report(name, epoch), say)
