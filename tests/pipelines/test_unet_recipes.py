"""The recipes of the heatmap U-Net: their stages, restarts, the warp between two views, and bad input."""

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

from aop_pose.cli.main import run as run_command  # noqa: E402
from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.pipelines import load_weights, pipeline  # noqa: E402
from aop_pose.pipelines.job import Job  # noqa: E402
from aop_pose.pipelines.unet.config import RECIPES  # noqa: E402
from aop_pose.pipelines.unet.recipe import ConsistencyTraining, disturbed, moved, strong_warp  # noqa: E402
from aop_pose.pseudo.ensemble import Ensemble  # noqa: E402
from aop_pose.pseudo.run import document_of, read_pseudo  # noqa: E402
from tests.pipelines.killing import Killed  # noqa: E402
from tests.pipelines.unet_tiny import TINY, config_of, train_unet  # noqa: E402

LABELLED = 6
STAGES = ["1-teacher-1", "2-teacher-2", "3-pseudo-1.csv", "4-student-1-1"]


@pytest.fixture(scope="module")
def half_labelled(phantom_set, tmp_path_factory):
    """The phantom set with labels for its first frames only; ``unlabelled.txt`` names three of the others."""
    folder = tmp_path_factory.mktemp("half") / "set"
    shutil.copytree(phantom_set, folder)
    lines = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join(lines[: 1 + LABELLED]) + "\n")
    (folder / "unlabelled.txt").write_text("".join(f"{line.split(',')[0]}\n" for line in lines[-3:]))
    return folder


@pytest.fixture
def inside(monkeypatch):
    """Networks of a few steps point anywhere: their answers are drawn into the picture, and still follow from them."""
    real = Ensemble.agree

    def agree(self, pixels, least=None):
        found = real(self, pixels, 0.0)
        found.spreads[:] = 1.0
        found.points[:] = 45 + 20 * np.tanh((found.points - 48) / 64) + np.array([[0, 0], [8, 3], [14, -6]])
        return found

    monkeypatch.setattr(Ensemble, "agree", agree)


def run_ensemble(data, out, *changes, options=None, **settings):
    options = {"recipe": "ensemble", **(options or {})}
    return train_unet(data, out, "epochs=1", "networks=2", *changes, options=options, **settings)


def last(run):
    return torch.load(run / "weights" / "last.pt", weights_only=True)["state"]


@pytest.mark.usefixtures("inside")
def test_teachers_label_together_and_a_student_starts_from_the_first(half_labelled, tmp_path):
    out = tmp_path / "run"
    record = run_ensemble(half_labelled, out, "phantoms=2", "student_epochs=2", options={"frames": "unlabelled.txt"})
    assert sorted(path.name for path in (out / "stages").iterdir() if path.suffix != ".json") == sorted(
        [*STAGES, "labels.csv", "checks.csv"]
    )
    assert list(record["stages"]) == STAGES
    assert record["stages"]["3-pseudo-1.csv"]["from"] == "1-teacher-1, 2-teacher-2"
    assert record["stages"]["4-student-1-1"]["from"] == "1-teacher-1"
    seeds = [json.loads((out / "stages" / name / "run.json").read_text())["seed"] for name in STAGES[:2]]
    assert seeds == [0, 1]
    student = json.loads((out / "stages" / STAGES[3] / "run.json").read_text())
    assert (student["config"]["phantoms"], student["config"]["epochs"]) == (0, 2)
    assert student["data"]["pseudo"]["frames"] == 3
    table = out / "stages" / STAGES[2]
    assert len(document_of(table)["model"].split(" + ")) == 2
    assert len(read_pseudo(table, half_labelled)) == 3
    assert record["chosen"]["stage"] in (STAGES[0], STAGES[3])
    assert load_weights(str(out)).schema.name == "aop"


@pytest.mark.usefixtures("inside")
def test_a_killed_recipe_goes_on_to_the_same_weights(half_labelled, tmp_path):
    run_ensemble(half_labelled, tmp_path / "straight", "holdout=0")
    told = []

    def kill(step):
        told.append(step)
        if len(told) == 5:
            raise Killed

    with pytest.raises(Killed):
        run_ensemble(half_labelled, tmp_path / "killed", "holdout=0", on_batch=kill)
    said = []
    run_ensemble(half_labelled, tmp_path / "killed", "holdout=0", resume=True, say=said.append)
    assert "stage 1-teacher-1: finished before" in said
    straight, resumed = last(tmp_path / "straight"), last(tmp_path / "killed")
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


@pytest.mark.usefixtures("inside")
def test_a_further_round_is_labelled_by_the_students(half_labelled, tmp_path):
    record = run_ensemble(half_labelled, tmp_path / "run", "holdout=0", options={"rounds": 2})
    assert list(record["stages"]) == [
        *STAGES, "5-student-1-2", "6-pseudo-2.csv", "7-student-2-1",
    ]  # fmt: skip
    assert record["stages"]["6-pseudo-2.csv"]["from"] == "4-student-1-1, 5-student-1-2"
    assert record["chosen"]["stage"] == "7-student-2-1"


def test_a_map_goes_through_the_same_warp_as_its_picture():
    """A bright spot and the map around it are found again at one place of the strong view."""
    config = config_of("best", "strong_degrees=30", "strong_scale=0.2", "elastic=0.03")
    warp = strong_warp(config, 4, 64, torch.Generator().manual_seed(1))
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    spot = torch.exp(-((rows - 22) ** 2 + (columns - 40) ** 2) / 8).expand(4, 1, 64, 64)
    picture = moved(spot, warp)
    coarse = torch.nn.functional.avg_pool2d(spot, 4)
    small = moved(coarse, torch.nn.functional.interpolate(warp, size=(16, 16), mode="area"))

    def centre(maps):
        shares = maps / maps.sum(dim=(2, 3), keepdim=True)
        side = torch.arange(maps.shape[-1]) + 0.5
        return torch.stack([(shares.sum(2) * side).sum(-1), (shares.sum(3) * side).sum(-1)], dim=-1)[:, 0]

    torch.testing.assert_close(centre(picture), 4 * centre(small), atol=0.7, rtol=0)
    assert (centre(picture) - torch.tensor([40.5, 22.5])).norm(dim=1).max() > 2


