"""Several looks: trained at once, written as one artefact that needs no torch, and what does not go together."""

import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

from aop_pose.core.schemas import FETAL_FACE  # noqa: E402
from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.inference.grid import itself  # noqa: E402
from aop_pose.io.volumes import read_volume  # noqa: E402
from aop_pose.pipelines import open_weights, pipeline  # noqa: E402
from aop_pose.pipelines.fetusmap.data import Example, VolumeDataset, distances_mm, made_up, without_anatomy  # noqa: E402
from aop_pose.pipelines.fetusmap.landmarks import answer, looks_of, map_loss, peak_of  # noqa: E402
from tests.pipelines.fetusmap.test_landmarks import config_of  # noqa: E402
from tests.pipelines.fetusmap.tiny import train_tiny, write_faces  # noqa: E402

LOOK = "{around: brain, size: [16,16,16], voxel_mm: 2, widths: [2,4], averaged: 4}"
TWO = ("voxel_mm=3", "finds=[brain]", "candidates=2", "rotations=any", "absent=0.3", f"stages=[{LOOK}]")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_faces(tmp_path_factory.mktemp("faces") / "set", count=4)


@pytest.fixture(scope="module")
def run(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    train_tiny(faces, out, "epochs=2", *TWO)
    return out


@pytest.fixture(scope="module")
def artefact(run, tmp_path_factory):
    file = tmp_path_factory.mktemp("artefact") / "two.onnx"
    pipeline("fetusmap").export(run, file, threshold=0.0)
    return file


def test_both_looks_stand_in_one_artefact_that_answers_as_the_run_does(run, artefact, faces):
    native, exported = open_weights(str(run)), open_weights(str(artefact))
    contract = exported.contract
    assert contract.maps == (("brain",),)
    assert contract.stages[0].maps == (("brain",), ("left_eye", "right_eye"))
    assert (contract.candidates, contract.stages[0].around, contract.stages[0].rotations) == (2, "brain", 4)
    labelled = [np.array([float(n) for n in line.split(",")[2:]]).reshape(3, 3) for line in
                (faces / "labels.csv").read_text().splitlines()[1:]]  # fmt: skip
    spacings = [np.array([2.0, 2, 2]), np.array([2.0, 2, 3])]
    eyes = [np.linalg.norm((face[1] - face[2]) * spacings[i % 2]) for i, face in enumerate(labelled)]
    least, most = contract.apart_mm
    assert 0.8 * min(eyes) - 0.1 <= least <= 0.8 * max(eyes)
    assert 1.1 * min(eyes) <= most <= 1.1 * max(eyes) + 0.1
    volume = read_volume(faces / "volumes" / "v0.nii.gz")
    one, other = native.find(volume), exported.find(volume)
    np.testing.assert_allclose(one.keypoints.coords, other.keypoints.coords, atol=0.05)
    np.testing.assert_allclose(one.keypoints.scores, other.keypoints.scores, atol=1e-4)


def test_the_artefact_is_plain_onnx_and_runs_without_torch(artefact, faces):
    import onnx

    model = onnx.load(artefact)
    onnx.checker.check_model(model)
    assert [one.name for one in model.graph.input] == ["gray", "stage"]
    assert {one.domain for one in model.opset_import} <= {"", "ai.onnx"}
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import aop_pose\nfrom aop_pose.io.volumes import read_volume\n"
        f"model = aop_pose.load({str(artefact)!r})\n"
        f"print(model.find(read_volume({str(faces / 'volumes' / 'v0.nii.gz')!r})).keypoints.coords.shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(3, 3)", done.stderr


def test_an_artefact_that_lacks_a_look_is_refused(run, artefact, tmp_path):
    import onnx

    model = onnx.load(artefact)
    contract = json.loads(next(one.value for one in model.metadata_props if one.key == "aop_pose"))
    contract["stages"].append({**contract["stages"][0], "size": [32, 32, 32], "maps": [["brain"]]})
    onnx.helper.set_model_props(model, {"aop_pose": json.dumps(contract)})
    onnx.save(model, tmp_path / "more.onnx")
    with pytest.raises(UsageError, match=r"does not take the \(1, 1, 32, 32, 32\) that its contract says"):
        open_weights(str(tmp_path / "more.onnx"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["finds=[brain]"], "finds goes with stages"),
        (["first_every=2"], "first_every goes with stages"),
        ([f"stages=[{LOOK}]", "finds=[nose]", "voxel_mm=3"], "finds: .*found 'nose'"),
        ([f"stages=[{LOOK}]", "finds=[left_eye]", "voxel_mm=3"], "around a point that an earlier look finds"),
        (["stages=[{around: brain, finds: [brain], size: [16,16,16], voxel_mm: 2, widths: [2,4]}]", "voxel_mm=3",
          "finds=[brain]"], "found no look for left_eye, right_eye"),
        (["stages=[{around: brain, size: [16,16,17], voxel_mm: 2, widths: [2,4]}]", "voxel_mm=3"],
         "size has to be a multiple of 2"),
        ([f"stages=[{LOOK}]"], "stages need voxel_mm"),
        ([f"stages=[{LOOK}]", "voxel_mm=3", "mode=patch", "loss=mse"], "mode whole"),
        (["pair=true"], "pair: expected a schema with a left and a right side, found fetal_face"),
        (["stages=[{around: brain, size: [16,16,16], voxel_mm: 2, widths: [2,4], absent: 0.3}]", "voxel_mm=3"],
         "absent of a stage goes with absent of the first look"),
        (["absent=0.2", "loss=mse"], "absent go with mode whole and loss cross-entropy"),
        (["stages=[{around: brain, size: [512,512,512], voxel_mm: 2, widths: [64,64]}]", "voxel_mm=3",
          "budget_gb=1"], r"stages: the looks at 512x512x512 need .* GiB in a training step, found 1.0 GiB"),
    ],
)  # fmt: skip
def test_looks_that_do_not_hang_together_or_do_not_fit_are_refused_in_a_line(changes, said, faces, tmp_path):
    with pytest.raises(UsageError, match=said) as error:
        train_tiny(faces, tmp_path / "run", "epochs=1", *changes)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_more_looks_than_the_memory_holds_are_one_line_on_the_command_line(faces, tmp_path, capsys):
    from aop_pose.cli import main

    looks = ", ".join(f"{{around: brain, size: [{side},{side},{side}], voxel_mm: 2}}" for side in (64, 96, 128))
    given = ["train", "--method", "fetusmap", "--data", str(faces), "--out", str(tmp_path / "run"), "--init", "scratch"]
    for setting in ("size=[16,16,16]", "voxel_mm=3", "finds=[brain]", f"stages=[{looks}]", "budget_gb=0.5"):
        given += ["--set", setting]
    assert main.run(given) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "stages: the looks at 64x64x64, 96x96x96, 128x128x128 need" in error
    assert "found 0.5 GiB; give them a smaller size, or leave one out" in error
    assert not (tmp_path / "run").exists()


