"""The folder of `slstt-pretrain`: the weights, the settings they were made with, their scores, and the history.

`model.safetensors` (a whole SLSTT, readable with `slstt.models.pretrained.load_model`) is written last.
"""

import json
import platform
import sys
import time
from pathlib import Path

import torch
import yaml

from slstt import __version__
from slstt.config.load import differing_keys, dump_config
from slstt.config.pretrain import PretrainConfig
from slstt.errors import ConfigError, DataError
from slstt.files import sha256, write_csv, write_json, write_text
from slstt.models.pretrained import save_model
from slstt.progress import Progress
from slstt.training.checkpoint import remove_checkpoints
from slstt.training.pretraining import Row, Source, make, pretrain
from slstt.training.stopping import Stop

MODEL, CONFIG, SCORES, HISTORY = "model.safetensors", "config.resolved.yaml", "scores.json", "history.csv"


def check(settings: PretrainConfig, folder: Path) -> list[str]:
    """What a start would do, line by line; touches nothing. Raises ConfigError for what would keep it from starting."""
    Source(settings)
    _device(settings)
    model = make(settings).slstt
    refuse_other(settings, folder)
    count = sum(p.numel() for p in model.parameters())
    fields = settings.training.steps * settings.training.batch_size
    return [
        f"network: {count:,} parameters, {count * 4 / 1e6:.1f} MB",
        f"fields: {settings.training.steps:,} steps of {settings.training.batch_size}, {fields:,} in all, "
        f"{settings.fields.frames} frame(s) of {settings.model.image_size}x{settings.model.image_size}",
        f"classes: {', '.join(settings.fields.classes)}",
        f"{folder / MODEL}: " + ("exists, nothing to do" if (folder / MODEL).exists() else "would be written"),
        "nothing was written (--check)",
    ]


def run(settings: PretrainConfig, folder: Path, stop: Stop, quiet: bool) -> None:
    """Pretrain into `folder`, continuing what is there, and print the scores.

    Raises ConfigError where the folder is another run's, KeyboardInterrupt after a good early end.
    """
    Source(settings)
    _device(settings)
    make(settings)  # impossible sizes are found before anything is written
    refuse_other(settings, folder)
    if (folder / MODEL).exists():
        print(f"{folder / MODEL} is there already; choose another --out to make it again")
        return
    write_text(folder / CONFIG, dump_config(settings))
    started, used = time.monotonic(), time.process_time()
    with Progress("steps", settings.training.steps, unit="step", quiet=quiet) as bar:
        stop.graceful = True

        def report(step: int, row: Row) -> None:
            bar.advance(step - bar.done, **({"loss": f"{row['loss']:.3f}"} if row else {}))

        found = pretrain(settings, folder, stop, report, bar.say)
    if found is None:
        raise KeyboardInterrupt
    model, scores, history = found
    write_csv(folder / HISTORY, list(history[0]), [list(row.values()) for row in history])
    save_model(model, folder / MODEL, _header(settings))
    write_json(
        folder / SCORES,
        {
            "held_out": scores,
            "sha256": sha256(folder / MODEL),
            "seconds": round(time.monotonic() - started, 1),
            "cpu_seconds": round(time.process_time() - used, 1),
            "command": sys.argv,
            "slstt": __version__,
            "torch": torch.__version__,
            "platform": platform.platform(),
        },
    )
    remove_checkpoints(folder)
    print(f"held-out synthetic fields: {', '.join(f'{name} {value:.3f}' for name, value in scores.items())}")
    print(f"{folder / MODEL} ({(folder / MODEL).stat().st_size / 1e6:.1f} MB); use it as model.pretrained")


def refuse_other(settings: PretrainConfig, folder: Path) -> None:
    """Raise ConfigError where `folder` holds something else than an equal run."""
    if not folder.exists():
        return
    path = folder / CONFIG
    if not path.exists():
        if any(not file.name.startswith(".") for file in folder.iterdir()):
            raise ConfigError(f"{folder}: holds other things than a pretraining; choose another --out")
        return
    try:
        theirs = PretrainConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).model_dump(mode="json")
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not the settings of this version; choose another --out") from error
    except OSError as error:
        raise DataError(f"{path}: unreadable ({error.strerror})") from error
    ours = settings.model_dump(mode="json")
    for values in (ours, theirs):
        del values["run"]["checkpoint_seconds"]
    if found := differing_keys(ours, theirs):
        raise ConfigError(
            f"{folder}: was started with other settings; continue with the same ones or choose another --out",
            *(f"{folder}: {line}" for line in found),
        )


def _device(settings: PretrainConfig) -> None:
    if settings.run.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"'run.device': {settings.run.device}, but torch sees no GPU; use run.device=cpu")


def _header(settings: PretrainConfig) -> dict[str, str]:
    """What the model file says beside its sizes: enough to feed it and to read its answers."""
    flow_map = settings.encoding == "flow_map"
    return {
        "classes": json.dumps(list(settings.fields.classes)),
        "kind": "flow_maps" if flow_map else "cache",
        "encoding": "uv_magnitude" if flow_map else settings.encoding,
        "normalize": settings.normalize,
        "frames": str(settings.fields.frames),
        "crop": json.dumps(settings.fields.crop),
        "trained_on": "synthetic flow of action units; no real clip",
        "seed": str(settings.run.seed),
    }
