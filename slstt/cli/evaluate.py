"""`slstt-eval`: scores, intervals and the report of a run, or of spotted intervals, from its tables alone."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slstt import cli
from slstt.errors import ConfigError, printable, shortened
from slstt.evaluation.compare import (
    Comparison,
    SpottingComparison,
    compare,
    compare_spotting,
    comparison_table,
    spotting_comparison_table,
)
from slstt.evaluation.run import EvaluatedRun, RunFolder, UnitRun, evaluate, read_any_run, result_tables
from slstt.evaluation.spotting import (
    INTERVALS,
    TRUTH,
    SpottedFolder,
    evaluate_spotting,
    read_spotted,
    spotting_tables,
    spotting_title,
)
from slstt.evaluation.tables import Table, as_latex, as_markdown, as_text
from slstt.evaluation.unit_tables import evaluate_units, unit_tables
from slstt.files import is_file, write_json, write_text

EXAMPLES = """\
  slstt-eval runs/cde                     table, metrics.json, report.html, figures/
  slstt-eval runs/cde --json              metrics.json on stdout, for other programs
  slstt-eval runs/lstm runs/mean          two runs and their paired difference
  slstt-eval runs/cde --allow-partial     an unfinished run, labelled PARTIAL
  slstt-eval downloads/                   a folder that contains only a predictions.csv
  slstt-eval runs/seeds/                  a folder with one run per seed: mean, spread and pooled scores
  slstt-eval spotted/casme_square         intervals of slstt-spot (intervals.csv, truth.csv): F1, STRS, timelines
  slstt-eval spotted/own spotted/mdmd     two ways of spotting and their paired difference"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = cli.parser("slstt-eval", __doc__ or "", EXAMPLES)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run folder, or two to compare")
    parser.add_argument("--json", action="store_true", help="print metrics.json on stdout instead of tables")
    parser.add_argument("--allow-partial", action="store_true", help="exit with 0 even if folds are missing")
    parser.add_argument("--attention", action="store_true", help="also draw the network's attention (loads torch)")
    parser.add_argument(
        "--no-report", action="store_true", help="write only the tables and metrics.json, no figures and no page"
    )
    parser.add_argument(
        "--only-with-expressions",
        action="store_true",
        help="spotting: leave out videos without an expression; flatters, so the result is marked INVALID",
    )
    parser.add_argument("--check", action="store_true", help="read and score, say what would be written, write nothing")
    return cli.run(parser, _evaluate, argv)


def _evaluate(arguments: argparse.Namespace) -> int:
    if len(arguments.runs) > 2:
        raise ConfigError(f"{len(arguments.runs)} runs given; name one, or two to compare")
    spotting = [is_file(folder / INTERVALS) and is_file(folder / TRUTH) for folder in arguments.runs]
    if any(spotting):
        return _evaluate_spotting(arguments, all(spotting))
    if arguments.only_with_expressions:
        raise ConfigError("--only-with-expressions: is for spotted intervals (intervals.csv and truth.csv)")
    runs = [read_any_run(folder) for folder in arguments.runs]
    units = [run for run in runs if isinstance(run, UnitRun)]
    if units:
        if len(runs) == 2 or arguments.attention:
            what = "--attention is for classes" if arguments.attention else "runs of classes can be compared"
            raise ConfigError(f"{units[0].folder}: predicts action units; {what}: name this run alone, without options")
        return _evaluate_units(units[0], arguments)
    return _evaluate_classes([run for run in runs if isinstance(run, EvaluatedRun)], arguments)


def _evaluate_units(run: UnitRun, arguments: argparse.Namespace) -> int:
    metrics = evaluate_units(run)
    tables = unit_tables(metrics)
    if arguments.json:
        print(json.dumps(metrics, indent=2, ensure_ascii=True), flush=True)
    else:
        _print_heading(run, metrics)
        _print_tables(tables)
        _print_differences(metrics)
    if arguments.check:
        _say_what_would_be_written([run], arguments)
        return _partial([run], arguments)
    write_json(run.folder / "metrics.json", metrics)
    write_text(run.folder / "table.md", as_markdown(tables))
    write_text(run.folder / "table.tex", as_latex(tables))
    if not arguments.no_report:
        from slstt.evaluation.report import write_unit_report

        page = write_unit_report(run, metrics)
        if not (arguments.json or arguments.quiet):
            print(f"report: {page}\nfigures: {run.folder / 'figures'}", flush=True)
    return _partial([run], arguments)