def test_the_loss_is_least_where_the_maps_say_what_is_there_and_nowhere_what_is_not():
    """A map of two points shows half of each; of a point beyond the input, or of no anatomy, the mass is nowhere."""
    size, sigma, units = (12, 12, 12), 1.2, ((0,), (1, 2))
    points = torch.tensor([[[5.0, 6, 4], [2, 3, 3], [9, 8, 8]]])
    from aop_pose.pipelines.fetusmap.landmarks import encode

    truth = encode(points, size, sigma) * peak_of(sigma)
    maps = torch.stack([truth[:, 0], truth[:, 1:].mean(dim=1)], dim=1)
    left = (1 - maps.flatten(2).sum(dim=2)).clamp(min=1e-3)
    # The softmax with nowhere, whose logarithm is that of the number of voxels.
    raw = (maps.clamp(min=1e-9) / left[..., None, None, None]).log() + np.log(12**3)
    arguments = ("cross-entropy", sigma, (), units, True)
    best = map_loss(raw, points, *arguments)
    for seed in range(5):
        other = raw + 0.3 * torch.randn(raw.shape, generator=torch.Generator().manual_seed(seed))
        assert map_loss(other, points, *arguments) > best
    shown = answer(raw, "cross-entropy", sigma, units, True)
    assert shown[0, 0, 5, 6, 4] == pytest.approx(1, abs=0.02)
    assert shown[0, 1, 2, 3, 3] == pytest.approx(1, abs=0.05)
    assert shown[0, 1, 9, 8, 8] == pytest.approx(1, abs=0.05)
    nothing = torch.full_like(points, torch.inf)
    empty = torch.full_like(raw, -20.0)
    assert map_loss(empty, nothing, *arguments) == pytest.approx(0, abs=1e-4)
    assert map_loss(raw, nothing, *arguments) > 1
    # A label that is missing says nothing, wherever the mass lies.
    unknown = torch.full_like(points, torch.nan)
    assert map_loss(raw, unknown, *arguments) == map_loss(empty, unknown, *arguments) == 0


