"""The night's table of the U-Net: which arms it trains."""

import pytest

pytest.importorskip("torch", reason="torch comes with the train extra")

import ablation_unet


def test_arms_are_paired_seed_by_seed():
    made = [arm.folder for arm in ablation_unet.arms(["H", "T"], ["aop", "head"], 2)]
    assert made == [f"{name}-{schema}-{seed}" for seed in (0, 1) for schema in ("aop", "head") for name in "HT"]
