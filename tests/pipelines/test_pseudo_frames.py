"""Pseudo-labels in the pipelines of Lightning: halves of batches, a weight for each point, resume, what is refused."""

import csv

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.pipelines import pipeline  # noqa: E402
from aop_pose.pipelines.data import Example  # noqa: E402
from aop_pose.pipelines.job import Job  # noqa: E402
from aop_pose.pseudo.label import COLUMNS_OF_TABLE, POINT_WEIGHTS  # noqa: E402
from tests.fakes import POINTS, textured  # noqa: E402
from tests.pipelines.hrnet_tiny import train_hrnet  # noqa: E402
from tests.pipelines.killing import Killed  # noqa: E402
from tests.pipelines.unet_tiny import OFF, config_of, train_unet  # noqa: E402

EACH = ((0.2, 0.4, 0.6), (0.4, 0.4, 0.2), (0.6, 0.4, 0.1), (0.0, 0.4, 0.3))


@pytest.fixture(scope="module")
def semi_set(phantom_set, tmp_path_factory):
    """Of ten phantoms six with labels, four with pseudo-labels that weigh each point."""
    with (phantom_set / "labels.csv").open() as file:
        rows = [{key: value for key, value in row.items() if key in COLUMNS_OF_TABLE} for row in csv.DictReader(file)]
    folder = tmp_path_factory.mktemp("semi")
    trusted = [
        {**row, "keep": 1, "weight": 0.3, **dict(zip(POINT_WEIGHTS, each, strict=True))}
        for row, each in zip(rows[6:], EACH, strict=True)
    ]
    for name, content, columns in (
        ("labels.csv", rows[:6], list(rows[0])),
        ("pseudo.csv", trusted, [*COLUMNS_OF_TABLE, *POINT_WEIGHTS]),
    ):
        with (folder / name).open("w", newline="") as file:
            table = csv.DictWriter(file, columns, restval="")
            table.writeheader()
            table.writerows(content)
    return folder


def semi(train, data, folder, out, *changes, **settings):
    options = {"pseudo": folder / "pseudo.csv"}
    return train(data, out, "holdout=0", *changes, labels=str(folder / "labels.csv"), options=options, **settings)


def weights_of(run):
    return torch.load(run / "weights" / "last.pt", weights_only=True)["state"]


def landmarks(examples, *changes):
    from aop_pose.pipelines.unet.network import build
    from aop_pose.pipelines.unet.pipeline import Unet
    from aop_pose.pipelines.unet.training import LandmarkTraining

    config = config_of(
        "fast",
        "image_size=64",
        "widths=[8]",
        "bottleneck=8",
        "averaging=0",
        "coordinate_weight=0.5",
        "region=none",
        *OFF,
        *changes,
    )
    torch.manual_seed(0)
    return LandmarkTraining(config, build(config), 0, examples, [], Unet().contract(config, "x", {}))


def example(number, weights=None):
    return Example(f"{number}.png", textured(number, 64, 64), POINTS / 4, weights=weights)


def test_weight_1_is_the_loss_of_labels_and_weight_0_gives_no_gradient():
    training = landmarks([example(0), example(1, np.ones(3)), example(2, np.zeros(3))])
    gray, points, _ = (torch.stack(list(map(torch.as_tensor, column))) for column in zip(*training.frames, strict=True))
    (trust,) = training.trust(torch.tensor([0, 1]))
    network = training.network.eval()
    torch.testing.assert_close(
        training.loss_of(network, gray[:2], points[:2], trust), training.loss_of(network, gray[:2], points[:2])
    )
    (trust,) = training.trust(torch.tensor([0, 2]))
    gray.requires_grad_(True)
    training.loss_of(network, gray[[0, 2]], points[[0, 2]], trust).backward()
    assert gray.grad[0].abs().sum() > 0
    assert gray.grad[2].abs().sum() == 0


def test_one_point_of_a_frame_may_count_alone():
    training = landmarks([example(0), example(1, np.array([0.0, 0.0, 2.0]))])
    gray, points, _ = (torch.stack(list(map(torch.as_tensor, column))) for column in zip(*training.frames, strict=True))
    (trust,) = training.trust(torch.tensor([1]))
    moved = points[1:].clone()
    moved[0, :2] += 5
    network = training.network.eval()
    alone = training.loss_of(network, gray[1:], points[1:], trust)
    torch.testing.assert_close(training.loss_of(network, gray[1:], moved, trust), alone)
    moved[0, 2] += 5
    assert training.loss_of(network, gray[1:], moved, trust) != alone


