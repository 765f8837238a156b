"""A submission to IUGC 2025 runs where nothing of this project is, and finds the same points."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra train")
pytest.importorskip("lightning", reason="training needs the extra train")

from aop_pose.cli.main import run
from aop_pose.formats.registry import read_labels
from aop_pose.phantom.write import write_phantoms
from aop_pose.pipelines import load_weights
from tests.pipelines.unet_tiny import OFF, train_unet

# As the organisers' program does it: the folder of the submission on the path, one picture at a time.
INGESTION = """
import json, sys
sys.path.insert(0, sys.argv[1])
from PIL import Image
import model
loaded = model.model()
loaded.load(sys.argv[1])
answers = []
for path in sys.argv[2:]:
    answer = loaded.predict(Image.open(path).convert("RGB"))
    assert answer.shape == (6,), answer.shape
    answers.append([float(number) for number in answer])
assert not [name for name in sys.modules if name.split(".")[0] in ("aop_pose", "cv2", "attrs", "onnxruntime")]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codabench")
    write_phantoms(folder / "data", 8, seed=0, size=64)
    train_unet(folder / "data", folder / "run", "epochs=1", "decode=soft-argmax", *OFF)
    return folder


def test_the_submission_finds_the_points_of_the_run(trained: Path, tmp_path: Path) -> None:
    assert run(["export", str(trained / "run"), "--out", str(tmp_path / "s.zip"), "--format", "codabench-2025"]) == 0
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert {"metadata", "model.py", "model.pth"} <= set(archive.namelist())
        archive.extractall(tmp_path / "s")
    frames = [frame.path for frame in read_labels(trained / "data" / "labels.csv", trained / "data")][:3]
    pictures = []
    for number, (path, shape) in enumerate(zip(frames, [(512, 512), (64, 64), (300, 512)], strict=True)):
        picture = cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), shape)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
        pictures.append(picture)
    names = [str(tmp_path / f"{number}.png") for number in range(3)]
    done = subprocess.run([sys.executable, "-I", "-c", INGESTION, str(tmp_path / "s"), *names],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours = load_weights(str(trained / "run")).find(pictures)
    for answer, prediction, picture in zip(json.loads(done.stdout), ours, pictures, strict=True):
        known = np.isfinite(prediction.found.coords)
        apart = np.abs(np.reshape(answer, (3, 2)) - prediction.found.coords)[known]
        # Two programs shrink a picture: they differ by a gray level here and there.
        assert apart.max() < 0.01 * max(picture.shape)


def test_what_a_submission_cannot_have_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["export", str(trained / "run"), "--out", str(tmp_path / "s.zip"), "--format"]
    assert run([*out, "codabench-2026"]) == 2
    assert "expected onnx or codabench-2025" in capsys.readouterr().err
    assert run([*out, "codabench-2025", "--threshold", "0.5"]) == 2
    assert run([*out[:3], str(tmp_path / "s.onnx"), "--format", "codabench-2025"]) == 2
    assert "ends in .zip" in capsys.readouterr().err
    assert not (tmp_path / "s.zip").exists()
