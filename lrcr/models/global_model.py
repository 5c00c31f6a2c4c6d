"""The global models: backbone, pooling and projection compute one vector for each image.

MAC, SPoC, GeM, R-MAC and AP-GeM differ in pooling and loss. SOLAR (Ng et al., ECCV 2020) adds second-order attention
after the last blocks of the backbone. CFCD (Zhu et al., ICCV 2023) is GeM with a fixed power, a linear layer to 512
dimensions and BatchNorm.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.errors import WeightsError
from lrcr.models.backbone import Backbone
from lrcr.models.descriptors import ImageDescriptors
from lrcr.models.model import Feature, Model
from lrcr.models.pooling import mac, rmac_regions, scale_gem, spoc
from lrcr.models.second_order import SecondOrderAttention
from lrcr.models.whitening import Whitening

_ATTENTION = "second_order_attention"  # name of SOLAR's blocks in the stages of the backbone
_WIDTHS = (2, 4)  # the channels of the last stage, and of the stage before, divided by the width of its block
_SIDE = 64  # pixels of a probe image


class MAC(nn.Module):
    """`lrcr.models.pooling.mac` as a layer."""

    def forward(self, features: Tensor) -> Tensor:
        """Pool features of shape (B, C, H, W) to (B, C)."""
        return mac(features)


class SPoC(nn.Module):
    """`lrcr.models.pooling.spoc` as a layer."""

    def forward(self, features: Tensor) -> Tensor:
        """Pool features of shape (B, C, H, W) to (B, C)."""
        return spoc(features)


class RMAC(nn.Module):
    """`lrcr.models.pooling.rmac` as a layer.

    Args:
        levels: see `lrcr.models.pooling.rmac_regions`.
        overlap: see there.
    """

    def __init__(self, levels: int, overlap: float) -> None:
        super().__init__()
        self.levels = levels
        self.overlap = overlap

    def regions(self, features: Tensor) -> Tensor:
        """The unit vectors of the regions: features of shape (B, C, H, W) → (B, R, C)."""
        return rmac_regions(features, self.levels, self.overlap)

    def forward(self, features: Tensor) -> Tensor:
        """Pool features of shape (B, C, H, W) to (B, C)."""
        return self.regions(features).sum(dim=1)


class GlobalModel(Model):
    """Features → pooling → projection → L2 normalisation. A projection that is learned by whitening gets unit vectors.

    Args:
        backbone: with second-order attention inside, if the model uses it.
        pooling: features of shape (B, C, H, W) → (B, C).
        projection: (B, C) → (B, D).
        dim: D.
        freeze_batchnorm: see `Model`.
        maximum_of_scales: whether the vectors of several scales are joined by `scale_gem` in place of their mean.
    """

    def __init__(
        self,
        backbone: Backbone,
        pooling: nn.Module,
        projection: nn.Module,
        dim: int,
        *,
        freeze_batchnorm: bool,
        maximum_of_scales: bool = False,
    ) -> None:
        super().__init__(backbone, freeze_batchnorm=freeze_batchnorm)
        self.pooling = pooling
        self.projection = projection
        self._dim = dim
        self.maximum_of_scales = maximum_of_scales

    @property
    def dim(self) -> int:
        """D."""
        return self._dim

    @property
    def whitening_layer(self) -> Whitening | None:
        """The projection, if it is learned by PCA whitening or centring; otherwise None."""
        return self.projection if isinstance(self.projection, Whitening) else None

    def supports(self, feature: Feature) -> bool:
        """See `Model`: a global model has neither local descriptors nor an attention map."""
        return False

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The trainable parts, each with a learning rate; `attention` is SOLAR's, inside the backbone."""
        named = list(self.backbone.trunk.named_parameters())
        return {
            "backbone": [parameter for name, parameter in named if _ATTENTION not in name],
            "attention": [parameter for name, parameter in named if _ATTENTION in name],
            "pooling": list(self.pooling.parameters()),
            "projection": list(self.projection.parameters()),
        }

    def embed(self, features: Tensor) -> Tensor:
        """The vector of each image: the backbone's features of shape (B, C, H, W) → unit vectors of shape (B, D)."""
        pooled = self.pooling(features)
        if self.whitening_layer is not None:
            pooled = F.normalize(pooled, dim=1)
        return F.normalize(self.projection(pooled), dim=1)

    def whitening_samples(self, features: Tensor, count: int) -> list[Tensor]:
        """The pooled unit vector of each image, of shape (1, C), from which a whitening projection is learned."""
        return list(torch.split(F.normalize(self.pooling(features), dim=1), 1))

    def describe_maps(self, maps: Sequence[Tensor], scales: Sequence[float], count: int) -> list[ImageDescriptors]:
        """The vector of each of B images: the normalised mean, or maximum, of its unit vectors at all scales.

        R-MAC returns several rows instead, the unit vectors of all regions at all scales, so that each can be
        whitened; the sum of these rows is the image's vector. The strength is 1 and the position is the centre of the
        image. `count` is unused.
        """
        if not maps[0].numel():
            return [_at_centre(vectors, []) for vectors in maps[0].new_zeros(len(maps[0]), 0, self.dim)]
        rows, scale = self._rows(maps, scales)
        return [_at_centre(vectors, scale) for vectors in rows]

    def _rows(self, maps: Sequence[Tensor], scales: Sequence[float]) -> tuple[Tensor, Sequence[float]]:
        """The rows of each image, of shape (B, R, D), and the scale of each row, from the trunk's maps."""
        vectors = torch.stack([self.embed(features) for features in maps])
        joined = scale_gem(vectors) if self.maximum_of_scales else vectors.mean(dim=0)
        return F.normalize(joined, dim=1)[:, None], [1.0]


