"""DELG: a global vector and local descriptors of one trunk (Cao, Araujo, Sim, ECCV 2020)."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.errors import WeightsError
from lrcr.models.attention import AttentionModule
from lrcr.models.backbone import Backbone, crop_border, freeze_batchnorm_stats
from lrcr.models.descriptors import ImageDescriptors
from lrcr.models.model import Feature, Model
from lrcr.models.pooling import GeM, attention_pool
from lrcr.models.selection import select_locations
from lrcr.models.weights import load_weights

_REDUCED = 128


class LocalBranch(nn.Module):
    """An autoencoder of features of C channels, and DELF's attention of them.

    The code has 128 channels, or C/2 if that is less, and no activation; the decoder ends with ReLU, as the ResNets of
    DELG do, unless features can be negative.

    Args:
        channels: C.
        signed: whether features can be negative.
    """

    def __init__(self, channels: int, *, signed: bool = False) -> None:
        super().__init__()
        self.signed = signed
        self.encoder = nn.Conv2d(channels, min(_REDUCED, channels // 2), 1)
        self.decoder = nn.Conv2d(self.encoder.out_channels, channels, 1)
        self.attention = AttentionModule(channels)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What is trained: features of shape (B, C, H, W) → errors of shape (B,), unit vectors of shape (B, C).

        The error is the mean square of decoded minus given features; the vector is the sum of attention × decoded
        feature of length 1.
        """
        decoded = self.decoder(self.encoder(features))
        decoded = decoded if self.signed else F.relu(decoded)
        attended = attention_pool(F.normalize(decoded, dim=1), self.attention(features))
        return (decoded - features).square().mean(dim=(1, 2, 3)), attended


class DelgModel(Model):
    """The map before the last → local descriptors; the last map → GeM → a linear layer → the vector.

    The local branch is trained beside the vector, but its gradient does not reach the trunk.

    Args:
        backbone: images → the map before the last, of shape (B, C, H, W).
        last: from it to the last map.
        pooling: of the last map.
        projection: from its channels to D dimensions.
        local: the local branch.
        last_stages: number of stages of the network in `last`, all of which are trained.
        border: number of rows and columns of the map before the last to crop on each side; the vector has no border.
        freeze_batchnorm: see `Model`; also of `last`.
    """

    def __init__(
        self,
        backbone: Backbone,
        last: nn.Module,
        pooling: GeM,
        projection: nn.Linear,
        local: LocalBranch,
        *,
        last_stages: int = 1,
        border: int = 0,
        freeze_batchnorm: bool,
    ) -> None:
        super().__init__(backbone, freeze_batchnorm=freeze_batchnorm)
        self.last = last
        self.last_stages = last_stages
        self.pooling = pooling
        self.projection = projection
        self.local = local
        self.border = border

    @property
    def dim(self) -> int:
        """D, of the vector."""
        return self.projection.out_features

    @property
    def whitening_layer(self) -> None:
        """None: the autoencoder reduces the local descriptors."""
        return None

    def supports(self, feature: Feature) -> bool:
        """See `Model`: the local descriptors are for re-ranking, so only the local branch is to be known."""
        return feature == "local branch"

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The trainable parts, each with its own learning rate."""
        return {
            "backbone": [*self.backbone.parameters(), *self.last.parameters()],
            "attention": list(self.local.parameters()),
            "projection": list(self.projection.parameters()),
        }

    def require_stages(self, number: int) -> None:
        """Refuse a number of trained stages of the whole network that `freeze` cannot leave; see `Model`."""
        stages = self.last_stages + len(self.backbone.stages) - 1
        if not self.last_stages <= number <= stages:
            where = f"delg with {self.backbone.name} trains {self.last_stages} to {stages} stages"
            raise WeightsError(f"train.freeze: {number}, but {where}; choose among them")

    def freeze(self, trained_stages: int) -> None:
        """Train only the last stages of the whole network, those of `last` among them; see `Model`."""
        self.require_stages(trained_stages)
        super().freeze(trained_stages - self.last_stages)

    def train(self, mode: bool = True) -> "DelgModel":
        """Set the training mode; frozen BatchNorm stays in evaluation mode."""
        super().train(mode)
        if self.freeze_batchnorm:
            freeze_batchnorm_stats(self.last)
        return self

    def embed(self, features: Tensor) -> Tensor:
        """The vector: the backbone's features of shape (B, C, H, W) → unit vectors of shape (B, D)."""
        return F.normalize(self.projection(self.pooling(self.last(features))), dim=1)

    def local_branch(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """See `LocalBranch`; the backbone's features of shape (B, C, H, W) get no gradient."""
        errors, attended = self.local(crop_border(features.detach(), self.border))
        return errors, attended

    def whitening_samples(self, features: Tensor, count: int) -> list[Tensor]:
        """The vector of each image, of shape (1, D)."""
        return list(torch.split(self.embed(features), 1))

    def describe_maps(self, maps: Sequence[Tensor], scales: Sequence[float], count: int) -> list[ImageDescriptors]:
        """The `count` locations of each image with the largest attention over all scales, reduced, of length 1."""
        cropped = [crop_border(features, self.border) for features in maps]
        attention = [self.local.attention(features) for features in cropped]
        selected = select_locations(attention, maps, self.border, scales, count)
        rows = torch.cat([features.flatten(2) for features in cropped], dim=2)
        weight, bias = self.local.encoder.weight.flatten(1), self.local.encoder.bias
        return [
            selection.described(F.normalize(F.linear(features[:, selection.rows].T, weight, bias), dim=1))
            for selection, features in zip(selected, rows, strict=True)
        ]

    def add_vectors(self, images: list[ImageDescriptors], maps: Sequence[Tensor]) -> list[ImageDescriptors]:
        """The images with a vector (D,): the normalised mean of the unit vectors of all maps; zero without a map."""
        if not maps:
            vectors = images[0].descriptors.new_zeros(len(images), self.dim)
        else:
            vectors = F.normalize(torch.stack([self.embed(features) for features in maps]).mean(dim=0), dim=1)
        return [replace(image, vector=vector) for image, vector in zip(images, vectors, strict=True)]


def split_last_map(backbone: Backbone) -> tuple[Backbone, nn.Sequential]:
    """A backbone up to its map of half the stride, and the modules from that map to the last one.

    Raises:
        WeightsError: the network has no such map, or its stages are not called one after the other.
    """
    before = Backbone(backbone.name, backbone.stride // 2)
    shared, rest = backbone.stages[: len(before.stages)], backbone.stages[len(before.stages) :]
    if not rest or shared != before.stages or not backbone.is_sequence():
        where = f"{backbone.name} at stride {backbone.stride}"
        raise WeightsError(f"model.name: delg splits a network between its stages, which {where} does not allow")
    weights = backbone.named_network.state_dict()
    load_weights(before.named_network, weights, f"the map before the last of {backbone.name}")
    return before, nn.Sequential(*(backbone.trunk.get_submodule(name) for stage in rest for name in stage))
