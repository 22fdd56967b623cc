"""A tutorial as a test runs it: fenced blocks of a Markdown page, in order, in one folder.

`bash` is run by a shell, `python` in one session, `python` with a title is the file of that name, `diff` changes one,
and `text` is what the block before it prints. Of the lines shown, words must be equal and numbers close, since
processors round differently; under the title "for example" (scores of few clips) numbers may be any.
"""

import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"([-+]?\d+(?:\.\d+)?)")
ABSOLUTE, RELATIVE = 0.2, 0.1


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    kind: str
    title: str
    content: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2] or "", m[3], text[: m.start()].count("\n") + 1) for m in FENCE.finditer(text)]


def run(page: Path, folder: Path, environment: dict[str, str]) -> list[tuple[Block, str]]:
    """Run a page in `folder`; every `text` block with what the block before it printed.

    Raises AssertionError where a command fails, naming its line. Python runs in this process, in the current folder.
    """
    shown: list[tuple[Block, str]] = []
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in blocks(page):
        match block.kind, block.title:
            case "text", _:
                shown.append((block, printed))
            case "bash", _:
                printed = _shell(page, block, folder, environment)
            case "python", "":
                with redirect_stdout(io.StringIO()) as out:
                    exec(compile(block.content, f"{page.name}:{block.line}", "exec"), names)
                printed = out.getvalue()
            case "python", title:
                (folder / title).write_text(block.content, encoding="utf-8")
            case "diff", title:
                (folder / title).write_text(changed((folder / title).read_text(encoding="utf-8"), block.content))
            case kind, _:
                raise AssertionError(f"{page.name}:{block.line}: a block of {kind} is not run")
    return shown


def _shell(page: Path, block: Block, folder: Path, environment: dict[str, str]) -> str:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.content],
        cwd=folder,
        env={**os.environ, **environment, "PATH": programs},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{page.name}:{block.line}: exit code {ran.returncode}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def changed(text: str, diff: str) -> str:
    """`text` after a diff whose hunks (`@@`) each fit in one place."""
    for hunk in re.split(r"^@@.*\n", diff, flags=re.MULTILINE)[1:]:
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"stands {text.count(before)} times: {before}"
        text = text.replace(before, after)
    return text


def missing_lines(shown: Block, printed: str) -> list[str]:
    """The lines of `shown` that `printed` does not hold in this order; `...` stands for any lines."""
    rest = iter([_squeezed(line) for line in printed.splitlines()])
    wanted = [_squeezed(line) for line in shown.content.splitlines() if line.strip() not in ("", "...")]
    free = shown.title == "for example"
    return [line for line in wanted if not any(alike(line, other, free) for other in rest)]


def alike(line: str, other: str, free: bool) -> bool:
    """Whether two lines have equal words and close (`free`: any) numbers."""
    ours, theirs = NUMBER.split(line), NUMBER.split(other)
    if ours[::2] != theirs[::2] or free:
        return ours[::2] == theirs[::2]
    pairs = zip(map(float, ours[1::2]), map(float, theirs[1::2]), strict=True)
    return all(abs(a - b) <= ABSOLUTE + RELATIVE * abs(a) for a, b in pairs)


def _squeezed(line: str) -> str:
    return re.sub(r"-{4,}", "----", " ".join(line.split()))
