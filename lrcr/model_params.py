"""The sections of the params that shape a model. The defaults are HOW's (Tolias et al., ECCV 2020), off the shelf."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from lrcr.section import Count, Natural, NotNegative, Positive, Section


class ModelParams(Section):
    """Which model: `local` describes an image by many local descriptors, all others by one global vector."""

    name: Literal["local", "mac", "spoc", "gem", "rmac", "solar", "apgem", "cfcd"] = "local"

    @property
    def is_local(self) -> bool:
        """Whether images are described by local descriptors."""
        return self.name == "local"


class BackboneParams(Section):
    """The trunk: torchvision's network without its last `skip_layers` blocks, and where its weights come from.

    `border`: how many of the outermost rows and columns of its map a local model leaves aside.
    """

    name: Literal["resnet18", "resnet50", "resnet101", "convnext_tiny", "vit_b_16"] = "resnet18"
    skip_layers: Annotated[int, Field(ge=0, le=3)] = 0
    weights: str = "imagenet"
    border: Natural = 0


class SmoothingParams(Section):
    """Smoothing of the feature map; from `distance` on, what concerns the learnable one.

    `bandwidth` is what every location starts with: 0 averages the window, a large one leaves the location as it is.
    `attention: share` multiplies attention by the share of itself that the filter leaves each location.
    """

    kind: Literal["average", "learnable", "none"] = "average"
    kernel: Count = 3
    distance: Literal["spatial", "feature"] = "feature"
    learn: Literal["shared", "bandwidth", "both"] = "both"
    embedding: Count = 16
    bandwidth: NotNegative = 0.0
    attention: Literal["norm", "share"] = "norm"
    penalty: NotNegative = 0.0

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("must be odd (a kernel has a centre): 1, 3, 5 or 7")
        return kernel


class GraphParams(Section):
    """Context from the similarity graph of a map's locations; `neighbours: null` joins all of them.

    `output: reweight` gates the attention of each location, `refine` adds to its feature.
    """

    kind: Literal["none", "gcn", "attention"] = "none"
    output: Literal["reweight", "refine"] = "reweight"
    attention_from: Literal["before", "after"] = "before"
    layers: Count = 1
    width: Count = 64
    temperature: Positive = 0.1
    neighbours: Count | None = None

    @model_validator(mode="after")
    def _something_to_attend_after(self) -> "GraphParams":
        if self.output == "reweight" and self.attention_from == "after":
            raise ValueError("attention_from after needs output refine; reweight leaves the features as they are")
        return self

    @model_validator(mode="after")
    def _fits_attention(self) -> "GraphParams":
        if self.kind == "attention" and self.neighbours is not None:
            raise ValueError("kind attention joins all locations; leave neighbours out")
        if self.kind == "attention" and self.width % 4:
            raise ValueError("kind attention has 4 heads; let width be a multiple of 4")
        return self


class PoolingParams(Section):
    """From the map to the vector of a global model: GeM's power (learned but for CFCD), R-MAC's regions, and a layer.

    `projection`: dimensions of a layer behind GeM; null takes CFCD's 512 and leaves it out of gem, solar and apgem.
    """

    p: Positive = 3.0
    levels: Count = 3
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.4
    projection: Count | None = None


class WhiteningParams(Section):
    """PCA whitening with shrinkage within local models, or that stored in `file` (`whiten_weight`, `whiten_bias`)."""

    dim: Count = 128
    images: Count = 5000
    descriptors: Count = 1000
    shrinkage: Annotated[float, Field(ge=0, le=1)] = 1.0
    file: str | None = None
