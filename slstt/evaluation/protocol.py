"""May this result carry a protocol's name? Only if clip ids, classes and counts are exactly the protocol's."""

from dataclasses import dataclass

from slstt.datasets.protocols import PROTOCOLS, manifest_difference
from slstt.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Naming:
    """What the result may be called."""

    name: str | None
    """The protocol's name, e.g. `cde`, where the clips match; else None."""
    title: str
    """For people: the protocol's title, or that it is none."""
    declared: str | None
    """The protocol the run's settings name, if any."""
    differences: tuple[str, ...]
    """What keeps the result from its declared (or the nearest) protocol, clip by clip."""
    nearest: str | None = None
    """The protocol the differences refer to."""


def naming(predictions: Predictions, declared: str | None = None) -> Naming:
    """Compare the clips and true labels with the declared protocol, or with every protocol of the same classes."""
    rows = [(*key, label) for key, label in zip(predictions.keys, predictions.true, strict=True)]
    candidates = (
        [declared]
        if declared in PROTOCOLS
        else [name for name, protocol in PROTOCOLS.items() if set(protocol.classes) == set(predictions.classes)]
    )
    differences = {}
    for name in candidates:
        if name is None:
            continue
        found = manifest_difference(PROTOCOLS[name], rows)
        if set(PROTOCOLS[name].classes) != set(predictions.classes):
            found = [f"the classes are {', '.join(predictions.classes)}", *found]
        if not found:
            return Naming(name, PROTOCOLS[name].title, declared, ())
        differences[name] = tuple(found)
    if not differences:
        return Naming(None, "own protocol (its classes are those of no known protocol)", declared, ())
    nearest = min(differences, key=lambda name: len(differences[name]))
    return Naming(None, f"not the clips of {PROTOCOLS[nearest].title}", declared, differences[nearest], nearest)
