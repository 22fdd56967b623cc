"""The result as text for the terminal, as Markdown and as LaTeX (booktabs), from one list of rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from slstt.datasets import DATASETS
from slstt.errors import printable
from slstt.files import read_csv

TITLES = {name: facts.title for name, facts in DATASETS.items()} | {"testA": "Test set A", "testB": "Test set B"}
"""How people write the data sets, and the owners' test sets."""
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

    left: tuple[int, ...] = (0,)
    """Columns of words, set to the left; the others hold numbers and are set to the right."""

    @property
    def left_aligned(self) -> tuple[bool, ...]:
        """Whether each column is set to the left."""
        return tuple(place in self.left for place in range(len(self.header)))


def score_table(summary: Mapping[str, Any], caption: str = "Result", titles: Mapping[str, str] = SCORE_TITLES) -> Table:
    """The scores of `titles` (name -> as people write it) with their intervals, in full and, where there are several
    data sets, per part.
    """
    parts = summary["parts"]
    blocks: list[tuple[str, Any]] = [("Full", summary["full"])] if len(parts) != 1 else []
    blocks += [(dataset_title(name), block) for name, block in parts.items()]
    rows = tuple(
        (
            title,
            *(score_text(block[score], block["ci"][score]) for score in titles),
            str(block["n"]),
            str(block["subjects"]),
        )
        for title, block in blocks
    )
    return Table(caption, ("", *titles.values(), "Clips", "Subjects"), rows)


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


def as_text(table: Table) -> str:
    """Aligned columns for a terminal."""
    lines = [[printable(cell) for cell in row] for row in (table.header, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(line, widths, table.left_aligned, strict=True)
        ).rstrip()
        for line in lines
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([printable(table.caption), text[0], rule, *text[1:], *map(printable, table.notes)])


def as_markdown(tables: Iterable[Table]) -> str:
    """The tables as GitHub Markdown."""

    def one(table: Table) -> str:
        header, *rows = ("| " + " | ".join(map(_markdown, row)) + " |" for row in (table.header, *table.rows))
        rule = "|" + "|".join("---" if left else "---:" for left in table.left_aligned) + "|"
        return "\n".join([f"**{_markdown(table.caption)}**", "", header, rule, *rows, *_noted(table, _markdown)])

    return "\n\n".join(one(table) for table in tables) + "\n"


def as_latex(tables: Iterable[Table]) -> str:
    """The tables as LaTeX; the document needs `\\usepackage{booktabs}`."""

    def one(table: Table) -> str:
        header, *rows = (" & ".join(map(_latex, row)) + r" \\" for row in (table.header, *table.rows))
        columns = "".join("l" if left else "r" for left in table.left_aligned)
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


PUBLISHED = Path(__file__).with_name("published.csv")
"""Published scores, a line for each method, protocol and part: `f1` is UF1; the composite (`cde`) is given with UAR,
single data sets with accuracy, as their papers do. `second_hand` figures were not read in the method's own paper.
"""


@dataclass(frozen=True)
class PublishedScores:
    """One method's row: `scores` by part ("full", "smic", ...) as (UF1, UAR) or, for one data set, (F1, accuracy)."""

    method: str
    source: str
    scores: Mapping[str, tuple[float, float]]
    second_hand: bool
    """Marked (?) in the table."""


@cache
def published_scores(protocol: str) -> tuple[PublishedScores, ...]:
    """What is published under `protocol`, in the order of the file; empty where nothing is."""
    found: dict[str, PublishedScores] = {}
    for row in read_csv(PUBLISHED, ("protocol", "method", "source", "part", "f1", "uar", "accuracy", "second_hand")):
        if row["protocol"] == protocol:
            scores = {row["part"]: (float(row["f1"]), float(row["uar"] or row["accuracy"]))}
            before = found.get(row["method"])
            found[row["method"]] = PublishedScores(
                row["method"],
                row["source"],
                {**before.scores, **scores} if before else scores,
                row["second_hand"] == "yes",
            )
    return tuple(found.values())


_CAUTION = (
    "As the authors report them; the rule by which they chose the epoch differs and is often the test subject's own "
    "score, which inflates it. (?): second-hand figure."
)


def published_table(summary: Mapping[str, Any]) -> Table | None:
    """Published scores beside the run's own; None unless the run's clips are exactly those of a known protocol."""
    name, parts = summary["protocol"], summary["parts"]
    if name not in ("cde", "cde_casme2_smic"):
        single = published_scores(name) if name else ()
        return _single_table(single, summary) if single else None
    columns = [c for c in ("full", "smic", "casme2", "samm") if c in parts or (c == "full" and name == "cde")]
    rows = [
        (
            _method(entry),
            entry.source,
            *(f"{entry.scores[c][0]:.3f} / {entry.scores[c][1]:.3f}" for c in columns),
        )
        for entry in published_scores("cde")
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
        "Published scores, UF1 / UAR",
        ("Method", "Source", *(titles[c] for c in columns)),
        tuple(rows),
        tuple(notes),
        left=(0, 1),
    )


def _single_table(published: Sequence[PublishedScores], summary: Mapping[str, Any]) -> Table:
    rows = []
    for entry in published:
        f1, accuracy = next(iter(entry.scores.values()))
        rows.append((_method(entry), entry.source, f"{f1:.3f}", f"{accuracy:.3f}"))
    full = summary["full"]
    rows.append(("This run", _rule(summary), f"{full['uf1']:.3f}", f"{full['accuracy']:.3f}"))
    return Table(
        "Published scores, F1 / accuracy",
        ("Method", "Source", "F1", "Accuracy"),
        tuple(rows),
        (_CAUTION,),
        left=(0, 1),
    )


def _method(entry: PublishedScores) -> str:
    return f"{entry.method} (?)" if entry.second_hand else entry.method


def _rule(summary: Mapping[str, Any]) -> str:
    return f"epoch chosen by: {summary['selection'] or 'unknown'}"


def selection_table(rules: Sequence[Mapping[str, Any]]) -> Table | None:
    """`metrics.json`'s "selection_gap" as a table, the peeking rules marked INVALID; None where there is none."""
    if not rules:
        return None
    rows = tuple(
        (
            rule["rule"] + ("" if rule["valid"] else " (INVALID)"),
            rule["epochs"],
            str(rule["n"]),
            *(number(rule[score]) for score in SCORE_TITLES),
        )
        for rule in rules
    )
    notes = ("INVALID: the epoch was chosen by looking at the test subject; the figure is not a result.",)
    return Table(
        "Selection gap: the same training under different choices of the epoch",
        ("Epoch chosen by", "Epochs", "Clips", *SCORE_TITLES.values()),
        rows,
        notes if any(not rule["valid"] for rule in rules) else (),
    )


def short(name: str, length: int = 18) -> str:
    """A name from a file as it may stand on a figure: one line, not too long."""
    name = printable(name)
    return name if len(name) <= length else name[: length - 1] + "…"