def example_of(points, shape=(60, 60, 60), voxel_mm=3.0):
    gray = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.3
    return Example("v", gray.half(), torch.tensor(points), itself(shape, voxel_mm), np.array(points[0]))


def test_inputs_without_anatomy_show_another_place_a_wrong_size_or_nothing_that_lives():
    config = config_of(
        "size=[16,16,16]", "widths=[4,8]", "voxel_mm=3", "finds=[brain]", "absent=0.2",
        "stages=[{around: brain, size: [16,16,16], voxel_mm: 3, widths: [4,8]}]",
    )  # fmt: skip
    look = looks_of(config, FETAL_FACE)[1]
    example, draw = example_of([[12.0, 12, 12], [16, 16, 12], [8, 16, 12]]), np.random.default_rng(0)
    kinds = {"elsewhere": 0, "nowhere": 0}
    for _ in range(60):
        gray, points = without_anatomy(example, np.eye(3), look, draw)
        assert gray.shape == (16, 16, 16)
        assert 0 <= float(gray.min()) <= float(gray.max()) <= 1
        kinds["elsewhere" if torch.isfinite(points).all() else "nowhere"] += 1
        if torch.isfinite(points).all():
            middle = (np.array(look.size) - 1) / 2
            assert np.linalg.norm(points.numpy() - middle, axis=1).min() > 0.45 * 16 - 1
    assert min(kinds.values()) > 15
    assert made_up((8, 8, 8), draw).shape == (8, 8, 8)


def test_a_first_look_that_rests_has_an_empty_gray_in_every_other_epoch():
    config = config_of(
        "size=[16,16,16]", "widths=[4,8]", "voxel_mm=3", "finds=[brain]", "first_every=2",
        "stages=[{around: brain, size: [16,16,16], voxel_mm: 3, widths: [4,8]}]",
    )  # fmt: skip
    points = [[30.0, 30, 30], [35, 36, 30], [25, 36, 30]]
    example = example_of(points)
    two = Example(*(getattr(example, name) for name in ("name", "gray", "points", "placement", "middle")), (example,))
    for epoch in (0, 1):
        dataset = VolumeDataset([two, two], config, FETAL_FACE, seed=1, epoch=epoch)
        sizes = [dataset[index][0][0].numel() for index in (0, 1)]
        assert sizes == [[16**3, 0], [0, 16**3]][epoch]
        grays, shown, _ = dataset[0]
        assert grays[1].shape == (1, 16, 16, 16)
        assert torch.isfinite(shown[1]).all()
    # The eyes are 30 mm apart, and 7.81 voxels of 3 mm from the brain.
    far = np.sqrt(61) * 3
    assert distances_mm([example], FETAL_FACE, config) == {
        "apart_mm": (24.0, 33.0), "away_mm": (pytest.approx(0.8 * far, abs=0.06), pytest.approx(1.1 * far, abs=0.06)),
    }  # fmt: skip