def test_half_of_each_batch_has_pseudo_labels_of_mean_weight_1(phantom_set, semi_set, tmp_path, monkeypatch):
    from aop_pose.pipelines.unet.training import LandmarkTraining

    seen = []

    def spy(self, network, gray, points, trust=None, plain=LandmarkTraining.loss_of):
        seen.append(trust)
        return plain(self, network, gray, points, trust)

    monkeypatch.setattr(LandmarkTraining, "loss_of", spy)
    record = semi(train_unet, phantom_set, semi_set, tmp_path / "run", "epochs=1", "phantoms=2")
    # Six labels and two phantoms are an epoch, in halves of two.
    assert len(seen) == 4
    assert all(len(trust) == 4 for trust in seen)
    assert all((trust[:2] == 1).all() for trust in seen)
    trusted = torch.cat([trust[2:] for trust in seen])
    expected = np.array(EACH) / np.mean(EACH, axis=0)
    found = {tuple(row) for row in np.round(trusted.numpy(), 4).tolist()}
    assert found == {tuple(row) for row in np.round(expected, 4).astype(np.float32).round(4).tolist()}
    told = record["data"]["pseudo"]
    assert (told["frames"], told["file"]) == (4, str(semi_set / "pseudo.csv"))
    assert record["data"]["frames"] == 6


def test_a_resumed_run_equals_a_straight_one(phantom_set, semi_set, tmp_path):
    semi(train_unet, phantom_set, semi_set, tmp_path / "straight", "epochs=2")

    def kill(step):
        if (step.epoch, step.batch) == (2, 1):
            raise Killed

    with pytest.raises(Killed):
        semi(train_unet, phantom_set, semi_set, tmp_path / "killed", "epochs=2", on_batch=kill)
    semi(train_unet, phantom_set, semi_set, tmp_path / "killed", "epochs=2", resume=True)
    straight, resumed = weights_of(tmp_path / "straight"), weights_of(tmp_path / "killed")
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_outlines_of_frames_with_pseudo_labels_are_not_learned():
    from aop_pose.pipelines.unet.training import rows_of

    config = config_of("fast", "outlines=true")
    rows = rows_of(config, example(0, np.ones(3)))
    assert rows.shape == rows_of(config, Example("a", textured(0), POINTS, np.zeros((2, 96, 2)))).shape
    assert np.isnan(rows[3:]).all()


def test_the_adversarial_network_takes_them_too(phantom_set, semi_set, tmp_path):
    record = semi(train_hrnet, phantom_set, semi_set, tmp_path / "run", "epochs=1")
    assert record["data"]["pseudo"]["frames"] == 4
    assert record["finished"]


def test_losses_of_the_adversarial_network_by_weight():
    from aop_pose.pipelines.hrnet_gan.network import entropy, heatmap_loss

    maps, real = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    ones = torch.ones(2, 3)
    torch.testing.assert_close(heatmap_loss(maps, real, ones), heatmap_loss(maps, real))
    torch.testing.assert_close(entropy(maps, ones), entropy(maps))
    first = torch.tensor([[1.0, 1, 1], [0, 0, 0]])
    torch.testing.assert_close(heatmap_loss(maps, real, first), heatmap_loss(maps[:1], real[:1]))
    torch.testing.assert_close(entropy(maps, first), entropy(maps[:1]))


@pytest.mark.parametrize("method", ["unet", "hrnet-gan"])
def test_what_does_not_fit_is_said_before_anything_is_written(method, phantom_set, semi_set, tmp_path):
    labels = str(semi_set / "labels.csv")

    def train(*changes, **options):
        job = Job(phantom_set, tmp_path / "run", labels=labels, init="scratch", changes=changes)
        pipeline(method).train(job, **options)

    with pytest.raises(UsageError, match="--list: expected --pseudo beside it"):
        train(frames="list.txt")
    with pytest.raises(UsageError, match="batch: expected a multiple of 2, one half labelled each, found 3"):
        train("batch=3", pseudo=semi_set / "pseudo.csv")
    with pytest.raises(UsageError, match=r"--pseudo: expected frames without labels, found .*also in --val"):
        train(pseudo=semi_set / "pseudo.csv", val=str(semi_set / "pseudo.csv"))
    nothing = tmp_path / "nothing.csv"
    nothing.write_text((semi_set / "pseudo.csv").read_text().replace(",1,,", ",0,,"))
    with pytest.raises(UsageError, match="expected at least one frame with keep = 1, found none in 4 rows"):
        train(pseudo=nothing)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # tests have one core each
def test_workers_draw_as_the_training_process_does(phantom_set, semi_set, tmp_path):
    semi(train_unet, phantom_set, semi_set, tmp_path / "none", "epochs=1")
    semi(train_unet, phantom_set, semi_set, tmp_path / "two", "epochs=1", "workers=2")
    alone, beside = weights_of(tmp_path / "none"), weights_of(tmp_path / "two")
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
