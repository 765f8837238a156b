"""The module that Lightning trains: generator and discriminator, one step each a batch (section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from aop_pose.errors import UsageError
from aop_pose.inference.predictor import Contract
from aop_pose.pipelines.data import Example, FrameDataset, any_spread, inside, points_of, with_ends
from aop_pose.pipelines.hrnet_gan.augment import augment
from aop_pose.pipelines.hrnet_gan.config import AugmentSettings, HrnetConfig
from aop_pose.pipelines.hrnet_gan.moco import rate_factor
from aop_pose.pipelines.hrnet_gan.network import (
    POINTS,
    Generator,
    PatchDiscriminator,
    adversarial_loss,
    coordinate_loss,
    discriminator_loss,
    entropy,
    heatmap_loss,
    shares_of,
)
from aop_pose.pipelines.lightning import PointTraining, Schedule
from aop_pose.pipelines.losses import encode, widened


class Augmentation:
    """Table 1 on a picture and its points, drawn by torch's generator."""

    def __init__(self, settings: AugmentSettings):
        self.settings = settings

    def __call__(self, gray: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gray (1, S, S) in [0, 1], of 256 levels, and points (n, 2) in its pixels -> the same, changed."""
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        pixels = (gray[0] * 255).round().to(torch.uint8).numpy()
        made = augment(pixels, points.numpy(), rng, self.settings)
        return torch.from_numpy(made.picture)[None], torch.from_numpy(made.points)


class AdversarialTraining(PointTraining):
    """Learns the points of labelled frames, judged by a discriminator that learns what maps of points look like.

    ``train/loss`` and ``val/loss`` are equation 17 without its adversarial term, so that they can be compared;
    ``train/adversarial`` is that term without its weight (equation 12), ``train/discriminator`` equation 11.
    """

    method = "hrnet-gan"
    network: Generator
    leaves_out = True

    def __init__(
        self, config: HrnetConfig, network: Generator, seed: int, examples: Sequence[Example],
        checks: Sequence[Example], contract: Contract,
    ):  # fmt: skip
        if config.adversary:
            self.further = ("train/adversarial", "train/discriminator")
        rows = with_ends if any_spread([*examples, *checks]) else points_of
        frames, checked = (
            FrameDataset(given, config.image_size, Augmentation(config), seed, rows=rows)
            for given in (examples, checks)
        )
        super().__init__(config, Schedule.of(config, config.batch), network, seed, frames, checked, contract)
        self.config = config
        # Both networks step by hand, in turns.
        self.automatic_optimization = False
        self.discriminator = PatchDiscriminator(POINTS, config.discriminator) if config.adversary else None
        for _, prefix in config.thaw:
            if not any(name.startswith(prefix) for name, _ in network.encoder.body.named_parameters()):
                raise UsageError(
                    f"thaw: expected the beginning of a layer's name in {config.encoder}, found {prefix!r}"
                )

    def loss_of(
        self, network: nn.Module, gray: torch.Tensor, points: torch.Tensor, trust: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self._supervised(network(gray).float(), points, *(() if trust is None else (trust,)))

    def _supervised(
        self, output: torch.Tensor, points: torch.Tensor, trust: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Equation 17 without the discriminator; of coordinates only equation 14 is left."""
        config, rows, points = self.config, points, points[:, :POINTS]
        shares, seen = (points + 0.5) / config.image_size, inside(points, config.image_size)
        if trust is not None:
            seen = seen * trust
        if config.output == "coordinates":
            return config.lambda_c * coordinate_loss(output, shares, seen)
        loss = config.lambda_h * heatmap_loss(output, self._real(rows), trust)
        loss = loss + config.lambda_c * coordinate_loss(shares_of(output, config.coordinate_rule), shares, seen)
        return loss + config.lambda_e * entropy(output, trust)

    def _real(self, rows: torch.Tensor) -> torch.Tensor:
        """Equation 18: the maps of true points, wider where a label is uncertain.

        A point that augmentation moved out leaves at most its tail.
        """
        points, ends = rows[:, :POINTS], rows[:, POINTS:]
        return encode(points, self.config.image_size, widened(self.config.sigma, points, ends))

    def training_step(self, batch: Any, number: int) -> None:
        gray, points, indices = batch
        optimizers: Any = self.optimizers()
        gray = gray.contiguous(memory_format=self.memory_format)
        if self.discriminator is None:
            output = self.network(gray).float()
            loss = self._supervised(output, points, *self.trust(indices))
            self._step(optimizers, loss, indices, clip=True)
        else:
            of_generator, of_discriminator = optimizers
            # Its weights get no gradient from the generator's turn.
            self.discriminator.requires_grad_(False)
            output = self.network(gray).float()
            loss = self._supervised(output, points, *self.trust(indices))
            judged = adversarial_loss(self.discriminator(output).float(), self.config.gan)
            self._step(of_generator, loss + self.config.lambda_adv * judged, indices, clip=True)
            self.discriminator.requires_grad_(True)
            scores = [self.discriminator(maps).float() for maps in (self._real(points), output.detach())]
            other = discriminator_loss(scores[0], scores[1], self.config.gan)
            self._step(of_discriminator, other, indices)
            for name, value in zip(self.further, (judged, other), strict=True):
                self.parts[name].append(float(value.detach()))
        self.losses.append(float(loss.detach()))

    def _step(self, optimizer: Any, loss: torch.Tensor, indices: torch.Tensor, clip: bool = False) -> None:
        """One step of one network; none where the loss is not finite."""
        self.demand_finite(loss, indices)
        optimizer.zero_grad()
        self.manual_backward(loss)
        if clip and self.schedule.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.clip)
        optimizer.step()

    def on_train_epoch_start(self) -> None:
        """Rates and freedom of an epoch follow from its number alone: a resumed run has those of a straight one."""
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * self._factor(self.current_epoch)
        if self.config.frozen:
            self._free(self.current_epoch)

    def _free(self, epoch: int) -> None:
        """The part of the encoder that learns; the rest keeps its weights and its running means too."""
        body = self.network.encoder.body
        freed = tuple(prefix for begin, prefix in self.config.thaw if epoch >= begin)
        for name, module in body.named_modules():
            free = name.startswith(freed) if freed else False
            for value in module.parameters(recurse=False):
                value.requires_grad_(free)
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(free)

    def _factor(self, epoch: int) -> float:
        return rate_factor(epoch, self.config.epochs) if self.config.schedule == "cosine" else 1.0

    def rate(self, epoch: int) -> float:
        return self.config.lr_generator * self._factor(epoch)

    def configure_optimizers(self) -> Any:
        config = self.config
        networks: list[tuple[nn.Module, float]] = [(self.network, config.lr_generator)]
        if self.discriminator is not None:
            networks.append((self.discriminator, config.lr_discriminator))
        return [
            torch.optim.AdamW(
                [{"params": list(network.parameters()), "initial_lr": lr}], lr=lr, weight_decay=config.weight_decay
            )
            for network, lr in networks
        ]
