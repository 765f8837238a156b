"""The smallest runs on frames: what a run folder and an exported network hold, and what is said meanwhile.

Numbers that training gives are those of one CPU and are left out.
"""

from pathlib import Path

import pytest

from aop_pose.pipelines import pipeline

COMMON = ("image_size=64", "batch=4", "holdout=0.3", "precision=fp32", "threshold=0.0")
TINY = {
    "yolo": (*COMMON, "warmup_epochs=1"),
    "unet": (*COMMON, "warmup_epochs=1", "widths=[8,16]", "bottleneck=16"),
    "hrnet-gan": (
        *COMMON, "encoder=mobilenetv3_small_050", "widened=true", "decoder=[16,16,8,8,8]", "discriminator=2",
        "attention=false", "averaging=0", "clip=0", "lambda_h=1", "lr_generator=0.001", "lr_discriminator=0.0001",
        "sigma=3", "aug_affine=2", "moco_queue=64", "moco_batch=4",
    ),
}  # fmt: skip
PRETRAIN = {"yolo": ("--segmenter", "geometry"), "unet": (), "hrnet-gan": ()}
EPOCHS = {"yolo": "epochs=1", "unet": "epochs=1", "hrnet-gan": "moco_epochs=1"}


def settings(method, *more, stage="train"):
    changes = pipeline(method).useful(stage, TINY[method])
    return [word for change in (*changes, *more) for word in ("--set", change)]


@pytest.mark.parametrize("method", TINY)
def test_pretrain_train_export_predict(golden, stored, method):
    stored("data", "--count", "10", "--seed", "5", "--size", "96")
    common = ("--method", method, "--data", "data")
    golden.learned = True
    golden.run(
        "pretrain",
        *common,
        "--init",
        "scratch",
        "--out",
        "first",
        *PRETRAIN[method],
        *settings(method, EPOCHS[method], stage="pretrain"),
    )
    golden.run_folder("first")
    words = ("train", *common, "--init", "first", "--out", "run", *settings(method, "epochs=1"))
    golden.run(*words)
    golden.run_folder("run")
    golden.run(*words)
    golden.run(*words, "--resume")
    golden.run("export", "run", "--out", "net.onnx")
    golden.contract("net.onnx")
    golden.run("export", "run/weights/best.pt", "--out", "other.onnx", "--threshold", "0.25", "--decode", "crystal")
    for weights in ("net.onnx", "run"):
        out = f"of-{weights}"
        golden.run("predict", "data/images", "--weights", weights, "--out", out, "--no-overlay", shown=False)
        golden.files(out)
        golden.header(f"{out}/results.csv")
        golden.document(f"{out}/results.json", hidden={"counts"}, keys_only=True, without="results")
    golden.files(".", but=("data", "first", "run", "of-net.onnx", "of-run"))


def test_heads(golden, stored):
    """The U-Net learns the axes of a head as well."""
    stored("heads", "--count", "8", "--seed", "5", "--schema", "head", "--size", "96")
    golden.learned = True
    common = ("train", "--method", "unet", "--preset", "head_fast", "--data", "heads", "--init", "scratch")
    golden.run(*common, "--out", "run", *settings("unet", "epochs=1"))
    golden.run(*common, "--out", "run", *settings("unet", "epochs=1", "patient=null"))
    golden.run_folder("run")
    golden.run("export", "run", "--out", "net.onnx", "--threshold", "0.001", "--decode", "argmax")
    golden.contract("net.onnx")
    golden.run("predict", "heads/images", "--weights", "net.onnx", "--out", "out", "--no-overlay", shown=False)
    golden.header("out/results.csv")


def test_weighted_training_on_pseudo_labels(golden, stored):
    stored("data", "--count", "10", "--seed", "5", "--size", "96")
    rows = Path("data/labels.csv").read_text().splitlines(keepends=True)
    Path("data/labels.csv").write_text("".join(rows[:8]))
    golden.run("pseudo-label", "--images", "data", "--labels", "data/labels.csv", "--out", "pseudo.csv", shown=False)
    golden.learned = True
    words = ("train", "--data", "data", "--pseudo", "pseudo.csv", "--init", "scratch")
    golden.run(*words, "--out", "run", *settings("yolo", "epochs=1"))
    golden.run_folder("run")
    Path("data/labels.csv").write_text("".join(rows))
    golden.run(*words, "--out", "bad", *settings("yolo", "epochs=1"))
