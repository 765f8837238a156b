"""Label files of time points, and of files without spacing: what training makes of them."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

import torch

from aop_pose.errors import UsageError
from aop_pose.formats import registry
from aop_pose.formats.label import SPACING
from aop_pose.io.volumes import read_volume, write_sequence
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.fetusmap.config import PRESETS, FetusmapConfig
from aop_pose.pipelines.fetusmap.data import groups, read_examples, read_labels
from aop_pose.pipelines.job import Job
from tests.pipelines.fetusmap.tiny import TINY, train_tiny, write_faces


def rewritten(folder, labelled, columns, cells):
    """labels.csv with further columns after Filename, and the file names that ``cells`` names."""
    lines = (folder / "labels.csv").read_text().splitlines()
    rows = [line.split(",", 1)[1] for line in lines[1:]]
    header = lines[0].replace("Filename", f"Filename,{columns}", 1)
    (folder / "labels.csv").write_text("\n".join([header, *(f"{a},{b}" for a, b in zip(cells, rows, strict=True))]))
    assert len(labelled) == len(rows)


@pytest.fixture
def arrays(tmp_path):
    """The same faces as .npy, which state no spacing."""
    folder = write_faces(tmp_path / "set", count=4)
    labelled = registry.read_labels(folder / "labels.csv", folder, None)
    for one in labelled:
        np.save(folder / "volumes" / one.name.replace(".nii.gz", ".npy"), one.volume().voxels)
    cells = [f"{one.name.replace('.nii.gz', '.npy')},2,2,{3 if n % 2 else 2}" for n, one in enumerate(labelled)]
    rewritten(folder, labelled, ",".join(SPACING), cells)
    return folder


@pytest.fixture
def sequences(tmp_path):
    """Two files of two time points each."""
    folder = write_faces(tmp_path / "set", count=4)
    labelled = registry.read_labels(folder / "labels.csv", folder, None)
    for number, pair in enumerate(((0, 2), (1, 3))):
        write_sequence([labelled[one].volume() for one in pair], folder / "volumes" / f"s{number}.nii.gz")
    rewritten(folder, labelled, "index", [f"s{number % 2}.nii.gz,{number // 2}" for number in range(4)])
    return folder


def test_arrays_are_trained_on_with_the_spacing_of_their_rows(arrays, tmp_path):
    labelled, schema = read_labels("labels.csv", Job(arrays, tmp_path / "run"))
    config = load_config(FetusmapConfig, PRESETS, "fast", TINY)
    examples = read_examples(labelled, schema, config, Job(arrays, tmp_path / "run"))
    for number, (one, example) in enumerate(zip(labelled, examples, strict=True)):
        assert one.path.suffix == ".npy"
        # 18 x 16 x 14 voxels of 2 x 2 x 2 or 2 x 2 x 3 mm into 16: the longest side decides.
        assert example.placement.voxel_mm == pytest.approx((36 if number % 2 == 0 else 42) / 16)
    assert train_tiny(arrays, tmp_path / "run", "epochs=1", "holdout=0")["data"]["volumes"] == 4


def test_an_array_without_spacing_is_refused_in_one_line(arrays, tmp_path):
    text = (arrays / "labels.csv").read_text().replace(",2,2,2,", ",,,,", 1)
    (arrays / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=r"v0.npy: spacing: expected positive.*columns spacing_i_mm") as said:
        train_tiny(arrays, tmp_path / "run", "epochs=1")
    assert "\n" not in str(said.value)
    assert not (tmp_path / "run").exists()


def test_time_points_are_volumes_of_their_own_that_stay_together(sequences, tmp_path):
    labelled, schema = read_labels("labels.csv", Job(sequences, tmp_path / "run"))
    config = load_config(FetusmapConfig, PRESETS, "fast", TINY)
    examples = read_examples(labelled, schema, config, Job(sequences, tmp_path / "run"))
    still = [read_volume(sequences / "volumes" / f"v{number}.nii.gz") for number in (0, 2)]
    assert not np.allclose(still[0].voxels, still[1].voxels)
    assert not torch.equal(examples[0].gray, examples[2].gray)
    together = groups(labelled, examples, config)
    assert together[0] == together[2] != together[1] == together[3]
    record = train_tiny(sequences, tmp_path / "run", "epochs=1", "holdout=0.5")
    assert (record["data"]["volumes"], record["data"]["checked_volumes"]) == (2, 2)


def test_a_sequence_without_its_time_points_is_refused_in_one_line(sequences, tmp_path):
    lines = (sequences / "labels.csv").read_text().replace("index", "time").splitlines()
    (sequences / "labels.csv").write_text("\n".join(lines[:2]))
    with pytest.raises(UsageError, match=r"a 4-D file of 2 time points.*in a label file the column index") as said:
        train_tiny(sequences, tmp_path / "run", "epochs=1")
    assert "\n" not in str(said.value)
