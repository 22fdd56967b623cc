import pytest

from slstt.progress import Progress


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("clips", 3, seconds=0.0) as progress:
        progress.advance(failed=0)
        progress.advance(2, failed=1)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0].startswith("clips: 1/3 clips") and lines[0].endswith("failed 0")
    assert lines[-1].startswith("clips: 3/3 clips") and lines[-1].endswith("failed 1")
    assert "\r" not in err


def test_the_rate_leaves_out_work_done_before(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("folds", 10, done=10, unit="fold"):
        pass
    assert "folds: 10/10 folds, 0.00 folds/s" in capsys.readouterr().err


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("clips", 1, quiet=True, seconds=0.0) as progress:
        progress.advance()
        progress.say("one line")
    assert capsys.readouterr() == ("", "")
