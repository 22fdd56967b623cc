from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_runs import write_cache


@pytest.fixture(scope="session")
def flow_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny cache of flow; read only."""
    return write_cache(tmp_path_factory.mktemp("flow"))


@pytest.fixture(scope="session")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 flow maps of three SMIC-like subjects that each class marks elsewhere."""
    root, generator = tmp_path_factory.mktemp("maps"), np.random.default_rng(0)
    lines = ["dataset,subject,clip,label"]
    for subject in ("s1", "s2", "s3"):
        for number in range(6):
            label = number % 3
            picture = generator.normal(128, 25, (28, 28, 3))
            picture[9 * label : 9 * label + 9, 4:24, label % 2] += 60
            name = f"{subject}_{('ne', 'po', 'sur')[label]}_{number + 1:02}"
            cv2.imwrite(str(root / f"{subject}_{name} .png"), np.clip(picture, 0, 255).astype(np.uint8)[..., ::-1])
            lines.append(f"smic,{subject},{name},{label}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root
