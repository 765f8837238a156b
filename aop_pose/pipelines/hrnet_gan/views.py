"""Two views of each frame (section 2.1), and where one shows what the other does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from aop_pose.letterbox import fit
from aop_pose.pipelines.examples import Example
from aop_pose.pipelines.hrnet_gan.augment import Draw, draw
from aop_pose.pipelines.hrnet_gan.moco_settings import AugmentSettings


class ViewDataset(Dataset):
    """(query (1, S, S), key (1, S, S), places (side, side, 2), index) of each frame, float32.

    The views are two augmentations of the letterboxed picture. Every draw follows from (seed, epoch, index) alone; the
    checks keep ``epoch`` at 0, so that they see the same views every time. ``places`` is for ``moco.partners``.
    """

    def __init__(self, examples: Sequence[Example], size: int, side: int, settings: AugmentSettings, seed: int):
        self.examples = examples
        self.pictures = [fit(example.pixels, size)[0] for example in examples]
        self.size, self.side, self.settings, self.seed = size, side, settings, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        rng = np.random.default_rng([self.seed, self.epoch, index])
        picture = self.pictures[index]
        draws = [draw(rng, (self.size, self.size), self.settings) for _ in range(2)]
        query, key = (torch.from_numpy(one.apply(picture))[None] for one in draws)
        return query, key, torch.from_numpy(places_in(draws[0], draws[1], self.side)), index


def places_in(query: Draw, key: Draw, side: int) -> np.ndarray:
    """(side, side, 2) float32: where the key view shows the centre of each position of the query's map.

    Through the picture that both were made of: back by the query's warp, forward by the key's. As (x, y) from -1 to 1
    between the outer edges of the view.
    """
    size = query.shape[0]
    centres = (np.arange(side) + 0.5) * size / side - 0.5
    grid = np.stack(np.meshgrid(centres, centres), axis=2)
    shown = key.forward(query.backward(grid))
    return (2 * (shown + 0.5) / size - 1).astype(np.float32)
