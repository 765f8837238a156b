"""A second look at a frame by the network that measured it: where its points lie when it sees the picture elsewhere."""

from __future__ import annotations

from threading import Lock

import attrs
import numpy as np

from aop_pose.core.frame import Frame
from aop_pose.core.region import Region
from aop_pose.errors import UsageError
from aop_pose.inference.predictor import Predictor
from aop_pose.inference.weights import load, manifest
from aop_pose.measuring.measurer import Measurer


@attrs.define(eq=False)
class SecondLook:
    """The network of a run, loaded when it is first asked.

    Args:
        model: as the ``model`` column names it.
        weights: artefact of the run; "" = the shipped one of that name and hash.
    """

    model: str
    weights: str = ""
    _predictor: Predictor | None = None
    _asking: Lock = attrs.field(factory=Lock, init=False)

    def of(self, frame: Frame, region: Region | None) -> np.ndarray | None:
        """Points (points, 2) in pixels of the frame; None where the second look finds none.

        ``region``: what the run looked at; None = it is found anew. UsageError where the network is not at hand.
        """
        with self._asking:
            measurer = Measurer(self._loaded(), gate=False, region=region)
            view = measurer.views(frame)[0]
            if view.seen is None:
                return None
            ((_, passes),) = measurer.seen([frame])
        if passes.second is None:
            return None
        found = view.turned_back(passes.stance).in_image(passes.second).keypoints
        return None if found is None else found.coords

    def _loaded(self) -> Predictor:
        if self._predictor is None:
            found = load(self.weights or self._shipped(), threads=1)
            if not isinstance(found, Predictor) or found.model_id != self.model:
                raise UsageError(
                    f"--weights: expected {self.model}, which measured these frames, found {found.model_id}"
                )
            self._predictor = found
        return self._predictor

    def _shipped(self) -> str:
        for entry in manifest():
            if entry.model_id == self.model:
                return entry.name
        raise UsageError(f"{self.model} is not at hand for a second look; give its file with --weights")
