"""The selection of the strongest descriptors of an image, over the maps of all scales."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrcr.models.backbone import crop_border
from lrcr.models.descriptors import ImageDescriptors, centres


@dataclass(frozen=True)
class Selection:
    """The selected descriptors of one image, strongest first.

    Args:
        rows: which they are, counted through the maps of all scales, of shape (n,).
        strength: see `ImageDescriptors`, as the following ones.
        position: see there.
        scale: see there.
    """

    rows: Tensor
    strength: Tensor
    position: Tensor
    scale: Tensor

    def described(self, descriptors: Tensor) -> ImageDescriptors:
        """The selection with its descriptors, of shape (n, D)."""
        return ImageDescriptors(descriptors, self.strength, self.position, self.scale)


def select_locations(
    attention: Sequence[Tensor], maps: Sequence[Tensor], border: int, scales: Sequence[float], count: int
) -> list[Selection]:
    """Select the `count` locations of each of B images with the largest attention; equal ones in their order.

    Args:
        attention: of each location at scale s, without the border, of shape (B, H_s, W_s).
        maps: of the backbone, with the border.
        border: number of rows and columns that are cropped on each side of a map.
        scales: of the maps.
        count: number of locations to select; all if an image has fewer.
    """
    places = [crop_border(centres(features), border).flatten(1).T for features in maps]
    scale = torch.cat([xy.new_full(xy.shape[:1], s) for xy, s in zip(places, scales, strict=True)])
    strength = torch.cat([each.flatten(1) for each in attention], dim=1)
    return select_strongest(strength, torch.cat(places).expand(len(strength), -1, -1), scale, count)


def select_strongest(strength: Tensor, position: Tensor, scale: Tensor, count: int) -> list[Selection]:
    """Select the `count` strongest of the N descriptors of each of B images; equal ones in their order.

    Args:
        strength: of shape (B, N).
        position: of shape (B, N, 2).
        scale: of shape (N,).
        count: number of descriptors to select; all if there are fewer.
    """
    selected = []
    for of_image, places in zip(strength, position, strict=True):
        sorted_strength, order = of_image.sort(descending=True, stable=True)
        kept, rows = sorted_strength[:count], order[:count]
        selected.append(Selection(rows, kept / kept[:1].clamp_min(1e-12), places[rows], scale[rows]))
    return selected
