"""The result as text for the terminal, as Markdown and as LaTeX (booktabs), from one list of rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TITLES = {"casme2": "CASME II", "samm": "SAMM", "smic": "SMIC-HS"}
"""How people write the data sets."""
SCORE_TITLES = {"uf1": "UF1", "uar": "UAR", "accuracy": "Accuracy"}


def dataset_title(name: str) -> str:
    """How people write the data set `name`; an unknown one keeps its own name."""
    return TITLES.get(name) or printable(name)


@dataclass(frozen=True)
class Table:
    """A table of text cells; the first column holds names."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[bool, ...]:
        """Whether each column holds names, set to the left, and not numbers, set to the right."""
        return tuple(
            place == 0 or any(row[place][:2].isalpha() for row in self.rows) for place in range(len(self.header))
        )


def score_table(summary: Mapping[str, Any], caption: str = "Result") -> Table:
    """UF1, UAR and accuracy with their intervals, in full and (where there are several data sets) per part."""
    parts = summary["parts"]
    blocks: list[tuple[str, Any]] = [("Full", summary["full"])] if len(parts) != 1 else []
    blocks += [(dataset_title(name), block) for name, block in parts.items()]
    rows = tuple(
        (
            title,
            *(score_text(block[score], block["ci"][score]) for score in SCORE_TITLES),
            str(block["n"]),
            str(block["subjects"]),
        )
        for title, block in blocks
    )
    return Table(caption, ("", *SCORE_TITLES.values(), "Clips", "Subjects"), rows)


def class_table(summary: Mapping[str, Any], caption: str = "Per class") -> Table:
    """Precision, recall and F1 of each class, with its number of clips."""
    rows = tuple(
        (
            name,
            str(line["support"]),
            str(line["predicted"]),
            *(number(line[score]) for score in ("precision", "recall", "f1")),
        )
        for name, line in summary["per_class"].items()
    )
    return Table(caption, ("Class", "True", "Predicted", "Precision", "Recall", "F1"), rows)


def confusion_table(
    summary: Mapping[str, Any], caption: str = "Confusion matrix (rows true, columns predicted)"
) -> Table:
    """The pooled confusion matrix in counts."""
    classes = summary["classes"]
    rows = tuple((name, *map(str, row)) for name, row in zip(classes, summary["confusion"], strict=True))
    return Table(caption, ("true \\ predicted", *classes), rows)


def seed_table(summary: Mapping[str, Any], caption: str = "Per seed") -> Table | None:
    """The scores of each seed's run, their mean and standard deviation; None for a single run."""
    seeds = summary.get("seeds")
    if not seeds:
        return None
    rows = [(run["name"], *(number(run[score]) for score in SCORE_TITLES)) for run in seeds["runs"]]
    for name, title in (("mean", "mean"), ("sd", "standard deviation"), ("min", "lowest"), ("max", "highest")):
        rows.append((title, *(number(seeds[name][score]) for score in SCORE_TITLES)))
    return Table(caption, ("Run", *SCORE_TITLES.values()), tuple(rows))


def number(value: float | None) -> str:
    """A score with three digits; a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


def score_text(value: float, interval: Sequence[float] | None) -> str:
    """`0.713 [0.650, 0.771]`, or the score alone where there is no interval."""
    return number(value) if interval is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def printable(text: str) -> str:
    """`text` on one line, with control characters made visible: names from files may hold anything."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def as_text(table: Table) -> str:
    """Aligned columns for a terminal."""
    lines = [[printable(cell) for cell in row] for row in (table.header, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(line, widths, table.names, strict=True)
        ).rstrip()
        for line in lines
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([printable(table.caption), text[0], rule, *text[1:], *map(printable, table.notes)])


def as_markdown(tables: Iterable[Table]) -> str:
    """The tables as GitHub Markdown."""

    def one(table: Table) -> str:
        header, *rows = ("| " + " | ".join(map(_markdown, row)) + " |" for row in (table.header, *table.rows))
        rule = "|" + "|".join("---" if left else "---:" for left in table.names) + "|"
        return "\n".join([f"**{_markdown(table.caption)}**", "", header, rule, *rows, *_noted(table, _markdown)])

    return "\n\n".join(one(table) for table in tables) + "\n"


def as_latex(tables: Iterable[Table]) -> str:
    """The tables as LaTeX; the document needs `\\usepackage{booktabs}`."""

    def one(table: Table) -> str:
        header, *rows = (" & ".join(map(_latex, row)) + r" \\" for row in (table.header, *table.rows))
        columns = "".join("l" if left else "r" for left in table.names)
        return "\n".join(
            [
                r"\begin{table}[t]",
                r"\centering",
                rf"\caption{{{_latex(table.caption)}}}",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                header,
                r"\midrule",
                *rows,
                r"\bottomrule",
                r"\end{tabular}",
                *(rf"\par\footnotesize {_latex(note)}" for note in table.notes),
                r"\end{table}",
            ]
        )

    return "% needs \\usepackage{booktabs}\n" + "\n\n".join(one(table) for table in tables) + "\n"


def _noted(table: Table, escape: Callable[[str], str]) -> list[str]:
    return ["", *(f"{escape(note)}  " for note in table.notes)] if table.notes else []


_MARKDOWN = {c: f"\\{c}" for c in "\\`*_[]|#~"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}


def _markdown(text: str) -> str:
    # A bracketed interval is no link without a parenthesis or a definition behind it, so brackets in numbers may stay.
    bare = all(c in "0123456789.,[]-+ " for c in text)
    return text if bare else "".join(_MARKDOWN.get(c, c) for c in printable(text))


def _latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in printable(text))


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
