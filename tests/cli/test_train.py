"""slstt-train end to end on a tiny cache: what it leaves, what it refuses, what it skips."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

from slstt import files
from slstt.cli.train import main
from slstt.config.combinations import problems
from slstt.config.load import find_config, load_config
from slstt.config.preprocess import PreprocessConfig
from slstt.config.train import TrainConfig, identity
from slstt.evaluation.predictions import read_predictions
from slstt.files import read_csv
from slstt.flow.flow_files import FLOW_VERSION, flow_path, read_flow, write_flow
from slstt.models.model_file import load_model, read_header
from slstt.training import checkpoint
from slstt.training.checkpoint import learning_rate

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from tiny_runs import arguments, contents, settings_file, write_cache


@pytest.fixture(scope="module")
def flow_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("flow"))


@pytest.fixture(scope="module")
def finished(flow_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; read only."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    assert main(arguments(flow_root, run)) == 0
    return run


def test_a_run_leaves_what_the_design_promises(flow_root: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    more = ("run.save_models=true", "run.peek=true", "selection.method=inner")
    assert main(arguments(flow_root, run, "selection.subjects=0.5", "data.normalize=train", *more)) == 0
    said = capsys.readouterr()
    assert "All 3 folds" in said.out and "UF1" in said.out and f"slstt-eval {run}" in said.out and said.err == ""
    pooled = read_predictions(run / "predictions.csv")
    assert len(pooled) == 18 and pooled.classes == ("negative", "positive", "surprise")
    folds = json.loads((run / "folds.json").read_text())
    assert [fold["name"] for fold in folds["folds"]] == ["smic-s01", "smic-s02", "smic-s03"]
    for fold in folds["folds"]:
        tested = f"smic/{fold['subject']}"
        assert tested not in fold["train_subjects"] + fold["validation_subjects"] + fold["statistics_subjects"]
        assert len(fold["test"]) == 6 and fold["statistics_subjects"] == fold["train_subjects"]
        folder = run / "folds" / fold["name"]
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        expected = {"history.csv", "peek.csv", "inner.csv", "predictions.csv", "model.safetensors"}
        assert names == expected
        history = read_csv(folder / "history.csv", ("epoch", "train_loss", "learning_rate", "inner_uf1"))
        assert [row["epoch"] for row in history] == ["1", "2", "3"]
        assert len(read_csv(folder / "peek.csv", ("epoch", "true_label", "predicted_label"))) == 3 * 6
        header = read_header(folder / "model.safetensors")
        assert header["left_out"] == tested and len(json.loads(header["mean"])) == 3
        assert load_model(folder / "model.safetensors").arguments["classes"] == 3
    resolved = yaml.safe_load((run / "config.resolved.yaml").read_text())
    assert resolved["training"]["epochs"] == 3 and resolved["run"]["peek"] is True
    environment = json.loads((run / "environment.json").read_text())
    assert environment["device"] in ("cpu", "cuda") and environment["seed"] == 0 and environment["torch"]


@pytest.mark.parametrize("more", [(), ("encoder.trainable=norm",)])
def test_bf16_trains_every_fold_with_the_lstm(flow_root: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    """From the second fold on all flow is held in memory, and read another way than before."""
    run = tmp_path / "run"
    assert main(arguments(flow_root, run, "run.precision=bf16", "model.aggregator=lstm", *more)) == 0
    assert len(read_predictions(run / "predictions.csv")) == 18


def test_starting_again_computes_nothing_and_says_the_same(flow_root: Path, finished: Path, capsys) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("folds/*/*.csv")}
    assert main(arguments(flow_root, finished)) == 0
    assert "All 3 folds" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in finished.glob("folds/*/*.csv")} == before
    assert not list(finished.glob("folds/*/*.pt")), "finished folds keep no checkpoints"


def test_a_lost_fold_is_computed_again_with_the_same_bits(flow_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(arguments(flow_root, run)) == 0
    before = contents(run)
    (run / "folds" / "smic-s02" / "predictions.csv").unlink()
    (run / "predictions.csv").unlink()
    assert main(arguments(flow_root, run)) == 0
    assert contents(run) == before


def test_folds_and_shards_share_a_run_and_end_as_one(flow_root: Path, finished: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    assert main(arguments(flow_root, run, "--folds", "s02")) == 0
    assert "PARTIAL: 1 of 3 folds" in capsys.readouterr().out
    for part in (3, 1, 2):
        assert main(arguments(flow_root, run, "--shard", f"{part}/3")) == 0
    assert "All 3 folds" in capsys.readouterr().out
    assert contents(run) == contents(finished)


def test_a_failed_fold_leaves_the_others_and_its_reason(flow_root: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    root = write_cache(tmp_path / "flow")
    # One subject with absurd motion: every fold that trains on it fails, the one that tests it does not.
    for path in flow_path(root, ("smic", "s03", "x")).parent.iterdir():
        write_flow(path, np.full_like(read_flow(path), 6e4), "absurd")
    recipe = ("training.optimizer=sgd", "training.learning_rate=1e4", "training.warmup_epochs=0")
    wrong = main([word for word in arguments(root, run, *recipe) if word != "--quiet"])
    said = capsys.readouterr()
    assert wrong == 1
    failures = sorted(run.glob("folds/*/failure.txt"))
    assert [path.parent.name for path in failures] == ["smic-s01", "smic-s02"]
    assert "lower training.learning_rate" in failures[0].read_text() and said.err.count(": failed: ") == 2
    assert "PARTIAL: 1 of 3 folds" in said.out and len(read_predictions(run / "predictions.csv")) == 6


def test_another_config_is_refused_and_every_differing_key_listed(flow_root: Path, finished: Path, capsys) -> None:
    before = contents(finished)
    assert main(arguments(flow_root, finished, "training.epochs=9", "model.width=32", "run.seed=4")) == 2
    said = capsys.readouterr().err
    for line in ("training.epochs: 3 -> 9", "model.width: 16 -> 32", "run.seed: 0 -> 4"):
        assert line in said
    assert contents(finished) == before


def test_settings_without_effect_on_the_result_may_differ(flow_root: Path, finished: Path) -> None:
    assert main(arguments(flow_root, finished, "run.checkpoint_seconds=1", "run.workers=7", "data.memory_gb=0")) == 0


def test_other_clips_are_refused(finished: Path, tmp_path: Path, capsys) -> None:
    other = write_cache(tmp_path / "flow", seed=1)
    assert main(arguments(other, finished)) == 2
    assert "the clips or their flow are not those of the run" in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(flow_root: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    assert main(arguments(flow_root, tmp_path)) == 2
    assert "holds other things than a run (thesis.tex)" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(arguments(flow_root, tmp_path / "file")) in (2, 3)
    assert main(arguments(flow_root, tmp_path / "file" / "run")) == 3
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("written", range(5))
def test_an_interruption_between_any_two_files_can_be_continued(
    flow_root: Path, finished: Path, tmp_path: Path, monkeypatch, capsys, written: int
) -> None:
    """Ctrl-C after `written` files of the run: the settings, the folds, the environment, the first states."""
    run, whole_file, count = tmp_path / "run", files.whole_file, 0

    @contextmanager
    def interrupted(path: Path) -> Iterator[Path]:
        nonlocal count
        if count == written:
            raise KeyboardInterrupt
        count += 1
        with whole_file(path) as part:
            yield part

    for module in (files, checkpoint):
        monkeypatch.setattr(module, "whole_file", interrupted)
    assert main(arguments(flow_root, run)) == 130
    assert "run the same command to continue" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(arguments(flow_root, run)) == 0
    assert contents(run) == contents(finished)
    for name in ("config.resolved.yaml", "folds.json", "environment.json"):
        assert (run / name).is_file()


def test_a_folder_that_an_earlier_version_left_without_settings_is_begun_anew(
    flow_root: Path, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "folds.json").write_text('{"data": "of something else"}')
    assert main(arguments(flow_root, tmp_path / "run")) == 0
    assert contents(tmp_path / "run") == contents(finished)


@pytest.mark.parametrize(
    ("name", "content", "code", "fix"),
    [
        ("config.resolved.yaml", b"\xff\xfe\x00", 2, "choose another --out"),
        ("config.resolved.yaml", b"training: [", 2, "choose another --out"),
        ("config.resolved.yaml", b"training", 2, "choose another --out"),
        ("config.resolved.yaml", b"training: {epochs: many}", 2, "choose another --out"),
        ("config.resolved.yaml", b"{a: " * 3000, 2, "choose another --out"),
        ("folds.json", b"", 3, "delete it, it is written again"),
        ("folds.json", b"[1, 2]", 3, "delete it, it is written again"),
        ("folds.json", b"[" * 100_000, 3, "delete it, it is written again"),
        ("folds.json", b'{"data": ' + b"9" * 5000 + b"}", 3, "delete it, it is written again"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--check",)])
def test_damaged_files_of_a_run_are_one_line_with_the_fix(
    flow_root: Path, finished: Path, tmp_path: Path, capsys, name: str, content: bytes, code: int, fix: str, more
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / name).write_bytes(content)
    capsys.readouterr()
    assert main(arguments(flow_root, run, *more)) == code
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1 and len(said) < 600
    assert f"{run / name}: " in said and fix in said and "a fault in slstt" not in said
    if name == "folds.json":
        (run / name).unlink()
        assert main(arguments(flow_root, run, *more)) == 0


def test_a_fold_that_another_process_holds_is_left_and_told_by_the_exit_code(
    flow_root: Path, finished: Path, tmp_path: Path, capsys
) -> None:
    run = tmp_path / "run"
    assert main(arguments(flow_root, run, "--folds", "s02")) == 0
    holder = "from pathlib import Path; import sys\nfrom slstt.files import locked\n"
    holder += "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", holder, str(run / "folds" / "smic-s01" / ".lock")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        assert main(arguments(flow_root, run, "--folds", "s01,s03")) == 1
        assert "PARTIAL: 2 of 3 folds" in capsys.readouterr().out
        process.communicate()
    assert main(arguments(flow_root, run, "--folds", "s01,s03")) == 0
    assert contents(run) == contents(finished)


def test_folds_are_named_as_slstt_eval_names_them(flow_root: Path, tmp_path: Path, capsys) -> None:
    assert main(arguments(flow_root, tmp_path / "run", "--folds", "smic/s01, smic-s02")) == 0
    assert "PARTIAL: 2 of 3 folds" in capsys.readouterr().out


@pytest.mark.parametrize("more", [(), ("--check",)])
@pytest.mark.parametrize("names", [",", "", " , ,"])
def test_folds_without_a_name_are_refused(flow_root: Path, tmp_path: Path, capsys, names: str, more) -> None:
    assert main(arguments(flow_root, tmp_path / "run", "--folds", names, *more)) == 2
    assert "--folds: names no fold; there are smic-s01, smic-s02, smic-s03" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("more", [(), ("--check",)])
def test_unfinished_preprocessing_is_refused(tmp_path: Path, capsys, more: tuple[str, ...]) -> None:
    root = write_cache(tmp_path / "cache")
    (root / "manifest.json").write_text(
        json.dumps({"smic": {"finished": False, "settings": {}, "version": FLOW_VERSION}})
    )
    assert main(arguments(root, tmp_path / "run", *more)) == 3
    assert f"{root}: the preprocessing of smic is not finished; run slstt-preprocess" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_missing_data_is_told_with_the_fix(flow_root: Path, tmp_path: Path, capsys) -> None:
    argv = ["--config", str(settings_file(tmp_path)), "--out", str(tmp_path / "run")]
    assert main(argv) == 2
    assert "'data.root' must be given" in capsys.readouterr().err
    assert main([*argv, f"data.root={tmp_path / 'absent'}"]) == 3
    assert "no index.csv; run slstt-preprocess" in capsys.readouterr().err
    assert main([*argv, f"data.root={flow_root}", "data.protocol=cde", "--shard", "9/3"]) == 2
    assert "--shard 9/3: write i/n" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_wrong_names_types_and_combinations_are_all_told_at_once(flow_root: Path, tmp_path: Path, capsys) -> None:
    assert main(arguments(flow_root, tmp_path, "training.epoch=4", "modle.width=8", "data.encoding=hsv_fram")) == 2
    said = capsys.readouterr().err
    assert (
        "did you mean 'training.epochs'" in said
        and "did you mean 'model'" in said
        and "did you mean 'hsv_frame'" in said
    )
    more = ["training.warmup_epochs=3", "encoder.trainable=last:9", "training.augment.rotate=5", "data.normalize=train"]
    assert main(arguments(flow_root, tmp_path / "run", *more, "run.device=cuda:7", "model.heads=3")) == 2
    said = capsys.readouterr().err
    for words in ("warmup_epochs", "frozen encoder", "'data.normalize'", "not a multiple of heads"):
        assert words in said
    assert not (tmp_path / "run").exists()


def test_check_tells_everything_and_touches_nothing(flow_root: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    more = ("encoder.trainable=norm", "--check")
    for words in (("--check",), more):
        assert main(arguments(flow_root, run, *words)) == 0
        said = capsys.readouterr().out
        for words in ("folds     3: 0 done, 3 to do", "negative 4, positive 4, surprise 4", "time      about", "disk"):
            assert words in said
        assert not run.exists() and not list(tmp_path.iterdir())


def test_check_knows_finished_folds_and_another_runs_folder(flow_root: Path, finished: Path, capsys) -> None:
    assert main(arguments(flow_root, finished, "--check")) == 0
    said = capsys.readouterr().out
    assert "3 done, 0 to do" in said and "nothing to train" in said
    assert main(arguments(flow_root, finished, "--check", "training.epochs=9")) == 2
    assert main(arguments(flow_root, finished, "--check", "--folds", "s09")) == 2
    assert "no subject 's09'; there are smic-s01" in capsys.readouterr().err


def test_check_reports_data_weights_and_folder_at_once(flow_root: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").touch()
    argv = arguments(tmp_path / "absent", tmp_path / "file" / "run", "--check", "model.pretrained=absent.pth")
    assert main(argv) in (2, 3)
    said = capsys.readouterr().err
    assert "no index.csv" in said and "absent.pth" in said and "is a file" in said


def test_frozen_features_are_stored_once_beside_the_folds(flow_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(arguments(flow_root, run, "encoder.trainable=norm")) == 0
    stored = {path: path.stat().st_mtime_ns for path in run.glob("features/*/smic/*/*.safetensors")}
    assert len(stored) == 18
    (run / "folds" / "smic-s01" / "predictions.csv").unlink()
    assert main(arguments(flow_root, run, "encoder.trainable=norm")) == 0
    assert {path: path.stat().st_mtime_ns for path in stored} == stored


def test_an_audit_failure_stops_the_run_before_any_training(
    flow_root: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    from slstt.training import folds
    from slstt.training import run as session

    def leaking(settings, data):
        found = folds.leave_one_subject_out(data.keys)
        return [folds.Fold(f.dataset, f.subject, (*f.train, f.test[0]), (), f.test) for f in found]

    monkeypatch.setattr(session, "make_folds", leaking)
    assert main(arguments(flow_root, tmp_path / "run")) == 3
    assert "the test subject is in training" in capsys.readouterr().err
    assert not (tmp_path / "run" / "predictions.csv").exists()


@pytest.mark.slow
def test_the_job_arrays_script_hands_its_arguments_on(flow_root: Path, tmp_path: Path) -> None:
    """The script under bash, with an srun that just runs the command: Slurm itself is not at hand."""
    (tmp_path / "srun").write_text('#!/bin/bash\nexec "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    script = Path(__file__).parents[2] / "scripts" / "slurm_array.sh"
    for part in (1, 2):
        environment = {
            **os.environ,
            "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SLURM_ARRAY_TASK_ID": str(part),
            "SLURM_ARRAY_TASK_COUNT": "2",
        }
        argv = ["bash", str(script), str(settings_file(flow_root)), str(tmp_path / "run"), f"data.root={flow_root}"]
        said = subprocess.run(argv, env=environment, capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
        assert ("All 3 folds" if part == 2 else "PARTIAL: 2 of 3 folds") in said.stdout


CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted([CONFIGS / "paper" / "slstt.yaml", *CONFIGS.glob("flow_maps/*.yaml"), CONFIGS / "demo.yaml"])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid_and_goes_together(path: Path) -> None:
    settings = load_config(TrainConfig, find_config(path), ["data.root=somewhere"])
    assert problems(settings) == []
    assert settings.selection.method == "last"


def test_the_published_recipe_is_the_published_one() -> None:
    settings = load_config(TrainConfig, find_config(Path("configs/paper/slstt.yaml")))
    training, model = settings.training, settings.model
    assert (model.image_size, model.patch_size, model.width, model.depth, model.heads) == (384, 16, 768, 12, 12)
    assert (model.lstm_layers, model.lstm_width, model.head_width, model.aggregator) == (3, 512, 256, "lstm")
    assert (training.optimizer, training.learning_rate, training.momentum, training.weight_decay) == (
        "sgd",
        0.01,
        0.9,
        1e-4,
    )
    assert (training.epochs, training.batch_size, training.schedule, training.step_factor) == (40, 2, "step", 0.1)
    # The program counts epochs from 1 and divides by 30, so its 30th epoch is the first at a tenth.
    rates = [learning_rate(training, epoch) for epoch in range(40)]
    assert rates == pytest.approx([0.01 * 0.1 ** (epoch // 30) for epoch in range(1, 41)])
    assert (settings.encoder.trainable, settings.encoder.dropout, model.gelu) == ("norm", 0.1, "tanh")
    assert (settings.data.encoding, settings.data.normalize) == ("hsv_frame", "imagenet")
    config = load_config(PreprocessConfig, find_config(Path("configs/paper/preprocess.yaml")))
    assert (config.frames.count, config.frames.selection) == (11, "published")
    assert (config.flow.method, config.flow.reference, config.flow.grey) == ("farneback", "onset", "swapped")
    assert (config.interpolation.method, config.crop.place) == ("rife", "published")


def test_the_published_recipe_without_its_weights_says_how_to_get_them(
    flow_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where no such file lies
    argv = ["--config", "configs/paper/slstt.yaml", "data.protocol=smic_sde", f"data.root={flow_root}"]
    for more in (["--check"], []):
        assert main([*argv, "--out", str(tmp_path / "run"), *more]) == 3
        said = capsys.readouterr().err
        assert "vit_base_patch16_384.safetensors: no such weight file" in said
        assert "huggingface.co/timm/vit_base_patch16_384.orig_in21k_ft_in1k" in said
    assert not (tmp_path / "run").exists()


def test_every_setting_says_what_it_does() -> None:
    def undocumented(section, name):
        for key, field in section.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and hasattr(inner, "model_fields"):
                yield from undocumented(inner, f"{name}{key}.")
            elif not field.description:
                yield f"{name}{key}"

    assert list(undocumented(TrainConfig, "")) == []


def test_the_identity_of_a_run_ignores_where_and_how_fast() -> None:
    def changed(**run) -> TrainConfig:
        return TrainConfig.model_validate({"run": run})

    plain = identity(TrainConfig())
    assert identity(changed(executor="ray", workers=3, checkpoint_seconds=5.0, ray={"retries": 1})) == plain
    for difference in ({"seed": 1}, {"threads_per_fold": 2}, {"device": "cpu"}, {"precision": "bf16"}, {"peek": True}):
        assert identity(changed(**difference)) != plain


@pytest.mark.parametrize("subject", ["../../../../x/escaped", "/tmp/escaped", "..", "s01\0"])
def test_an_id_in_the_index_cannot_lead_out_of_the_run_folder(flow_root: Path, tmp_path: Path, capsys, subject) -> None:
    root = tmp_path / "inner" / "cache"
    shutil.copytree(flow_root, root)
    rows = (root / "index.csv").read_text()
    (root / "index.csv").write_text(rows.replace("smic,s01,", f"smic,{subject},"))
    assert main(arguments(root, tmp_path / "inner" / "runs" / "x")) == 3
    said = capsys.readouterr().err
    assert "index.csv: line 2: subject: " in said and "correct it or run slstt-preprocess again" in said
    assert "Traceback" not in said and not (tmp_path / "inner" / "runs").exists()
    assert [path.name for path in tmp_path.rglob("*predictions.csv")] == []


def test_folds_are_chosen_by_name_and_never_by_path(flow_root: Path, tmp_path: Path, capsys) -> None:
    for name in ("../x", "/tmp/x", "s01/../s02"):
        assert main(arguments(flow_root, tmp_path / "run", "--folds", name)) == 2
        assert f"--folds: no subject '{name}'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", "\0", "[" * 100_000, '{"folds": []}'])
def test_a_damaged_folds_json_is_one_line(finished: Path, flow_root: Path, tmp_path: Path, capsys, content) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "folds.json").write_text(content)
    assert main(arguments(flow_root, run)) == 3
    said = capsys.readouterr().err
    assert "folds.json" in said and "Traceback" not in said and "a fault" not in said
