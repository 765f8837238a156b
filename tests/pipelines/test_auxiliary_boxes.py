"""PS and FH boxes beside the points (Li et al., equation 11): labels, loss, matching, and what measuring sees of it."""

import json
import shutil
from types import SimpleNamespace

import attrs
import numpy as np
import pytest

from tests.fakes import require_ultralytics

require_ultralytics()

import torch  # noqa: E402
from ultralytics.utils.loss import KeypointLoss  # noqa: E402

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.formats.label import Boxes, Label  # noqa: E402
from aop_pose.formats.yolo import write_yolo_detect  # noqa: E402
from aop_pose.io.images import read_frame  # noqa: E402
from aop_pose.pipelines import load_weights, pipeline  # noqa: E402
from aop_pose.pipelines.yolo.boxes import add_boxes  # noqa: E402
from aop_pose.pipelines.yolo.config import YoloConfig  # noqa: E402
from aop_pose.pipelines.yolo.data import Example, FrameDataset  # noqa: E402
from aop_pose.pipelines.yolo.stages import phantom_examples  # noqa: E402
from aop_pose.pipelines.yolo.trainers import VisiblePointLoss, class_names  # noqa: E402
from tests.pipelines.conftest import train_tiny  # noqa: E402

# A picture of 100 x 50 stands at 64 x 32 in the middle of the input of 64: x -> 0.64 (x + 0.5) - 0.5, y the same + 16.
EXAMPLE = Example(
    "a.png",
    np.full((50, 100), 80, np.uint8),
    np.array([[60.0, 10], [20, 20], [80, 30]]),
    classes=(1, 0),
    boxes=np.array([[49.5, 9.5, 99.5, 49.5], [-0.5, -0.5, 24.5, 24.5]]),
)
CALM = YoloConfig(image_size=64, brightness=0, gamma=0, speckle=0, box_margin=0, degrees=10, translate=0.1, scale=0.3)


def data(example):
    names = class_names([example])
    return {"names": names, "nc": len(names), "channels": 3, "kpt_shape": [3, 2], "flip_idx": [0, 1, 2]}


def test_the_labels_by_hand():
    item = FrameDataset([EXAMPLE], CALM, data=data(EXAMPLE), augment=False)[0]
    assert item["cls"].ravel().tolist() == [0, 2, 1]
    x, y = (lambda v: 0.64 * (v + 0.5) - 0.5), (lambda v: 0.64 * (v + 0.5) + 15.5)
    corners = [(x(20), y(10), x(80), y(30)), (x(49.5), y(9.5), x(99.5), y(49.5)), (x(-0.5), y(-0.5), x(24.5), y(24.5))]
    expected = [((a + c) / 2, (b + d) / 2, c - a, d - b) for a, b, c, d in corners]
    # Ultralytics cuts boxes at the input's edges, half a pixel inside ours.
    np.testing.assert_allclose(item["bboxes"].numpy() * 64, expected, atol=0.51)
    points = item["keypoints"].numpy()
    assert points[:, :, 2].tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(points[0, :, :2] * 64, [(x(a), y(b)) for a, b in EXAMPLE.points], atol=1e-3)


def test_without_boxes_there_is_one_class():
    plain = Example(EXAMPLE.name, EXAMPLE.pixels, EXAMPLE.points)
    assert class_names([plain]) == {0: "aop"}
    item = FrameDataset([plain], CALM, data=data(plain), augment=False)[0]
    assert item["cls"].tolist() == [[0]]
    assert item["keypoints"][..., 2].tolist() == [[1, 1, 1]]


