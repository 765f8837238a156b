"""The smallest runs of the adversarially fine-tuned network, for the tests of its pipeline."""

from pathlib import Path

TINY = (
    "encoder=mobilenetv3_small_050", "widened=true", "image_size=64", "decoder=[16,16,8,8,8]", "discriminator=2",
    "batch=4", "holdout=0.3", "precision=fp32", "threshold=0.0", "attention=false", "averaging=0", "clip=0",
    "lambda_h=1", "lr_generator=0.001", "lr_discriminator=0.0001", "sigma=3", "aug_affine=2", "moco_queue=64",
    "moco_batch=4",
)  # fmt: skip


def train_hrnet(data: Path, out: Path, *changes: str, verb: str = "train", options=None, **settings):
    """Train on the tiny set with settings of the fewest possible steps."""
    from aop_pose.pipelines import pipeline
    from aop_pose.pipelines.job import Job

    if verb == "pretrain":
        changes = tuple(change.replace("epochs=", "moco_epochs=") for change in changes)
    chosen = pipeline("hrnet-gan")
    job = Job(data, out, changes=[*chosen.useful(verb, TINY), *changes], **{"init": "scratch", **settings})
    return getattr(chosen, verb)(job, **(options or {}))
