"""`slstt-doctor`: versions, machine, weights and data sets, as text to paste into a question or a report of a fault."""

import argparse
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from slstt import __version__, cli, downloads
from slstt.datasets import DATASETS
from slstt.errors import ConfigError, DataError, Problems, SlsttError, WeightsError, printable
from slstt.files import sha256

DESCRIPTION = """\
Print what a person who helps needs to know: versions, processor and card, memory, free space, the model files, and
whether each data set named with --root can be used. Nothing is written and nothing is sent. Your home folder is shown
as ~; read the text before you publish it, because it names your folders."""
EXAMPLES = """\
  slstt-doctor                                            versions, machine, model files
  slstt-doctor --root casme2=/data/CASME2 --root smic=/data/SMIC_all_raw
  slstt-doctor --json                                     the same for programs
  slstt-doctor --check --root samm=/data/SAMM             without decoding every frame, which takes minutes"""
LOADED = {
    "av": "av",
    "dlib-bin": "dlib",
    "opencv-python-headless": "cv2",
    "torch": "torch",
    "torchvision": "torchvision",
}
"""Packages with compiled code that may be installed and yet not load, and the names by which they are imported."""
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
"""Flags of processors that decide which kernels torch takes."""

Facts = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = cli.parser("slstt-doctor", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help=f"a data set to look at; may be given several times. NAME is one of {', '.join(DATASETS)}",
    )
    parser.add_argument("--json", action="store_true", help="print JSON on stdout instead of lines")
    parser.add_argument("--check", action="store_true", help="read folders and coding sheets alone, decode no frame")
    return cli.run(parser, _doctor, argv)


def _doctor(arguments: argparse.Namespace) -> int:
    wrong, roots = Problems(), []
    for text in arguments.root:
        with wrong.collecting():
            roots.append(_root(text))
    wrong.raise_if_any()
    problems = Problems()
    facts: Facts = {
        "slstt": {"version": __version__, "folder": str(Path(__file__).parents[1])},
        "python": {"version": platform.python_version(), "program": sys.executable},
        "system": platform.platform(),
        "processor": _processor(),
        "packages": _packages(problems),
        "gpu": _gpu(),
        "model files": _model_files(problems),
        "free space": _free_space(),
        "data sets": [_data_set(name, root, arguments, problems) for name, root in roots],
    }
    text = json.dumps(facts, indent=2, ensure_ascii=True) if arguments.json else as_text(facts)
    print(_without_home(text), flush=True)
    problems.raise_if_any()
    return 1 if any(one["failing"] for one in facts["data sets"]) else 0


def _root(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if name not in DATASETS or not folder:
        raise ConfigError(f"--root {text}: write NAME=DIR; names: {', '.join(DATASETS)}")
    try:
        return name, cli.path(folder)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"--root {name}: {error}") from error


def _processor() -> Facts:
    """Name, cores and instruction sets of the processor, and the machine's memory in bytes (None: not known)."""
    from slstt.workers import cores

    listed = _cpuinfo()
    flags = set((listed.get("flags") or listed.get("Features") or "").split())
    name = listed.get("model name") or platform.processor() or platform.machine()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        memory = None
    return {
        "name": name,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "usable cores": cores(),
        "instructions": [flag for flag in INSTRUCTIONS if flag in flags],
        "memory": memory,
    }