def test_augmentation_moves_all_boxes_together():
    """An auxiliary box that equals the pose box equals it after every augmentation."""
    low, high = EXAMPLE.points.min(axis=0), EXAMPLE.points.max(axis=0)
    twin = attrs.evolve(EXAMPLE, classes=(0,), boxes=np.concatenate([low, high])[None])
    hyper = SimpleNamespace(
        mosaic=0.0, mixup=0.0, cutmix=0.0, copy_paste=0.0, copy_paste_mode="flip", degrees=10.0, translate=0.1,
        scale=0.3, shear=0.0, perspective=0.0, flipud=0.0, fliplr=0.5, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0, bgr=0.0,
        mask_ratio=4, overlap_mask=True,
    )  # fmt: skip
    dataset = FrameDataset([twin], CALM, data=data(twin), augment=True, hyp=hyper)
    boxes = [dataset[0]["bboxes"].numpy() for _ in range(20)]
    for one in boxes:
        np.testing.assert_allclose(one[0], one[1], atol=1e-6)
    assert np.ptp([one[0] for one in boxes], axis=0).max() > 0.05, "nothing was moved"


def test_auxiliary_boxes_teach_no_points_and_do_not_weaken_them():
    generator = torch.Generator().manual_seed(0)
    sigmas = torch.full((3,), 0.05)
    found = torch.rand(5, 3, 2, generator=generator, requires_grad=True)
    truth = torch.rand(5, 3, 3, generator=generator)
    mask = torch.tensor([True, False, True, False, False])[:, None].expand(5, 3)
    area = torch.rand(5, 1, generator=generator) + 0.5
    loss = VisiblePointLoss(sigmas)(found, truth, mask, area)
    loss.backward()
    assert (found.grad[[1, 3, 4]] == 0).all()
    assert (found.grad[[0, 2]] != 0).all()
    kept = mask[:, 0]
    assert loss == KeypointLoss(sigmas)(found[kept], truth[kept], mask[kept], area[kept])
    nothing = VisiblePointLoss(sigmas)(found, truth, torch.zeros_like(mask), area)
    assert nothing == 0
    nothing.backward()


@pytest.mark.parametrize(("number", "taught"), [(1, False), (0, True)])
def test_the_whole_loss_gives_an_auxiliary_box_no_gradient_of_points(number, taught):
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import PoseModel

    torch.manual_seed(0)
    model = PoseModel("yolo11n-pose.yaml", nc=3, data_kpt_shape=[3, 2], verbose=False)
    model.args = get_cfg()
    criterion = model.init_criterion()
    criterion.keypoint_loss = VisiblePointLoss(criterion.keypoint_loss.sigmas)
    keypoints = torch.full((1, 3, 3), 0.4)
    keypoints[..., 2] = number == 0
    batch = {
        "img": torch.rand(1, 3, 64, 64), "batch_idx": torch.zeros(1), "cls": torch.full((1, 1), float(number)),
        "bboxes": torch.tensor([[0.5, 0.5, 0.6, 0.6]]), "keypoints": keypoints,
    }  # fmt: skip
    criterion(model.train()(batch["img"]), batch)[0].sum().backward()
    head = model.model[-1]
    reached = [any(bool((p.grad != 0).any()) for p in part.parameters()) for part in (head.cv4, head.cv2, head.cv3)]
    assert reached == [taught, True, True]


@pytest.fixture(scope="module")
def boxes(phantom_set, tmp_path_factory):
    """Boxes of the tiny set, from no picture at all."""
    out = tmp_path_factory.mktemp("auxiliary") / "run"
    options = {"segmenter": "geometry"}
    train_tiny(phantom_set, out, "epochs=1", verb="pretrain", options=options)
    return out / "boxes"


@pytest.fixture(scope="module")
def boxed_run(phantom_set, boxes):
    out, said = boxes.parent / "pose", []
    options = {"boxes": boxes}
    train_tiny(phantom_set, out, "epochs=2", "phantoms=2", init=str(boxes.parent), options=options, say=said.append)
    assert any(line.startswith("auxiliary boxes: on ") for line in said)
    return out