def test_no_warp_and_no_disturbance_leave_a_picture_as_it_is():
    none = config_of(
        "best", "strong_degrees=0", "strong_scale=0", "elastic=0", "bands=0", "gamma=0", "speckle=0", "brightness=0"
    )
    gray = torch.rand(2, 1, 32, 32)
    generator = torch.Generator().manual_seed(0)
    torch.testing.assert_close(moved(gray, strong_warp(none, 2, 32, generator)), gray, atol=1e-4, rtol=0)
    torch.testing.assert_close(disturbed(none, gray, generator), gray)
    bands = disturbed(none.model_copy(update={"bands": 1.0}), gray, generator)
    assert (bands == 0).any(dim=(1, 2, 3)).all()


def test_maps_that_agree_cost_nothing_and_others_do():
    from aop_pose.pipelines.unet.network import build
    from aop_pose.pipelines.unet.pipeline import Unet

    config = config_of("fast", "image_size=64", "widths=[8]", "bottleneck=8", "region=none")
    torch.manual_seed(0)
    training = ConsistencyTraining(config, build(config), 0, [], [], Unet().contract(config, "x", {}))
    weak = torch.rand(2, 1, 64, 64)
    still = config.model_copy(update={"strong_degrees": 0.0, "strong_scale": 0.0, "elastic": 0.0})
    warp = strong_warp(still, 2, 64, torch.Generator())
    with torch.no_grad():
        training.kept.eval()
        raw = training.kept(weak)
        assert float(training._agreement(raw, weak, warp)) == pytest.approx(0, abs=1e-4)
        assert float(training._agreement(raw + 3 * torch.randn_like(raw), weak, warp)) > 0.5


def test_semi_learns_from_both_and_resumes_exactly(half_labelled, tmp_path):
    settings = ("epochs=2", "holdout=0", "phantoms=2")
    options = {"recipe": "semi", "frames": "unlabelled.txt"}
    record = train_unet(half_labelled, tmp_path / "straight", *settings, options=options)
    assert (record["data"]["frames"], record["data"]["unlabelled_frames"]) == (6, 3)
    assert "train/consistency" in (tmp_path / "straight" / "metrics.csv").read_text().splitlines()[0]

    def kill(step):
        if (step.epoch, step.batch) == (2, 2):
            raise Killed

    with pytest.raises(Killed):
        train_unet(half_labelled, tmp_path / "killed", *settings, options=options, on_batch=kill)
    train_unet(half_labelled, tmp_path / "killed", *settings, options=options, resume=True)
    straight, resumed = last(tmp_path / "straight"), last(tmp_path / "killed")
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_the_weight_of_agreement_rises(monkeypatch):
    training = ConsistencyTraining.__new__(ConsistencyTraining)
    training.config = config_of("best", "epochs=10", "ramp_up=0.5")
    monkeypatch.setattr(ConsistencyTraining, "current_epoch", 0)
    shares = []
    for epoch in range(10):
        monkeypatch.setattr(ConsistencyTraining, "current_epoch", epoch)
        shares.append(training._share())
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(np.exp(-5 * 0.8**2))
    assert shares[4:] == [1.0] * 6


@pytest.mark.parametrize(("options", "changes", "message"), [
    ({"recipe": "magic"}, (), "--recipe: expected ensemble or semi with --method unet, found 'magic'"),
    ({"recipe": "semi", "pseudo": "x.csv"}, (), "--pseudo: expected it without --recipe"),
    ({"recipe": "semi", "rounds": 2}, (), "--rounds: expected at least 1, with --recipe ensemble, found 2"),
    ({"rounds": 2}, (), "--rounds: expected --recipe ensemble beside it"),
    ({"recipe": "ensemble"}, ("batch=3",), "batch: expected a multiple of 2"),
    ({"recipe": "semi"}, ("averaging=0",), "activation softmax and averaging above 0"),
    ({"recipe": "ensemble"}, ("elastic=0",), "does not use 'elastic'"),
    ({"recipe": "semi"}, ("networks=2",), "does not use 'networks'"),
    ({}, ("student_epochs=2",), "does not use 'student_epochs'"),
])  # fmt: skip
def test_what_does_not_fit_is_said_before_anything_is_written(half_labelled, tmp_path, options, changes, message):
    job = Job(half_labelled, tmp_path / "run", init="scratch", changes=[*TINY, *changes])
    with pytest.raises(UsageError, match=message):
        pipeline("unet").train(job, **options)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_list_that_names_a_labelled_frame_is_refused(half_labelled, tmp_path):
    name = (half_labelled / "labels.csv").read_text().splitlines()[1].split(",")[0]
    (tmp_path / "list.txt").write_text(f"{name}\n")
    for chosen in RECIPES:
        job = Job(half_labelled, tmp_path / "run", init="scratch", changes=TINY)
        with pytest.raises(UsageError, match=f"expected frames without labels, found {name}"):
            pipeline("unet").train(job, recipe=chosen, frames=str(tmp_path / "list.txt"))


def test_the_command_shows_the_settings_of_a_recipe(capsys):
    assert run_command(["train", "--method", "unet", "--recipe", "semi", "--show-config"]) == 0
    said = capsys.readouterr().out
    assert "strong_degrees: 15.0" in said
    assert "student_epochs" not in said