def _evaluate_classes(runs: Sequence[EvaluatedRun], arguments: argparse.Namespace) -> int:
    if len(runs) == 2 and runs[0].folder.samefile(runs[1].folder):
        raise ConfigError(f"{runs[0].folder}: the same run twice; name two runs to compare")
    comparison = _compared(runs, arguments.allow_partial) if len(runs) == 2 else None
    found = [evaluate(run) for run in runs]
    if not arguments.check:
        for run, metrics in zip(runs, found, strict=True):
            write_json(run.folder / "metrics.json", metrics)
        if comparison is not None:
            write_json(runs[0].folder / "comparison.json", comparison.as_dict())
    if not arguments.json:
        for run, metrics in zip(runs, found, strict=True):
            _print_result(run, metrics)
        if comparison is not None:
            _print_comparison(comparison)
    else:
        value: Any = found[0] if comparison is None else {"runs": found, "comparison": comparison.as_dict()}
        print(json.dumps(value, indent=2, ensure_ascii=True), flush=True)
    if arguments.check:
        _say_what_would_be_written(runs, arguments)
    else:
        _write_tables(runs, found, comparison)
        if arguments.attention:
            _write_attention(runs, arguments.quiet)
        if not arguments.no_report:
            _write_reports(runs, found, comparison, silent=arguments.json or arguments.quiet)
    return _partial(runs, arguments)


def _partial(runs: Sequence[RunFolder], arguments: argparse.Namespace) -> int:
    """Say which runs are partial; returns the exit code."""
    partial = [run for run in runs if run.missing]
    for run in partial:
        end = "" if arguments.allow_partial else "; exit code 1 (--allow-partial accepts it)"
        print(
            f"slstt-eval: {run.folder}: PARTIAL, {len(run.missing)} of {run.expected} folds missing{end}",
            file=sys.stderr,
        )
    return 1 if partial and not arguments.allow_partial else 0


def _evaluate_spotting(arguments: argparse.Namespace, alike: bool) -> int:
    if not alike:
        what = "a run and a folder of spotted intervals are not compared; name one, or two of a kind"
        raise ConfigError(f"{' and '.join(map(str, arguments.runs))}: {what}")
    if arguments.attention:
        raise ConfigError("--attention: spotted intervals have no network; leave it out")
    folders = [read_spotted(folder) for folder in arguments.runs]
    if len(folders) == 2 and folders[0].folder.samefile(folders[1].folder):
        raise ConfigError(f"{folders[0].folder}: the same folder twice; name two to compare")
    found = [evaluate_spotting(spotted, arguments.only_with_expressions) for spotted in folders]
    comparison = _compared_spotting(folders, arguments) if len(folders) == 2 else None
    against = [] if comparison is None else [spotting_comparison_table(comparison)]
    if not arguments.check:
        for spotted, metrics in zip(folders, found, strict=True):
            write_json(spotted.folder / "metrics.json", metrics)
        if comparison is not None:
            write_json(folders[0].folder / "comparison.json", comparison.as_dict())
    if arguments.json:
        value: Any = found[0] if comparison is None else {"runs": found, "comparison": comparison.as_dict()}
        print(json.dumps(value, indent=2, ensure_ascii=True), flush=True)
    else:
        for spotted, metrics in zip(folders, found, strict=True):
            _print_spotting(spotted, metrics)
        _print_tables(against)
    if arguments.check:
        names = ["metrics.json", "table.md", "table.tex", *(["comparison.json in the first"] if against else [])]
        names += [] if arguments.no_report else ["report.html", "figures/"]
        where = " and ".join(printable(str(spotted.folder)) for spotted in folders)
        print(f"would be written to {where}: {', '.join(names)}; nothing was (--check)", file=sys.stderr)
        return 0
    for place, (spotted, metrics) in enumerate(zip(folders, found, strict=True)):
        tables = [*spotting_tables(metrics), *(against if place == 0 else [])]
        write_text(spotted.folder / "table.md", as_markdown(tables))
        write_text(spotted.folder / "table.tex", as_latex(tables))
        if not arguments.no_report:
            from slstt.evaluation.spotting_report import write_spotting_report

            page = write_spotting_report(spotted, metrics, tables)
            if not (arguments.json or arguments.quiet):
                print(f"report: {page}\nfigures: {spotted.folder / 'figures'}", flush=True)
    return 0


def _compared_spotting(folders: Sequence[SpottedFolder], arguments: argparse.Namespace) -> SpottingComparison:
    names = (folders[0].folder.resolve().name, folders[1].folder.resolve().name)
    if names[0] == names[1]:
        names = (str(folders[0].folder), str(folders[1].folder))
    videos = [
        [video for video in spotted.videos if video.true or not arguments.only_with_expressions] for spotted in folders
    ]
    return compare_spotting(videos[0], videos[1], names, arguments.allow_partial)


