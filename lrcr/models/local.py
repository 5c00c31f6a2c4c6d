"""The local model: backbone, graph, attention, smoothing and whitening.

With average smoothing and no graph it is HOW (Tolias, Jenicek, Chum, ECCV 2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lrcr.models.attention import l2_attention
from lrcr.models.backbone import Backbone, crop_border
from lrcr.models.descriptors import ImageDescriptors
from lrcr.models.graph import Refinement
from lrcr.models.model import Feature, Model
from lrcr.models.pooling import attention_pool
from lrcr.models.selection import select_locations
from lrcr.models.smoothing import Filter, Smoothing, centre_share, smooth
from lrcr.models.whitening import Whitening
from lrcr.models.windows import smooth_at

# Losses use a soft selection. A location is selected with probability sigmoid(log(attention / threshold) / _SOFTNESS);
# the threshold is the attention of the last location selected. The strongest _CANDIDATES · count are candidates.
_CANDIDATES, _SOFTNESS = 1.6, 0.1


@dataclass(frozen=True)
class Candidates:
    """The candidate local descriptors of one image, for a loss with a soft selection.

    Args:
        descriptors: of shape (n, D), the strongest first, at least one row.
        selection_probability: the probability that each is selected, in (0, 1], of shape (n,).
    """

    descriptors: Tensor
    selection_probability: Tensor


@dataclass(frozen=True)
class Context:
    """The maps that are computed from the backbone's features, with cropped border, before whitening.

    Args:
        attention: of each location, of shape (B, H, W).
        refined: the features after the graph, of shape (B, C, H, W): the input of smoothing.
        filter: of each location; None: smoothing is a plain average.
    """

    attention: Tensor
    refined: Tensor
    filter: Filter | None

    def of_image(self, row: int) -> "Context":
        """The context of one image of the batch, with B = 1."""
        one = slice(row, row + 1)
        return Context(
            self.attention[one], self.refined[one], None if self.filter is None else self.filter.of_image(row)
        )


Pyramid = Sequence[Context]
"""The contexts of the same images at each scale."""


class LocalModel(Model):
    """Features → graph → smoothing → whitening; attention = L2 norm of the un-smoothed feature × optional gates.

    Args:
        backbone: images → features of shape (B, C, H, W).
        graph: refines features of shape (B, C, H, W), or gates their attention.
        smoothing: of features of shape (B, C, H, W).
        whitening: C → D dimensions.
        graph_gates: whether the graph gates attention instead of refining the features.
        attention_from: `before` or `after`: whether attention is the norm of the features before or after refinement.
        centre_share_gates: whether attention is multiplied by `lrcr.models.smoothing.centre_share`.
        border: number of rows and columns to crop on each side of a map.
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
        centre_share_gates: bool = False,
        border: int = 0,
        freeze_batchnorm: bool,
    ) -> None:
        super().__init__(backbone, freeze_batchnorm=freeze_batchnorm)
        self.graph = graph
        self.smoothing = smoothing
        self.whitening = whitening
        self.graph_gates = graph_gates
        self.attention_from = attention_from
        self.centre_share_gates = centre_share_gates
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
        return feature in ("local descriptors", "attention")

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The trainable parts, each with its own learning rate."""
        names = ("backbone", "smoothing", "graph", "whitening")
        return {name: list(self.get_submodule(name).parameters()) for name in names}

    def embed(self, features: Tensor) -> Tensor:
        """The training descriptor: the backbone's features of shape (B, C, H, W) → unit vectors of shape (B, D)."""
        return self.pool([self.context(features)])

    def context(self, features: Tensor) -> Context:
        """Crop the border of the backbone's features, of shape (B, C, H, W), and refine them."""
        features = crop_border(features, self.border)
        if not features.numel():
            return Context(l2_attention(features), features, None)
        refined = features if self.graph_gates else self.graph(features)
        attention = l2_attention(refined if self.attention_from == "after" else features)
        if self.graph_gates:
            attention = attention * self.graph.gate(features)
        filter_ = self.smoothing.filter(refined)
        if self.centre_share_gates and filter_ is not None:
            attention = attention * centre_share(filter_, self.smoothing.kernel)
        return Context(attention, refined, filter_)

    def smoothed(self, context: Context) -> Tensor:
        """The smoothed features of all locations, of shape (B, C, H, W)."""
        if context.filter is None:
            smoothed: Tensor = self.smoothing(context.refined)
            return smoothed
        return smooth(context.refined, context.filter, self.smoothing.kernel)

    def smoothed_at(self, pyramid: Pyramid, rows: Tensor) -> Tensor:
        """The smoothed features of some locations of one image (B = 1).

        Args:
            rows: the locations, counted through the maps of all scales, of shape (n,).

        Returns:
            Of shape (n, C).
        """
        places, features, first = [], [], 0
        for context in pyramid:
            last = first + context.attention.numel()
            place = ((rows >= first) & (rows < last)).nonzero().flatten()
            places.append(place)
            features.append(smooth_at(context.refined, context.filter, self.smoothing.kernel, rows[place] - first))
            first = last
        return torch.cat(features)[torch.cat(places).argsort()]

    def pool(self, pyramid: Pyramid) -> Tensor:
        """The training descriptor over the locations of all scales: unit vectors of shape (B, D)."""
        whitened = [self.whitening(self.smoothed(context).flatten(2).mT).mT for context in pyramid]
        attention = [context.attention.flatten(1) for context in pyramid]
        return attention_pool(torch.cat(whitened, dim=2)[..., None], torch.cat(attention, dim=1)[..., None])

    def candidates(self, pyramid: Pyramid, count: int) -> Candidates:
        """The candidates of one image (B = 1), for a loss on its `count` strongest locations.

        About `count` of them are selected whatever the scale of the attention: the threshold moves with the attention
        of the locations near it, and a factor common to all locations has no gradient.
        """
        attention = torch.cat([context.attention.flatten() for context in pyramid])
        strongest, rows = attention.topk(min(round(_CANDIDATES * count), len(attention)))
        log_attention = strongest.clamp_min(1e-12).log()
        fixed = log_attention.detach()
        threshold = fixed[min(count, len(fixed)) - 1]
        undecided = torch.sigmoid((fixed - threshold) / _SOFTNESS)
        undecided = undecided * (1 - undecided)
        threshold = threshold + (undecided * (log_attention - fixed)).sum() / undecided.sum().clamp_min(1e-12)
        probability = torch.sigmoid((log_attention - threshold) / _SOFTNESS)
        return Candidates(self.whitening(self.smoothed_at(pyramid, rows)), probability)

    def whitening_samples(self, features: Tensor, count: int) -> list[Tensor]:
        """The smoothed features of the strongest locations of each image, each of shape (≤ count, C)."""
        return [local.descriptors for local in self.describe_maps([features], [1.0], count, whiten=False)]

    def describe_maps(
        self, maps: Sequence[Tensor], scales: Sequence[float], count: int, *, whiten: bool = True
    ) -> list[ImageDescriptors]:
        """Refine the map of each scale, select the `count` strongest locations of each image, smooth and whiten these.

        Whitening commutes with averages, so whitening after smoothing gives the same result faster.

        Args:
            maps: the backbone's features, of shape (B, C, H_s, W_s) at scale s; at least one.
            scales: of the maps.
            count: number of locations to select; all if an image has fewer.
            whiten: False returns the smoothed features, of C dimensions, as descriptors.
        """
        contexts = [self.context(features) for features in maps]
        selected = select_locations([context.attention for context in contexts], maps, self.border, scales, count)
        result = []
        for image, selection in enumerate(selected):
            descriptors = self.smoothed_at([context.of_image(image) for context in contexts], selection.rows)
            result.append(selection.described(self.whitening(descriptors) if whiten else descriptors))
        return result
