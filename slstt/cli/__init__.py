"""What all commands share: the common flags, and one way from errors to exit codes."""

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from slstt import __version__
from slstt.errors import SlsttError
from slstt.workers import SIGNALS

INTERRUPTED = 130


def parser(program: str, description: str, examples: str) -> argparse.ArgumentParser:
    """An argument parser with `--debug`, `--quiet` and `--version`; `examples` are shown below the options, to copy."""
    made = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=f"examples:\n{examples}\n\nexit codes: 0 all done; 1 some clips or folds failed or were left, the rest "
        "is kept;\n2 wrong command line or setting; 3 data or weights missing or unreadable; "
        "130 interrupted, work saved.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    made.add_argument("--quiet", action="store_true", help="show no progress, only results and errors")
    made.add_argument("--version", action="version", version=f"slstt {__version__}")
    return made


def path(text: str) -> Path:
    """An argument that names a file or folder, for `type=`; names that no file can have are refused here."""
    if "\0" in text or any(len(os.fsencode(part)) > 255 for part in Path(text).parts):
        raise argparse.ArgumentTypeError("no file can have this name (more than 255 bytes, or a NUL)")
    return Path(text)


def run(
    arguments_parser: argparse.ArgumentParser,
    body: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None,
) -> int:
    """Parse `argv`, run `body`, and turn what goes wrong into lines on stderr and an exit code.

    `section.key=value` overrides may be given anywhere among the options.
    Without `argv` the command is all that this process does: after its end signals no longer change its exit code.
    """
    program = arguments_parser.prog
    try:
        arguments = arguments_parser.parse_intermixed_args(argv)
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 2
    try:
        with terminate_as_interrupt(leaving=argv is None):
            return body(arguments)
    except SlsttError as error:
        if arguments.debug:
            traceback.print_exc()
        for problem in error.problems:
            print(f"{program}: error: {problem}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if arguments.debug:
            traceback.print_exc()
        print(
            f"{program}: interrupted; finished work is kept, run the same command to continue",
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        if arguments.debug:
            raise
        print(
            f"{program}: error: {type(error).__name__}: {error} (a fault in slstt; --debug shows where)",
            file=sys.stderr,
        )
        return 1


@contextmanager
def terminate_as_interrupt(leaving: bool = False) -> Iterator[None]:
    """Within the block SIGTERM (as batch systems send) and SIGHUP raise KeyboardInterrupt, as Ctrl-C does.

    An ignored SIGHUP stays ignored: `nohup` is the user's way to outlive a terminal. After the block the handlers are
    what they were; or, where the process is `leaving`, all three signals are ignored: the interpreter takes a second or
    two to end after torch, and a signal then must not make finished work look killed.
    """

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        if number != signal.SIGINT and before[number] is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if leaving else handler)