class RegionalModel(GlobalModel):
    """R-MAC: a row for each region at each scale."""

    pooling: RMAC

    def supports(self, feature: Feature) -> bool:
        """See `Model`."""
        return feature == "regions"

    def _rows(self, maps: Sequence[Tensor], scales: Sequence[float]) -> tuple[Tensor, Sequence[float]]:
        regions = [self.pooling.regions(features) for features in maps]
        scale = [s for s, found in zip(scales, regions, strict=True) for _ in range(found.shape[1])]
        return torch.cat(regions, dim=1), scale


def _at_centre(rows: Tensor, scale: Sequence[float]) -> ImageDescriptors:
    """Descriptors of one image from rows of shape (N, D), each with strength 1 and at the centre of the image."""
    count = len(rows)
    return ImageDescriptors(rows, rows.new_ones(count), rows.new_full((count, 2), 0.5), rows.new_tensor(scale))


def add_second_order_attention(backbone: Backbone) -> None:
    """Append second-order attention to each of the last two stages, as SOLAR does in a ResNet.

    Raises:
        WeightsError: the network is no sequence of stages.
    """
    stages = [backbone.trunk.get_submodule(names[-1]) for names in backbone.stages[1:]][-2:]
    if not stages or not all(isinstance(stage, nn.Sequential) for stage in stages):
        raise WeightsError(f"model.name: solar attends between stages, which {backbone.name} has not; name a ResNet")
    for stage, divisor in zip(reversed(stages), _WIDTHS, strict=False):
        channels = _channels(backbone, stage)
        stage.add_module(_ATTENTION, SecondOrderAttention(channels, channels // divisor))


@torch.no_grad()
def _channels(backbone: Backbone, stage: nn.Module) -> int:
    """The number of channels of the maps of a stage."""
    found: list[int] = []
    with stage.register_forward_hook(lambda _module, _inputs, maps: found.append(maps.shape[1])):
        backbone.eval()(torch.zeros(1, 3, _SIDE, _SIDE))
    return found[0]
