"""The local model: trunk, graph, attention, smoothing and whitening.

With average smoothing and no graph it is HOW (Tolias, Jenicek, Chum, ECCV 2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lrcr.models.attention import l2_attention
from lrcr.models.backbone import Backbone, crop_border
from lrcr.models.descriptors import ImageDescriptors, resize, scales_that_fit
from lrcr.models.graph import Refinement
from lrcr.models.model import Feature, Model
from lrcr.models.pooling import attention_pool
from lrcr.models.smoothing import Smoothing, own_share, smooth
from lrcr.models.whitening import Whitening

# For a loss selection is soft: a location's chance is the sigmoid of log(its attention / that of the last one selected)
# over _SOFTNESS; so many times the number selected are looked at.
_CANDIDATES, _SOFTNESS = 1.6, 0.1


@dataclass(frozen=True)
class Candidates:
    """Local descriptors of one image that may be selected, for a loss.

    Args:
        descriptors: of shape (n, D), the strongest first, at least one row.
        selection_probability: of shape (n,), in (0, 1]: how surely each is selected.
    """

    descriptors: Tensor
    selection_probability: Tensor


@dataclass(frozen=True)
class Context:
    """What is made of a trunk's map, without its border, before whitening.

    Args:
        attention: strength of each location, of shape (B, H, W).
        refined: the features after the graph, of shape (B, C, H, W): what smoothing reads.
        features: these smoothed, of the same shape.
    """

    attention: Tensor
    refined: Tensor
    features: Tensor

    def of_image(self, row: int) -> "Context":
        """The context of one image of the batch, with B = 1."""
        one = slice(row, row + 1)
        return Context(self.attention[one], self.refined[one], self.features[one])


Pyramid = Sequence[Context]
"""The contexts of the same images at each scale."""


class LocalModel(Model):
    """Features → graph → smoothing → whitening; attention = L2 norm of the un-smoothed feature × what gates it.

    Args:
        backbone: the trunk.
        graph: refines features of shape (B, C, H, W), or gates their attention.
        smoothing: of features of shape (B, C, H, W).
        whitening: C → D dimensions.
        graph_gates: whether the graph gates attention instead of refining the features.
        attention_from: whether attention is that of the features `before` or `after` they are refined.
        share_attends: whether attention is multiplied by the share that smoothing leaves each location of itself.
        border: rows and columns cropped on each side of a map: there the network sees its padding.
        freeze_batchnorm: see `Model`.
    """

    def __init__(
        self,
        backbone: Backbone,
        graph: Refinement,
        smoothing: Smoothing,
        whitening: Whitening,
        *,
        graph_gates: bool = False,
        attention_from: str = "before",
        share_attends: bool = False,
        border: int = 0,
        freeze_batchnorm: bool,
    ) -> None:
        super().__init__(backbone, freeze_batchnorm=freeze_batchnorm)
        self.graph = graph
        self.smoothing = smoothing
        self.whitening = whitening
        self.graph_gates = graph_gates
        self.attention_from = attention_from
        self.share_attends = share_attends
        self.border = border

    @property
    def dim(self) -> int:
        """D."""
        return len(self.whitening.bias)

    @property
    def whitening_layer(self) -> Whitening:
        """The whitening of local descriptors."""
        return self.whitening

    def supports(self, feature: Feature) -> bool:
        """See `Model`: a local model has local descriptors and an attention map."""
        return True

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parts that may be trained, each with its own learning rate."""
        names = ("backbone", "smoothing", "graph", "whitening")
        return {name: list(self.get_submodule(name).parameters()) for name in names}

    def embed(self, features: Tensor) -> Tensor:
        """The training descriptor of the trunk's features of shape (B, C, H, W): unit vectors of shape (B, D)."""
        return self.pool([self.context(features)])

    def context(self, features: Tensor) -> Context:
        """Refine and smooth what is inside the border of the trunk's features of shape (B, C, H, W)."""
        features = crop_border(features, self.border)
        if not features.numel():
            return Context(l2_attention(features), features, features)
        refined = features if self.graph_gates else self.graph(features)
        attention = l2_attention(refined if self.attention_from == "after" else features)
        if self.graph_gates:
            attention = attention * self.graph.gate(features)
        filter_ = self.smoothing.filter(refined) if self.share_attends else None
        if filter_ is None:
            return Context(attention, refined, self.smoothing(refined))
        kernel = self.smoothing.kernel
        return Context(attention * own_share(filter_, kernel), refined, smooth(refined, filter_, kernel))

    def pool(self, pyramid: Pyramid) -> Tensor:
        """The training descriptor over the locations of all scales: unit vectors of shape (B, D)."""
        whitened = [self.whitening(context.features.flatten(2).mT).mT for context in pyramid]
        attention = [context.attention.flatten(1) for context in pyramid]
        return attention_pool(torch.cat(whitened, dim=2)[..., None], torch.cat(attention, dim=1)[..., None])

    def candidates(self, pyramid: Pyramid, count: int) -> Candidates:
        """What may be selected of one image where its `count` strongest locations are, for a loss; B = 1."""
        attention = torch.cat([context.attention.flatten() for context in pyramid])
        features = torch.cat([context.features[0].flatten(1) for context in pyramid], dim=1)
        strength, rows = attention.topk(min(round(_CANDIDATES * count), len(attention)))
        strength = strength.clamp_min(1e-12).log()
        threshold = strength[min(count, len(strength)) - 1].detach()
        return Candidates(self.whitening(features[:, rows].T), torch.sigmoid((strength - threshold) / _SOFTNESS))

    def to_whiten(self, features: Tensor, count: int) -> list[Tensor]:
        """What the whitening is learned from: of each image the features of the strongest locations, (≤ count, C)."""
        return [local.descriptors for local in self.strongest([features], [1.0], count, whiten=False)]

    def describe(self, images: Tensor, scales: Sequence[float], count: int) -> list[ImageDescriptors]:
        """The `count` strongest descriptors across all scales, of each of B images of shape (B, 3, H, W).

        A scale at which no pixel would be left is skipped; where none remains an image has no descriptors.
        """
        kept = scales_that_fit(images, scales)
        maps = [self.backbone(resize(images, scale)) for scale in kept]
        if not maps:
            maps, kept = [images.new_zeros(len(images), self.backbone.channels, 0, 0)], [1.0]
        return self.strongest(maps, kept, count)

    def strongest(
        self, maps: Sequence[Tensor], scales: Sequence[float], count: int, *, whiten: bool = True
    ) -> list[ImageDescriptors]:
        """Refine and smooth each scale's map, keep the `count` strongest locations of each image and whiten those.

        Whitening after the selection costs least and changes nothing: it commutes with averages.

        Args:
            maps: the trunk's features, of shape (B, C, H_s, W_s) at scale s; at least one.
            scales: of the maps.
            count: how many locations to keep (all where there are fewer).
            whiten: False leaves the descriptors as smoothed features of C dimensions, to learn the whitening from.
        """
        contexts = [self.context(features) for features in maps]
        smoothed = torch.cat([context.features.flatten(2) for context in contexts], dim=2)
        attention = torch.cat([context.attention.flatten(1) for context in contexts], dim=1)
        positions = [crop_border(_positions(features), self.border).flatten(1).T for features in maps]
        scale = torch.cat([at.new_full(at.shape[:1], s) for at, s in zip(positions, scales, strict=True)])
        position, result = torch.cat(positions), []
        for image in range(len(attention)):
            strength, order = attention[image].sort(descending=True, stable=True)
            strength, order = strength[:count], order[:count]
            descriptors = smoothed[image, :, order].T
            result.append(
                ImageDescriptors(
                    descriptors=self.whitening(descriptors) if whiten else descriptors,
                    strength=strength / strength[:1].clamp_min(1e-12),
                    position=position[order],
                    scale=scale[order],
                )
            )
        return result


def _positions(features: Tensor) -> Tensor:
    """Centres of a map's locations, x and y as fractions: of shape (2, H, W)."""
    height, width = features.shape[2:]
    y = (torch.arange(height, device=features.device) + 0.5) / height
    x = (torch.arange(width, device=features.device) + 0.5) / width
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)])
