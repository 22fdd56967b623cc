"""Scores as their authors report them, to stand beside a run's own; selection rules differ between papers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slstt.evaluation.tables import TITLES, Table


@dataclass(frozen=True)
class Published:
    """One method's row. Scores by part ("full", "smic", ...): (UF1, UAR) for the composite, (F1, accuracy) for SDE."""

    method: str
    source: str
    scores: Mapping[str, tuple[float, float]]
    certain: bool = True
    """False where the figures came to us second-hand; marked (?) in the table."""


def _composite(method: str, source: str, *scores: tuple[float, float], certain: bool = True) -> Published:
    return Published(method, source, dict(zip(("full", "smic", "casme2", "samm"), scores, strict=True)), certain)


_SLSTT = "Zhang et al. 2022, arXiv 2112.05851"

COMPOSITE = (
    _composite("LBP-TOP", "baseline of See et al., MEGC 2019",
               (0.5882, 0.5785), (0.2000, 0.5280), (0.7026, 0.7429), (0.3954, 0.4102)),
    _composite("OFF-ApexNet", "Gan et al. 2019",
               (0.7196, 0.7096), (0.6817, 0.6695), (0.8764, 0.8681), (0.5409, 0.5392)),
    _composite("STSTNet", "Liong et al. 2019",
               (0.7353, 0.7605), (0.6801, 0.7013), (0.8382, 0.8686), (0.6588, 0.6810)),
    _composite("RCN", "Xia et al. 2020",
               (0.7432, 0.7190), (0.6326, 0.6441), (0.8512, 0.8123), (0.7601, 0.6715)),
    _composite("EMR", "Liu et al. 2019",
               (0.7885, 0.7824), (0.7461, 0.7530), (0.8293, 0.8209), (0.7754, 0.7152)),
    _composite("FeatRef", "Zhou et al. 2022",
               (0.7838, 0.7832), (0.7011, 0.7083), (0.8915, 0.8873), (0.7372, 0.7155)),
    _composite("SLSTT-LSTM", _SLSTT,
               (0.816, 0.790), (0.740, 0.720), (0.901, 0.885), (0.715, 0.643), certain=False),
    _composite("HTNet", "Wang et al. 2024",
               (0.8603, 0.8475), (0.8049, 0.7905), (0.9532, 0.9516), (0.8131, 0.8124)),
)  # fmt: skip
"""MEGC2019 composite, three classes: (UF1, UAR)."""

SINGLE = {
    "smic_sde": Published("SLSTT-LSTM", _SLSTT, {"smic": (0.740, 0.7500)}, certain=False),
    "casme2_sde": Published("SLSTT-LSTM", _SLSTT, {"casme2": (0.753, 0.7581)}, certain=False),
    "samm_sde": Published("SLSTT-LSTM", _SLSTT, {"samm": (0.640, 0.7239)}, certain=False),
}
"""Single data sets: (F1, accuracy)."""

_CAUTION = (
    "As the authors report them; the rule by which they chose the epoch differs and is often the test subject's own "
    "score, which inflates it. (?): second-hand figure."
)


def published_table(summary: Mapping[str, Any]) -> Table | None:
    """Published scores beside the run's own; None unless the run's clips are exactly those of a known protocol."""
    name, parts = summary["protocol"], summary["parts"]
    if name in SINGLE:
        return _single_table(SINGLE[name], summary)
    if name not in ("cde", "cde_casme2_smic"):
        return None
    columns = [c for c in ("full", "smic", "casme2", "samm") if c in parts or (c == "full" and name == "cde")]
    rows = [
        (
            f"{entry.method}{'' if entry.certain else ' (?)'}",
            entry.source,
            *(f"{entry.scores[c][0]:.3f} / {entry.scores[c][1]:.3f}" for c in columns),
        )
        for entry in COMPOSITE
    ]
    blocks = {**parts, "full": summary["full"]}
    rows.append(("This run", _rule(summary), *(f"{blocks[c]['uf1']:.3f} / {blocks[c]['uar']:.3f}" for c in columns)))
    notes = [_CAUTION]
    if name != "cde":
        notes.append(
            "The published models were trained on all three data sets, this run without SAMM: the columns are not "
            "measured under the same conditions."
        )
    titles = {"full": "Full", **TITLES}
    return Table(
        "Published scores, UF1 / UAR", ("Method", "Source", *(titles[c] for c in columns)), tuple(rows), tuple(notes)
    )


def _single_table(entry: Published, summary: Mapping[str, Any]) -> Table:
    (f1, accuracy), own = next(iter(entry.scores.values())), summary["full"]
    rows = (
        (f"{entry.method}{'' if entry.certain else ' (?)'}", entry.source, f"{f1:.3f}", f"{accuracy:.3f}"),
        ("This run", _rule(summary), f"{own['uf1']:.3f}", f"{own['accuracy']:.3f}"),
    )
    return Table("Published scores, F1 / accuracy", ("Method", "Source", "F1", "Accuracy"), rows, (_CAUTION,))


def _rule(summary: Mapping[str, Any]) -> str:
    return f"epoch chosen by: {summary['selection'] or 'unknown'}"
