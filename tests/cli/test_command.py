import argparse
import os
import signal
import subprocess
import sys

import pytest

from slstt import cli
from slstt.errors import ConfigError, DataError, SlsttError, WeightsError
from slstt.workers import Stop


def run(body, argv=()) -> int:
    return cli.run(cli.parser("slstt-x", "does x", "  slstt-x"), body, list(argv))


def raising(error: BaseException):
    def body(arguments: argparse.Namespace) -> int:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SlsttError("x"), 1),
        (ConfigError("x"), 2),
        (DataError("x"), 3),
        (WeightsError("x"), 3),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_every_error_ends_with_its_code_and_no_traceback(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raising(error)) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("slstt-x: ") and "Traceback" not in err


def test_every_problem_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    run(raising(DataError("a: gone", "b: torn")))
    assert capsys.readouterr().err == "slstt-x: error: a: gone\nslstt-x: error: b: torn\n"


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(DataError("a: gone")), ["--debug"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_usage_errors_and_help_return_instead_of_leaving(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda arguments: 0, ["--nonsense"]) == 2
    assert run(lambda arguments: 0, ["--help"]) == 0
    assert "exit codes" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_batch_systems_signal_is_an_interrupt_while_the_command_runs(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup

    def asked_to_end(arguments: argparse.Namespace) -> int:
        os.kill(os.getpid(), number)
        return 0

    try:
        assert run(asked_to_end) == 130
        assert "interrupted" in capsys.readouterr().err
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


LEAVING = """
import os, sys
from slstt import cli
code = cli.run(cli.parser("slstt-x", "does x", "  slstt-x"), lambda arguments: 0, None)
os.kill(os.getpid(), NUMBER)
sys.exit(code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_after_the_work_does_not_make_it_look_killed(number: signal.Signals) -> None:
    """Between the command's end and the process's: the interpreter takes a second or two to leave torch."""
    program = [sys.executable, "-c", LEAVING.replace("NUMBER", str(int(number)))]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_nohup_outlives_the_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def terminal_closes(arguments: argparse.Namespace) -> int:
        with Stop() as stop:
            stop.graceful = True
            os.kill(os.getpid(), signal.SIGHUP)
            return 1 if stop() else 0

    try:
        assert run(terminal_closes) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
