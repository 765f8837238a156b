"""Engines and precisions: what is taken, what it changes, and what is refused."""

import json

import attrs
import numpy as np
import pytest

from aop_pose.core.keypoints import Keypoints, Prediction
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.inference import agreement, engine
from aop_pose.inference.agreement import change
from aop_pose.inference.engine import Engine, check_engine, one_by_one, usable_cores
from aop_pose.inference.weights import load, made_images, resolve
from tests.fakes import fake_predictor, textured
from tests.tiny_artefact import write_heatmap_artefact

TRIANGLE = np.array([(40, 20), (15, 25), (45, 50)], float)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AOP_POSE_CACHE", str(tmp_path / "cache"))


def machine(root, cgroup, **files):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        place = (
            root / "sys/fs/cgroup" / name.replace("__", "/").replace("cpu_max", "cpu.max").replace("cfs_", "cpu.cfs_")
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("150000 100000", 2), ("300000 100000", 3), ("5000 100000", 1), ("0 100000", 1), ("?", 8)],
)
def test_a_control_group_bounds_the_cores(tmp_path, monkeypatch, quota, cores):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    assert usable_cores(machine(tmp_path, "0::/\n", cpu_max=quota)) == cores


def test_the_narrowest_of_nested_groups_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    root = machine(tmp_path, "0::/job/step\n", job__cpu_max="200000 100000", job__step__cpu_max="max 100000")
    assert usable_cores(root) == 2


def test_control_groups_of_the_first_version_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    told = {"cpu__cfs_quota_us": "250000", "cpu__cfs_period_us": "100000"}
    assert usable_cores(machine(tmp_path, "4:memory:/\n1:cpu,cpuacct:/docker/9\n", **told)) == 3
    assert usable_cores(machine(tmp_path / "b", "1:cpu:/\n", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")) == 8


def test_pictures_one_by_one_give_what_they_give_together():
    shown = []

    def network(inputs):
        shown.append(len(inputs))
        return inputs * 2

    inputs = np.arange(12.0).reshape(3, 1, 2, 2)
    assert np.array_equal(one_by_one(network)(inputs), inputs * 2)
    assert shown == [1, 1, 1]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("tpu", "f32"), "--engine: expected one of onnx, openvino, auto, found 'tpu'"),
        (("onnx", "fp8"), "--precision: expected one of f32, bf16, int8, found 'fp8'"),
        (("onnx", "bf16"), "add --engine openvino"),
        (("auto", "bf16"), "name the engine"),
        (("onnx", "f32", "gpu"), "it goes with --engine openvino"),
        (("onnx", "f32", "tpu"), "--device: expected cpu, cuda or gpu, found 'tpu'"),
    ],
)
def test_what_does_not_go_together_is_refused(asked, said):
    with pytest.raises(UsageError, match=said):
        check_engine(*asked)


@pytest.mark.parametrize(
    ("asked", "missing", "install"),
    [(("openvino", "f32"), "openvino", "openvino"), (("onnx", "int8"), "onnx", "train")],
)
def test_an_engine_that_is_not_installed_says_what_to_install(monkeypatch, asked, missing, install):
    monkeypatch.setattr(engine, "is_installed", lambda package: package != missing)
    with pytest.raises(UsageError, match=rf"not installed; pip install 'aop-pose\[{install}\]'"):
        check_engine(*asked)


def moved_by(pixels, lost=()):
    """A predictor beside the plain one whose PS1 lies so many pixels lower."""
    coords = np.array([[50.0, 50.0], [10.0, 50.0], [90.0, 90.0]])

    def predictor(dy, lost=()):
        def find(own, pictures):
            found = Keypoints(AOP, coords + np.array([[0, dy], [0, 0], [0, 0]]), np.ones(3))
            return [
                Prediction(None, 0.0, "none") if i in lost else Prediction(found, 1.0) for i in range(len(pictures))
            ]

        class Made(type(fake_predictor())):
            pass

        Made.find = find
        return Made(fake_predictor().contract, lambda inputs: inputs, "fake@0")

    return predictor(0.0), predictor(pixels, lost)


def test_the_change_is_that_of_the_worst_image():
    plain, other = moved_by(0.5, lost=(1,))
    found = change(plain, other, [np.zeros((100, 100), np.uint8)] * 3)
    assert (found.images, found.lost, found.px) == (3, 1, 0.5)
    # The axis from PS1 turns by atan(0.5 / 40), the ray to FH1 by atan(40 / 40) - atan(39.5 / 40).
    turned = np.degrees(np.arctan(0.5 / 40) + np.arctan(1) - np.arctan(39.5 / 40))
    assert found.degrees == pytest.approx(turned, abs=1e-9)


