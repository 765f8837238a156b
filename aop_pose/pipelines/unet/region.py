"""The further map that a network may learn beside the points: the region that they span."""

from __future__ import annotations

import torch


def region_of(points: torch.Tensor, size: int, kind: str) -> torch.Tensor:
    """Mask (B, size, size) of 0 and 1, at the centres of the pixels, from points (B, n, 2) in pixels of the mask.

    ``triangle``: of the three points (Li et al., IUGC 2025, discussion and figure 6). ``ellipse``: with the axes OFD
    (points 0, 1) and BPD (points 2, 3), whose directions are taken from the OFD.
    """
    pixels = torch.arange(size, dtype=points.dtype, device=points.device)
    rows, columns = torch.meshgrid(pixels, pixels, indexing="ij")
    places = torch.stack([columns, rows], dim=2)[None]
    within = _triangle(points, places) if kind == "triangle" else _ellipse(points, places)
    return within.to(points.dtype)


def _triangle(points: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    corners = points[:, :, None, None]
    sides = []
    for begin, end in ((0, 1), (1, 2), (2, 0)):
        along, to_place = corners[:, end] - corners[:, begin], places - corners[:, begin]
        sides.append(along[..., 0] * to_place[..., 1] - along[..., 1] * to_place[..., 0])
    left = torch.stack(sides)
    return (left >= 0).all(dim=0) | (left <= 0).all(dim=0)


def _ellipse(points: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    long, short = points[:, 1] - points[:, 0], points[:, 3] - points[:, 2]
    half_long, half_short = long.norm(dim=1) / 2, short.norm(dim=1) / 2
    unit = long / (2 * half_long[:, None]).clamp_min(1e-6)
    from_centre = places - points.mean(dim=1)[:, None, None]
    along = (from_centre * unit[:, None, None]).sum(dim=3)
    across = from_centre[..., 1] * unit[:, None, None, 0] - from_centre[..., 0] * unit[:, None, None, 1]
    shares = along / half_long.clamp_min(1e-6)[:, None, None], across / half_short.clamp_min(1e-6)[:, None, None]
    return shares[0] ** 2 + shares[1] ** 2 <= 1
