"""`scripts/gpu_check.py` runs with the CPU in the card's place, tells differences, and says where there is no card."""

import runpy
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_check.py"


@pytest.fixture(scope="module")
def gpu_check():
    return runpy.run_path(str(SCRIPT))


def test_the_cpu_agrees_with_itself(gpu_check, tmp_path: Path) -> None:
    ways = ["inputs", "training step, float32 without", "training step, bfloat16", "averaged", "resumed", "prediction"]
    words = ["--device", "cpu", "--size", "tiny", "--out", str(tmp_path / "gpu.md")]
    assert gpu_check["main"]([*words, "--only", *ways]) == 0
    rows = [line.split("|") for line in (tmp_path / "gpu.md").read_text().splitlines() if line.startswith("| ")][1:]
    gaps = {row[1].strip(): float(row[5]) for row in rows}
    assert len(gaps) == 7 and all(row[7].strip().startswith("yes") for row in rows)
    half = {name for name in gaps if "bfloat16" in name}
    assert all(gaps[name] > 1e-4 for name in half)  # it did compute in bfloat16
    assert all(gaps[name] < 1e-6 for name in gaps.keys() - half)


def test_a_difference_and_a_failure_are_told(gpu_check, tmp_path: Path) -> None:
    line, place, measured = (gpu_check[name] for name in ("Line", "Place", "Measured"))
    cpu, card = (place(tmp_path, torch.device(name), False) for name in ("cpu", "meta"))

    def answer(where, fails: bool = False):
        if fails:
            raise RuntimeError("no kernel image")
        return measured({"x": torch.tensor([3.0, 4.0 if where.name == "cpu" else 4.5])}, 1.0)

    text, equal = gpu_check["compared"](line("x", answer, 0.05), cpu, card, {})
    assert not equal and "1.0e-01" in text and "NO" in text
    assert gpu_check["compared"](line("x", answer, 0.2), cpu, card, {})[1]
    text, equal = gpu_check["compared"](line("x", answer, 0.2, asked={"fails": True}), cpu, card, {})
    assert not equal and "FAILED: RuntimeError: no kernel image" in text
    assert gpu_check["difference"]({"x": torch.tensor([float("nan")])}, {"x": torch.ones(1)}) != 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_so(gpu_check, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check["main"]([]) == 2
    assert "no CUDA card" in capsys.readouterr().err