def _print_spotting(spotted: SpottedFolder, metrics: dict[str, Any]) -> None:
    print(f"{printable(str(spotted.folder))}: {spotting_title(metrics)}")
    print(
        f"{metrics['videos']} videos, {metrics['videos_without_expression']} of them without an expression, of "
        f"{metrics['subjects']} subjects; [95% interval: {metrics['bootstrap']['draws']:,} bootstrap draws of subjects]"
    )
    _print_tables(spotting_tables(metrics))
    for warning in metrics["warnings"]:
        print(f"note: {printable(warning)}")
    print(flush=True)


def _say_what_would_be_written(runs: Sequence[RunFolder], arguments: argparse.Namespace) -> None:
    names = ["metrics.json", "table.md", "table.tex", *(["comparison.json in the first"] if len(runs) == 2 else [])]
    names += [] if arguments.no_report else ["report.html", "figures/"]
    names += ["figures of attention"] if arguments.attention else []
    folders = " and ".join(str(run.folder) for run in runs)
    print(f"would be written to {printable(folders)}: {', '.join(names)}; nothing was (--check)", file=sys.stderr)


def _compared(runs: Sequence[EvaluatedRun], allow_partial: bool) -> Comparison:
    names = (runs[0].name, runs[1].name)
    if names[0] == names[1]:
        names = (str(runs[0].folder), str(runs[1].folder))
    return compare(runs[0].seeds, runs[1].seeds, names, allow_partial)


def _print_result(run: EvaluatedRun, metrics: dict[str, Any]) -> None:
    _print_heading(run, metrics)
    _print_tables(result_tables(metrics))
    _print_differences(metrics)


def _print_heading(run: RunFolder, metrics: dict[str, Any]) -> None:
    label = "PARTIAL, " if metrics["partial"] else ""
    print(f"{printable(str(run.folder))}: {label}{metrics['protocol_title']}")
    draws = metrics["bootstrap"]["draws"]
    print(
        f"epoch chosen by: {metrics['selection'] or 'unknown'}; pooled over {metrics['full']['subjects']} subjects; "
        f"[95% interval: {draws:,} bootstrap draws of subjects]"
    )


def _print_differences(metrics: dict[str, Any]) -> None:
    differences = metrics["protocol_differences"]
    if differences:
        print(f"\nNot named {metrics['protocol_nearest']}, because (all in metrics.json):")
        for difference in shortened(differences, 8):
            print(f"  {printable(difference)}")
    for warning in metrics["warnings"]:
        print(f"note: {printable(warning)}")
    print(flush=True)


def _print_comparison(comparison: Comparison) -> None:
    _print_tables([comparison_table(comparison)])
    if comparison.disagreements:
        print(f"They disagree on {len(comparison.disagreements)} clips (all in comparison.json):")
        for clip in comparison.disagreements[:10]:
            print(printable(f"  {clip.clip}: true {clip.true}, {clip.first} against {clip.second}"))
    print(flush=True)


def _print_tables(tables: Sequence[Table]) -> None:
    for table in tables:
        print(f"\n{as_text(table)}", flush=True)


def _write_tables(runs: Sequence[EvaluatedRun], found: Sequence[dict[str, Any]], comparison: Comparison | None) -> None:
    for place, (run, metrics) in enumerate(zip(runs, found, strict=True)):
        tables = result_tables(metrics)
        if comparison is not None and place == 0:
            tables.append(comparison_table(comparison))
        write_text(run.folder / "table.md", as_markdown(tables))
        write_text(run.folder / "table.tex", as_latex(tables))


def _write_reports(
    runs: Sequence[EvaluatedRun], found: Sequence[dict[str, Any]], comparison: Comparison | None, silent: bool
) -> None:
    from slstt.evaluation.report import write_report

    for place, (run, metrics) in enumerate(zip(runs, found, strict=True)):
        page = write_report(run, metrics, comparison if place == 0 else None)
        if not silent:
            print(f"report: {page}\nfigures: {run.folder / 'figures'}", flush=True)


def _write_attention(runs: Sequence[EvaluatedRun], quiet: bool) -> None:
    from slstt.evaluation.saliency import attention_maps, write_attention
    from slstt.training.run import shown_clips

    for run in runs:
        maps = attention_maps(shown_clips(run, quiet))
        written = write_attention(maps, run.predictions.classes, run.folder / "figures")
        if not quiet:
            print(f"attention: {', '.join(map(str, written))}", flush=True)