def test_the_network_has_three_classes_and_measuring_sees_the_first(boxed_run, phantom_set, tmp_path):
    from aop_pose.pipelines.yolo.network import GrayPose, load_checkpoint

    record = json.loads((boxed_run / "run.json").read_text())
    assert 0 < record["data"]["boxed_frames"] <= record["data"]["frames"]
    model = load_checkpoint(boxed_run / "weights" / "best.pt")
    assert model.names == {0: "aop", 1: "PS", 2: "FH"}
    picture = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        whole = model(picture.expand(-1, 3, -1, -1))[0]
        seen = GrayPose(model)(picture)
    assert whole.shape[1:] == (4 + 3 + 6, 84)
    torch.testing.assert_close(seen, torch.cat([whole[:, :5], whole[:, 7:]], dim=1), rtol=0, atol=0)
    exported, native = pipeline("yolo").export(boxed_run, tmp_path / "boxed.onnx"), load_weights(str(boxed_run))
    noise = picture.numpy()
    assert exported.network(noise).shape == (2, 5 + 6, 84)
    np.testing.assert_allclose(exported.network(noise), native.network(noise), atol=0.05)
    np.testing.assert_allclose(exported.network(noise)[:, 4], native.network(noise)[:, 4], atol=1e-4)
    pictures = [read_frame(path).pixels for path in sorted((phantom_set / "images").iterdir())]
    for one, other in zip(native.find(pictures), exported.find(pictures), strict=True):
        np.testing.assert_allclose(one.keypoints.coords, other.keypoints.coords, atol=0.05)


def test_phantoms_bring_the_boxes_of_their_masks():
    assert phantom_examples(1, 0)[0].classes == ()
    boxed = phantom_examples(1, 0, boxed=True)[0]
    assert boxed.classes == (0, 1)
    (ps1, ps2, fh1), (symphysis, head) = boxed.points, boxed.boxes
    for point, (left, top, right, bottom) in ((ps1, symphysis), (ps2, symphysis), (fh1, head)):
        assert left - 2 <= point[0] <= right + 2
        assert top - 2 <= point[1] <= bottom + 2


def box_folder(tmp_path, *names, size=(100, 50)):
    from PIL import Image

    path = tmp_path / "picture.png"
    Image.new("L", size).save(path)
    frames = [Label(name, path, size, boxes=Boxes(EXAMPLE.classes, EXAMPLE.boxes)) for name in names]
    write_yolo_detect(frames, [], tmp_path / "boxes")
    return tmp_path / "boxes"


def test_boxes_are_matched_by_the_stem_of_the_picture(tmp_path):
    folder = box_folder(tmp_path, "a.jpg", "c.jpg")
    other = Example("b.png", EXAMPLE.pixels, EXAMPLE.points)
    bare = attrs.evolve(EXAMPLE, classes=(), boxes=np.zeros((0, 4)))
    one, two = add_boxes([bare, other], ["a.png", "b.png"], folder)
    assert one.classes == (1, 0)
    np.testing.assert_allclose(one.boxes, EXAMPLE.boxes, atol=1e-5)
    assert two is other


def test_boxes_that_do_not_fit_are_refused(tmp_path, phantom_set, boxes):
    folder = box_folder(tmp_path, "a.png")
    with pytest.raises(UsageError, match="found none"):
        add_boxes([Example("z.png", EXAMPLE.pixels, EXAMPLE.points)], ["z.png"], folder)
    with pytest.raises(UsageError, match=r"expected 10x20 as a\.png, found 100x50"):
        add_boxes([Example("a.png", np.zeros((20, 10), np.uint8), EXAMPLE.points)], ["a.png"], folder)
    (folder / "images" / "train" / "more").mkdir()
    shutil.copy(folder / "images" / "train" / "a.png", folder / "images" / "train" / "more")
    shutil.copytree(folder / "labels" / "train", folder / "labels" / "train" / "more")
    with pytest.raises(UsageError, match="under another name"):
        add_boxes([EXAMPLE], ["a.png"], folder)
    with pytest.raises(UsageError, match=r"expected a YOLO data file"):
        train_tiny(phantom_set, tmp_path / "run", "epochs=1", options={"boxes": tmp_path / "nowhere"})
    assert not (tmp_path / "run").exists()