def _cpuinfo() -> Mapping[str, str]:
    """The first processor's lines of /proc/cpuinfo; {} on other systems."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _packages(problems: Problems) -> list[Facts]:
    """Every package that slstt asks for; those of the extras (but for developing) only where they are installed."""
    found: dict[str, Facts] = {}
    try:
        requirements = metadata.requires("slstt") or []
    except metadata.PackageNotFoundError:
        problems.add(
            DataError("slstt itself is not installed here, so its packages are not known; run `pip install .`")
        )
        return []
    for requirement in requirements:
        match = re.match(r"[\w.-]+", requirement)
        name, optional = match[0] if match else requirement, "extra ==" in requirement
        if name in found or re.search(r"extra == ['\"]dev['\"]", requirement):
            continue
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            if not optional:
                found[name] = {"name": name, "version": None, "fault": "not installed"}
                problems.add(DataError(f"{name}: not installed; run `{sys.executable} -m pip install {name}`"))
            continue
        found[name] = {"name": name, "version": version, "fault": _fault(LOADED.get(name))}
        if found[name]["fault"]:
            problems.add(DataError(f"{name} {version}: cannot be loaded ({found[name]['fault']}); install it again"))
    return sorted(found.values(), key=lambda one: one["name"].lower())


def _fault(module: str | None) -> str | None:
    """Why a module cannot be imported; None where it can."""
    if module is None:
        return None
    try:
        import_module(module)
    except Exception as error:  # a missing system library, another version's symbols: whatever it is, it is the finding
        return printable(f"{type(error).__name__}: {error}")[:300]
    return None


def _gpu() -> list[Facts]:
    try:
        import torch

        if torch.cuda.is_available():
            cards = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
            return [
                {"name": card.name, "memory": card.total_memory, "capability": f"{card.major}.{card.minor}"}
                for card in cards
            ]
        if torch.backends.mps.is_available():
            return [{"name": "Apple (mps)", "memory": None, "capability": None}]
    except Exception:  # said among the packages
        return []
    return []


def _model_files(problems: Problems) -> list[Facts]:
    return [_landmark_model(problems), _rife(problems), *_shipped(problems)]


def _landmark_model(problems: Problems) -> Facts:
    with problems.collecting():
        path = downloads.landmark_model()
        digest = sha256(path)
        state = "as published" if digest == downloads.LANDMARK_SHA256 else "your own file"
        return {"name": "landmark model", "path": str(path), "sha256": digest, "state": state}
    return {"name": "landmark model", "path": None, "sha256": None, "state": "missing or not as published"}


def _rife(problems: Problems) -> Facts:
    given = os.environ.get("SLSTT_RIFE_WEIGHTS")
    path = Path(given or downloads.kept_rife()).expanduser()
    if not path.is_file():
        state = "not there" if given else "not in the cache folder yet; fetched when first needed (12 MB)"
        if given:
            problems.add(WeightsError(f"{path}: RIFE weights not found; correct SLSTT_RIFE_WEIGHTS"))
        return {"name": "RIFE", "path": str(path), "sha256": None, "state": state}
    if given:
        state = "your own file"
    else:
        state = "as published" if downloads.is_official_rife(path) else "altered; fetched anew when needed"
    return {"name": "RIFE", "path": str(path), "sha256": sha256(path), "state": state}


def _shipped(problems: Problems) -> list[Facts]:
    try:
        from slstt.models.model_file import SHIPPED, find_weights
    except ImportError:  # no torch, which is said among the packages
        return []
    found = []
    for name, published in SHIPPED.items():
        path, digest, state = find_weights(name), None, "missing"
        if path.is_file():
            digest = sha256(path)
            state = "as published" if digest == published else "altered"
        if state != "as published":
            problems.add(WeightsError(f"{path}: {state}; install slstt again"))
        found.append({"name": name, "path": str(path), "sha256": digest, "state": state})
    return found


def _free_space() -> list[Facts]:
    found = []
    for name, folder in (
        ("here", Path.cwd()), ("temporary files", Path(tempfile.gettempdir())), ("cache", downloads.cache_folder()),
    ):  # fmt: skip
        there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        found.append({"name": name, "path": str(folder), "bytes": shutil.disk_usage(there).free})
    return found


def _data_set(name: str, root: Path, arguments: argparse.Namespace, problems: Problems) -> Facts:
    """What `slstt-preprocess --check` finds, counted; `failing`: how many clips cannot be used."""
    about: Facts = {"name": name, "root": str(root), "state": "", "failing": 0, "kinds": {}}
    try:
        release, remarks, usable = _examined(name, root, arguments)
    except SlsttError as error:
        problems.add(error)
        return about | {"state": "cannot be read"}
    failures, flags = ([r for r in remarks if r.action == action] for action in ("failure", "flag"))
    subjects = len({clip.subject for clip in usable})
    state = f"{len(usable)} clips of {subjects} subjects can be used"
    state += f", {len(failures)} remark(s) of failure" if failures else ""
    state += f", {len(flags)} kept with a remark" if flags else ""
    if not usable:
        problems.add(DataError(f"{root}: no clip of {name} can be used; slstt-preprocess --check says why for each"))
    return about | {
        "state": state,
        "layout": release.layout,
        "sheet": str(release.annotations) if release.annotations else None,
        "failing": len(failures),
        "kinds": dict(sorted(Counter(remark.kind for remark in (*failures, *flags)).items())),
    }


def _examined(name: str, root: Path, arguments: argparse.Namespace) -> tuple[Any, Sequence[Any], Sequence[Any]]:
    """(release, remarks, usable clips)."""
    from slstt.config.preprocess import PreprocessConfig
    from slstt.datasets import read_release
    from slstt.preprocessing.check import apply_policies, examine
    from slstt.preprocessing.clip import needed_frames

    release, config = read_release(name, root), PreprocessConfig()
    if not arguments.check:
        found = examine(release, needed=lambda clip: needed_frames(clip, config), quiet=arguments.quiet)
        return found.release, found.remarks, found.usable
    remarks = apply_policies(release.remarks, config.apex.missing, config.apex.outside)
    failed = {(remark.dataset, remark.subject, remark.clip) for remark in remarks if remark.action == "failure"}
    return release, remarks, [clip for clip in release.clips if clip.key not in failed]


def as_text(facts: Facts) -> str:
    """All of it as lines."""
    chip = facts["processor"]
    memory = f", {_gigabytes(chip['memory'])} memory" if chip["memory"] else ""
    lines = [
        f"slstt {facts['slstt']['version']} in {facts['slstt']['folder']}",
        f"Python {facts['python']['version']}, {facts['python']['program']}",
        facts["system"],
        f"processor: {chip['name']} ({chip['machine']}), {chip['usable cores']} of {chip['cores']} cores{memory}",
        f"  instructions: {', '.join(chip['instructions']) or 'not known'}",
    ]
    for card in facts["gpu"]:
        more = f", {_gigabytes(card['memory'])}, capability {card['capability']}" if card["memory"] else ""
        lines.append(f"card: {card['name']}{more}")
    lines += [] if facts["gpu"] else ["card: none that torch can use"]
    lines += ["packages:", *_rows(facts["packages"], lambda one: [one["version"] or "-", one["fault"] or ""])]
    lines += ["model files:"]
    lines += _rows(facts["model files"], lambda one: [one["state"], *([one["sha256"]] if one["sha256"] else [])])
    lines += ["free space:", *_rows(facts["free space"], lambda one: [_gigabytes(one["bytes"]), one["path"]])]
    for one in facts["data sets"]:
        lines += [f"{one['name']} at {one['root']}: {one['state']}"]
        lines += [f"  {one['layout']}; sheet: {one['sheet'] or '(none)'}"] if "layout" in one else []
        kinds = ", ".join(f"{kind} {count}" for kind, count in one["kinds"].items())
        lines += [f"  {kinds}"] if kinds else []
    return "\n".join(printable(line) for line in lines)


def _rows(rows: Sequence[Facts], cells: Callable[[Facts], Sequence[str]]) -> list[str]:
    wide = max((len(row["name"]) for row in rows), default=0)
    return [f"  {row['name']:{wide}}  {'  '.join(cell for cell in cells(row) if cell)}" for row in rows]


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _without_home(text: str) -> str:
    """The text without the path of the home folder, which is often a person's name."""
    home = str(Path.home())
    return re.sub(rf"{re.escape(home)}(?=[/\\\s\"]|$)", "~", text) if len(home) > 1 else text


if __name__ == "__main__":
    sys.exit(main())