def test_a_precision_that_moves_an_angle_by_more_than_a_degree_is_refused():
    pictures = [np.zeros((100, 100), np.uint8)] * 3
    plain, other = moved_by(1.0)
    with pytest.raises(UsageError, match=r"of 3 images it moves one by 2\.\d\d° and 1\.00 px"):
        agreement._checked(plain, other, pictures)
    plain, other = moved_by(0.1, lost=(2,))
    with pytest.raises(UsageError, match="loses 1"):
        agreement._checked(plain, other, pictures)
    plain, other = moved_by(0.1)
    told = agreement._checked(plain, attrs.evolve(other, engine=Engine("openvino", "bf16")), pictures).engine
    assert told.told["change against f32"] == {"images": 3, "worst_px": 0.1, "worst_deg": 0.2149, "lost": 0}
    assert "openvino in bf16: change against f32: images 3" in told.notes[0]


def test_openvino_gives_the_points_of_onnxruntime():
    pytest.importorskip("openvino")
    plain, other = (load("aop-fast", threads=1, engine=name) for name in ("onnx", "openvino"))
    found = change(plain, other, made_images(plain)[:3])
    assert found.images == 3
    assert found.px < 0.01
    assert other.engine.identity == {"engine": "openvino", "precision": "f32"}
    assert other.contract.calibration == plain.contract.calibration


def refusing(capabilities, taken):
    """An OpenVINO that computes otherwise than it is asked to."""
    ov = pytest.importorskip("openvino")

    class Compiled:
        def get_property(self, name):
            return taken(ov)

    class Model:
        def reshape(self, shape):
            pass

    class Core:
        available_devices = ("CPU",)

        def get_property(self, device, name):
            return capabilities

        def read_model(self, content):
            return Model()

        def compile_model(self, *given):
            return Compiled()

    return Core


@pytest.mark.parametrize(
    ("capabilities", "taken", "said"),
    [
        (["BF16"], lambda ov: ov.Type.bf16, "computes in BF16, not in f32"),
        (["FP32", "BF16"], lambda ov: ov.Type.bf16, "asked for f32, this cpu computes in bf16"),
    ],
)
def test_openvino_without_float32_is_refused(monkeypatch, capabilities, taken, said):
    monkeypatch.setattr("openvino.Core", refusing(capabilities, taken))
    with pytest.raises(UsageError, match=said):
        load("aop-fast", engine="openvino")


def test_a_device_that_openvino_does_not_find_is_refused():
    pytest.importorskip("openvino")
    with pytest.raises(UsageError, match="--device gpu: OpenVINO finds CPU"):
        load("aop-fast", engine="openvino", device="gpu")


def test_auto_compares_once_and_keeps_its_choice(tmp_path, monkeypatch):
    asked = []

    def compared(*given):
        asked.append(given)
        return {"engine": "onnx", "worst_px": 0.0}

    monkeypatch.setattr(agreement, "is_installed", lambda package: True)
    monkeypatch.setattr(agreement, "_compared", compared)
    artefact = write_heatmap_artefact(tmp_path / "a.onnx", TRIANGLE)
    first, second = (load(artefact, engine="auto") for _ in range(2))
    assert len(asked) == 1
    assert first.engine == second.engine == Engine("onnx")
    assert second.engine.told["auto"]["worst_px"] == 0.0
    assert len(json.loads((tmp_path / "cache" / "engines.json").read_text())) == 1
    (tmp_path / "cache" / "engines.json").write_text("[")
    load(artefact, engine="auto")
    assert len(asked) == 2


@pytest.mark.parametrize(("apart", "taken"), [(0.005, "openvino"), (0.02, "onnx")])
def test_auto_takes_the_faster_engine_where_its_points_are_those_of_onnxruntime(monkeypatch, apart, taken):
    plain, other = moved_by(apart)
    monkeypatch.setattr(agreement, "with_engine", lambda *given: other)
    monkeypatch.setattr(
        agreement, "_milliseconds", lambda predictor, images: 1.0 if predictor.network is other.network else 2.0
    )
    found = agreement._compared(plain, resolve("aop-fast"), "cpu", 1, [textured(0)])
    assert (found["engine"], found["worst_px"]) == (taken, apart)


def test_auto_without_another_engine_is_onnxruntime(tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "is_installed", lambda package: False)
    found = load(write_heatmap_artefact(tmp_path / "a.onnx", TRIANGLE), engine="auto")
    assert found.engine.identity == {"engine": "onnx", "precision": "f32"}
    assert found.engine.told == {"auto": "openvino is not installed"}


def test_int8_is_made_from_the_images_and_changes_little(monkeypatch):
    monkeypatch.setattr(agreement, "MOST_DEGREES", 45.0)
    pytest.importorskip("onnx", reason="onnx comes with the train extra")
    plain = load("aop-fast", threads=1)
    images = made_images(plain)[:2]
    found = load("aop-fast", threads=1, precision="int8", images=images)
    assert found.engine.identity == {"engine": "onnx", "precision": "int8"}
    assert 0 < found.engine.told["change against f32"]["worst_px"] < 5
    assert found.contract.calibration is None
    assert "intervals: withheld: they are calibrated for f32, not for int8" in found.engine.notes[1]
