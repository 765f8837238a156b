"""The YOLO pipeline's verbs (see ``pipelines.Pipeline``)."""

from aop_pose.pipelines.yolo.artefact import export, predictor
from aop_pose.pipelines.yolo.pretrain import pretrain
from aop_pose.pipelines.yolo.train import train

__all__ = ["export", "predictor", "pretrain", "train"]
