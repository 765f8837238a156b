"""The encoder: any network of timm that gives a last feature map at 1/32 of the input, for one gray channel."""

from __future__ import annotations

import difflib
from typing import Any

import timm
import torch
from torch import nn
from torch.func import functional_call

from aop_pose.errors import UsageError
from aop_pose.pipelines.hrnet_gan.config import REDUCTION, HrnetConfig


class Encoder(nn.Module):
    """Gray (B, 1, S, S) -> the last feature map (B, channels, S / 32, S / 32), with random weights.

    ``hrnet_w48`` gives 1024 x 16 x 16 at 512 pixels (Krishna and Khan, section 2.1): the fourth branch of stage 4,
    and, where ``widened``, through the first part of HRNet's classification head, as timm's features are.

    Raises:
        UsageError: timm has no such network (the nearest name is told), or one without such a map.
    """

    def __init__(self, name: str, widened: bool = True):
        super().__init__()
        if not timm.is_model(name):
            near = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0.0)[0]
            raise UsageError(f"encoder: expected the name of a timm network, found {name!r}; did you mean {near!r}?")
        options: dict[str, Any] = {} if widened else {"feature_location": ""}
        try:
            body: Any = timm.create_model(
                name, pretrained=False, in_chans=1, features_only=True, out_indices=(-1,), **options
            )
        except (RuntimeError, AssertionError, TypeError, AttributeError, ValueError) as error:
            raise UsageError(f"encoder: {name} gives no feature maps ({str(error).splitlines()[0]})") from None
        reduction = body.feature_info.reduction()[-1]
        if reduction != REDUCTION:
            raise UsageError(
                f"encoder: expected a last map at 1/{REDUCTION} of the input, found 1/{reduction} of {name}"
            )
        self.body, self.channels = body, int(body.feature_info.channels()[-1])
        branches = getattr(body, "incre_modules", None)
        if branches is not None:
            # HRNet widens all four branches; only the last is asked for.
            for branch in range(len(branches) - 1):
                branches[branch] = nn.Identity()

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        return self.body(gray)[-1]


def encoder_of(config: HrnetConfig, size: int | None = None) -> Encoder:
    """The encoder of a configuration.

    UsageError where it does not take gray pictures of ``size`` (None = ``image_size``) or gives maps with other axes:
    networks of one size only, or with the channels last.
    """
    encoder = Encoder(config.encoder, config.widened)
    _check_maps(encoder, config.encoder, size or config.image_size)
    return encoder


def _check_maps(encoder: Encoder, name: str, size: int) -> None:
    """By shapes alone: nothing is calculated."""
    side = size // REDUCTION
    expected = (1, encoder.channels, side, side)
    values = {key: value.to("meta") for key, value in (*encoder.named_parameters(), *encoder.named_buffers())}
    encoder.eval()
    try:
        with torch.no_grad():
            found = functional_call(encoder, values, torch.zeros(1, 1, size, size, device="meta")).shape
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"encoder: {name} takes no gray picture of {size} x {size} ({str(error).splitlines()[0]}); choose another"
        ) from None
    encoder.train()
    if found != expected:
        raise UsageError(
            f"encoder: expected maps {expected} of a picture of {size} x {size}, found {tuple(found)} of {name}; "
            "choose another"
        )
