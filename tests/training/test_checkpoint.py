from pathlib import Path

import pytest
import torch

from slstt.errors import DataError
from slstt.training.checkpoint import LAST, PREVIOUS, load_checkpoint, remove_checkpoints, save_checkpoint


def state(number: int) -> dict:
    return {"format": 1, "number": number, "weights": {"w": torch.full((50, 50), float(number))}, "none": None}


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with state 1 as previous.pt and state 2 as last.pt."""
    for number in (1, 2):
        save_checkpoint(tmp_path, state(number))
    return tmp_path


def test_the_newest_state_comes_back(two: Path) -> None:
    found, remarks = load_checkpoint(two)
    assert found is not None and found["number"] == 2 and remarks == []
    assert torch.equal(found["weights"]["w"], state(2)["weights"]["w"])
    assert sorted(path.name for path in two.iterdir()) == [LAST, PREVIOUS]


def test_no_state_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) == (None, [])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_falls_back_to_the_one_before(two: Path, share: float) -> None:
    whole = (two / LAST).read_bytes()
    (two / LAST).write_bytes(whole[: int(len(whole) * share)])
    found, remarks = load_checkpoint(two)
    assert found is not None and found["number"] == 1
    assert len(remarks) == 1 and LAST in remarks[0] and "damaged" in remarks[0]


def test_a_flipped_bit_anywhere_in_the_weights_is_noticed(two: Path) -> None:
    whole = bytearray((two / LAST).read_bytes())
    at = whole.index(torch.full((4,), 2.0).numpy().tobytes())
    whole[at + 5000] ^= 1
    (two / LAST).write_bytes(whole)
    found, remarks = load_checkpoint(two)
    assert found is not None and found["number"] == 1 and "checksum" in remarks[0]


def test_two_damaged_files_mean_a_new_start_and_two_remarks(two: Path) -> None:
    for name in (LAST, PREVIOUS):
        (two / name).write_bytes(b"nothing")
    found, remarks = load_checkpoint(two)
    assert found is None and len(remarks) == 2


def test_a_kill_between_the_two_renames_leaves_the_earlier_state(two: Path) -> None:
    (two / LAST).replace(two / PREVIOUS)
    found, _ = load_checkpoint(two)
    assert found is not None and found["number"] == 2


def test_code_in_a_checkpoint_is_not_run(two: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path(two / "ran").touch, ())

    torch.save({"format": 1, "evil": Evil()}, two / LAST)
    found, _ = load_checkpoint(two)
    assert found is not None and found["number"] == 1 and not (two / "ran").exists()


def test_a_folder_that_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "fold", state(1))


def test_a_finished_fold_keeps_no_state(two: Path) -> None:
    remove_checkpoints(two)
    assert list(two.iterdir()) == []
    remove_checkpoints(two)
