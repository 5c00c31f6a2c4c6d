"""The selection of the strongest locations of an image over the maps of all scales."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrcr.models.descriptors import ImageDescriptors


@dataclass(frozen=True)
class Selection:
    """The selected locations of one image, strongest first.

    Args:
        rows: the locations, counted through the maps of all scales, of shape (n,).
        strength: see `ImageDescriptors`, as the following ones.
        position: see there.
        scale: see there.
    """

    rows: Tensor
    strength: Tensor
    position: Tensor
    scale: Tensor

    def described(self, descriptors: Tensor) -> ImageDescriptors:
        """The selected locations with their descriptors, of shape (n, D)."""
        return ImageDescriptors(descriptors, self.strength, self.position, self.scale)


def select_strongest(
    attention: Sequence[Tensor], positions: Sequence[Tensor], scales: Sequence[float], count: int
) -> list[Selection]:
    """Select the `count` locations of each of B images with the largest attention; equal ones in their order.

    Args:
        attention: of each location at scale s, of shape (B, H_s, W_s).
        positions: of the locations, as `grid_positions`, of shape (2, H_s, W_s).
        scales: of the maps.
        count: number of locations to select; all if an image has fewer.
    """
    places = [xy.flatten(1).T for xy in positions]
    scale = torch.cat([xy.new_full(xy.shape[:1], s) for xy, s in zip(places, scales, strict=True)])
    position, selected = torch.cat(places), []
    for values in torch.cat([each.flatten(1) for each in attention], dim=1):
        strength, order = values.sort(descending=True, stable=True)
        strength, order = strength[:count], order[:count]
        strength = strength / strength[:1].clamp_min(1e-12)
        selected.append(Selection(order, strength, position[order], scale[order]))
    return selected


def grid_positions(features: Tensor) -> Tensor:
    """The centres of the locations of a map, x and y as fractions of its width and height: of shape (2, H, W)."""
    height, width = features.shape[2:]
    y = (torch.arange(height, device=features.device) + 0.5) / height
    x = (torch.arange(width, device=features.device) + 0.5) / width
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)])
