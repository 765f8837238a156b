"""The smallest run on volumes: run folder, exported network, what it writes of volumes, refinement."""

import pytest

TINY = ("size=[16,16,16]", "voxel_mm=null", "widths=[2,4]", "precision=fp32", "holdout=0.3", "threshold=0", "lr=0.01")


@pytest.fixture
def fetuses(stored):
    stored("fetuses", "--count", "5", "--seed", "7", "--schema", "fetus", "--size", "32")
    return "fetuses"


def settings(*more):
    return [word for change in (*TINY, *more) for word in ("--set", change)]


def test_train_export_predict_evaluate(golden, fetuses, stored):
    golden.learned = True
    words = ("train", "--method", "fetusmap", "--data", fetuses, "--init", "scratch", "--out", "run")
    golden.run(*words, *settings("epochs=1"))
    golden.run_folder("run")
    golden.run(*words, *settings("epochs=1"))
    golden.run("pretrain", "--method", "fetusmap", "--data", fetuses, "--out", "first")
    golden.run("export", "run", "--out", "net.onnx")
    golden.contract("net.onnx")
    golden.run("predict", f"{fetuses}/volumes", "--weights", "net.onnx", "--out", "out", shown=False)
    golden.files("out", sizes=False)
    golden.header("out/results.csv")
    golden.document("out/results.json", hidden={"counts"}, keys_only=True, without="results")
    golden.run("evaluate", "out", f"{fetuses}/labels.csv", "--images", fetuses, "--out", "evaluation", shown=False)
    golden.files("evaluation")
    golden.document("evaluation/metrics.json", keys_only=True)
    stored("moving", "--count", "1", "--schema", "fetus", "--size", "32", "--times", "2")
    golden.run("predict", "moving/volumes", "--weights", "net.onnx", "--out", "motion", "--no-overlay", shown=False)
    golden.files("motion")
    for name in ("results.csv", "motion.csv"):
        golden.header(f"motion/{name}")
    golden.run("predict", f"{fetuses}/volumes", "--weights", "net.onnx", "--refine", "--out", "refined")
    golden.run(
        "predict", f"{fetuses}/volumes", "--weights", "run", "--refine", "--refine-on", "none", "--out", "refined"
    )
    golden.run(
        "predict", f"{fetuses}/volumes/0000.nii.gz", "--weights", "run", "--refine", "--out", "refined", shown=False
    )
    golden.header("refined/results.csv")
    golden.document("refined/results.json", hidden={"counts"}, keys_only=True, without="results")
    golden.run("predict", "nowhere", "--weights", "net.onnx", "--out", "none")
    golden.run("predict", f"{fetuses}/labels.csv", "--weights", "net.onnx", "--out", "table")
    golden.text("table/results.csv")
    golden.run("predict", f"{fetuses}/volumes", "--weights", "net.onnx", "--pixel-size", "wide", "--out", "none")
    golden.run("predict", f"{fetuses}/volumes", "--weights", "net.onnx", "--schema", "aop", "--out", "none")
