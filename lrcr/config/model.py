"""The sections of the params that shape a model."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from lrcr.config.base import Count, Natural, NotNegative, Positive, Section

Method = Literal["tuples", "listwise", "classification"]

_TORCHVISION = ("resnet18", "resnet50", "resnet101", "convnext_tiny", "vit_b_16")
_TIMM = "timm/"
_PACKAGED = "timm/tf_efficientnet_lite0"
_SHAPED_BY = {"local": ("smoothing", "graph"), "fire": ("super_features",), "delf": ()}
_TRAINED_STAGES = {"solar": 2, "delg": 1}
_METHODS: dict[str, Method] = {"apgem": "listwise", **dict.fromkeys(("delf", "delg", "cfcd"), "classification")}


class ModelParams(Section):
    """Which model describes an image: by many local descriptors, or by one global vector."""

    name: Literal["local", "delf", "fire", "delg", "mac", "spoc", "gem", "rmac", "solar", "apgem", "cfcd"] = Field(
        "local",
        description=(
            "local (HOW, LRCR), delf: local descriptors, matched by ASMK; fire: super-features, matched by ASMK; "
            "delg: one global vector an image, and local descriptors; all others: one global vector an image"
        ),
    )

    @property
    def is_local(self) -> bool:
        """Whether images are described by local descriptors."""
        return self.name in ("local", "delf", "fire")

    @property
    def is_joint(self) -> bool:
        """Whether images are described by local descriptors and a vector, by which they are searched."""
        return self.name == "delg"

    @property
    def second_phase(self) -> Literal["tuples", "attention", "none"]:
        """The second phase of classification: tuples with hard local negatives, or the attention module alone."""
        phases: dict[str, Literal["attention", "none"]] = {"delf": "attention", "delg": "none"}
        return phases.get(self.name, "tuples")

    @property
    def trained_stages(self) -> int:
        """The fewest stages at the end of the trunk that must be trained, because the model adds layers to them.

        Solar adds attention to the last two; of delg the network decides, with some it is more than one.
        """
        return _TRAINED_STAGES.get(self.name, 0)

    @property
    def shaped_by(self) -> tuple[str, ...]:
        """The sections that only some models read, of which this model reads these."""
        return _SHAPED_BY.get(self.name, ("pooling",))

    @property
    def method(self) -> Method:
        """How the model is trained in its publication."""
        return _METHODS.get(self.name, "tuples")


class BackboneParams(Section):
    """The trunk: a network of torchvision or timm without its head."""

    name: str = Field(
        _PACKAGED,
        description="resnet18, resnet50, resnet101, convnext_tiny, vit_b_16 (torchvision), or timm/NAME of any network",
    )
    stride: Count | None = Field(
        16, description="pixels between neighbouring locations of the feature map to take; null: the last map"
    )
    skip_layers: Annotated[int, Field(ge=0, le=3)] | None = Field(
        None,
        description=(
            "torchvision: blocks left out at the end, 0–3: stride 32, 16, 8, 4; null: as stride says; "
            "HOW: 0, with ResNet-50 1"
        ),
    )
    weights: str = Field(
        "packaged",
        description=(
            "none: random; imagenet: the library's; packaged: of timm/tf_efficientnet_lite0, without a download; "
            "hf:REPO; or a file: .pth, .npz or .safetensors with the library's names, or a model of lrcr"
        ),
    )
    crop_border: Natural = Field(
        1, description="local descriptors: rows and columns cropped on each side of the feature map; HOW: 0"
    )

    @model_validator(mode="after")
    def _known_network(self) -> "BackboneParams":
        if self.name.startswith(_TIMM):
            if self.skip_layers is not None:
                raise ValueError(
                    f"skip_layers: {self.skip_layers} is for networks of torchvision; set it to null, and stride"
                )
        elif self.name not in _TORCHVISION:
            raise ValueError(f"name: {self.name!r} is unknown; use {', '.join(_TORCHVISION)} or timm/NAME")
        if self.weights == "packaged" and self.name != _PACKAGED:
            raise ValueError(f"weights: packaged are those of {_PACKAGED}; set weights to imagenet, none or a file")
        return self


class SmoothingParams(Section):
    """Smoothing of the feature map of a local model. The keys from `distance` on concern learnable smoothing only."""

    kind: Literal["average", "learnable", "none"] = Field(
        "none", description="average: mean over the window; learnable: a predicted Gaussian filter. HOW: average"
    )
    kernel: Count = Field(3, description="side of the window in locations, odd; HOW: 3")
    distance: Literal["spatial", "feature"] = Field(
        "feature",
        description="spatial: between the positions of two locations; feature: between their learned embeddings",
    )
    learn: Literal["shared", "bandwidth", "both"] = Field(
        "both",
        description="shared: one bandwidth for all locations; bandwidth: one for each; both: also its self-confidence",
    )
    embedding_dim: Count = Field(16, description="dimensions of the learned embeddings")
    initial_bandwidth: NotNegative = Field(
        0.0, description="bandwidth at the start of training, ≥ 0; 0: the average; larger: less smoothing"
    )
    attention: Literal["norm", "share"] = Field(
        "norm",
        description="norm: attention as in HOW; share: times the share of the filter's weight that is at the centre",
    )
    bandwidth_penalty: NotNegative = Field(0.0, description="weight of the mean bandwidth in the loss, ≥ 0")

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("must be odd (a kernel has a centre): 1, 3, 5 or 7")
        return kernel


class GraphParams(Section):
    """Refinement of a local model by the similarity graph of all locations of a feature map."""

    kind: Literal["none", "gcn", "attention"] = Field(
        "none", description="gcn: a graph convolution network; attention: a general self-attention block. HOW: none"
    )
    output: Literal["reweight", "refine"] = Field(
        "reweight", description="reweight: a factor for the attention of each location; refine: a change of its feature"
    )
    attention_from: Literal["before", "after"] = Field(
        "before", description="refine: attention is the norm of the features before or after refinement"
    )
    layers: Count = Field(1, description="layers of propagation, ≥ 1")
    width: Count = Field(64, description="dimensions of projections and states; attention: a multiple of 4")
    temperature: Positive = Field(
        0.1, description="gcn: of the softmax over cosines, > 0; smaller: fewer neighbours have weight"
    )
    neighbours: Count | None = Field(
        None,
        description=(
            "gcn: nearest nodes to connect a node to, with self_edges itself included; 1: no graph; null: all nodes"
        ),
    )
    self_edges: bool = Field(True, description="gcn: whether a node is also connected to itself")

    @model_validator(mode="after")
    def _something_to_attend_after(self) -> "GraphParams":
        if self.output == "reweight" and self.attention_from == "after":
            raise ValueError("attention_from: after needs output refine; reweight leaves the features as they are")
        return self

    @model_validator(mode="after")
    def _fits_attention(self) -> "GraphParams":
        if self.kind == "attention" and (self.neighbours is not None or not self.self_edges):
            raise ValueError("kind: attention joins all locations; leave neighbours and self_edges out")
        if self.neighbours == 1 and not self.self_edges:
            raise ValueError("neighbours: 1 is the node itself, which self_edges false leaves out; set one of them")
        if self.kind == "attention" and self.width % 4:
            raise ValueError(f"width: {self.width} does not suit the 4 heads of kind attention; use a multiple of 4")
        return self


class SuperFeaturesParams(Section):
    """The iterated attention of fire (Weinzaepfel et al., ICLR 2022)."""

    templates: Annotated[int, Field(ge=2)] = Field(
        256, description="learned templates, each of which gives one super-feature at each scale, ≥ 2; FIRe: 256"
    )
    dim: Annotated[int, Field(ge=2)] | None = Field(
        None, description="dimensions of templates and super-features, ≥ 2; null: the channels of the map. FIRe: 1024"
    )
    iterations: Count = Field(6, description="iterations of the attention, which share their weights; FIRe: 6")


class PoolingParams(Section):
    """From the feature map to the vector of a global model."""

    p: Positive = Field(
        3.0,
        description=(
            "power of GeM, > 0; gem, solar, apgem: only at the start of training. GeM, CFCD, DELG: 3, SuperGlobal: 4.6"
        ),
    )
    clamp: NotNegative = Field(
        0.0,
        description=(
            "gem, solar, apgem, cfcd: values of the map below it are raised to it, ≥ 0. GeM: 0, SuperGlobal: 0.014"
        ),
    )
    regional: bool = Field(
        False,
        description=(
            "gem, solar, apgem, cfcd: the mean of the map and of its generalised means over 5 × 5 locations is pooled. "
            "SuperGlobal: true"
        ),
    )
    over_scales: Literal["mean", "max"] = Field(
        "mean",
        description=(
            "all but rmac, delg: how the vectors of the scales of extraction are joined. GeM: mean, SuperGlobal: max"
        ),
    )
    levels: Count = Field(3, description="rmac: levels of regions, ≥ 1. R-MAC: 3")
    overlap: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.4, description="rmac: overlap of neighbouring regions as a share of their side, in [0, 1). R-MAC: 0.4"
    )
    projection: Count | None = Field(
        None,
        description=(
            "dimensions of a linear layer after GeM, learned by PCA before training (cfcd, delg: random before "
            "training); null: 512 for cfcd; for delg those of the map; for apgem also, and before training the layer "
            "only subtracts the mean; no layer for gem, solar"
        ),
    )


class WhiteningParams(Section):
    """PCA whitening with shrinkage inside a model, learned on the training photos at scale 1."""

    dim: Count = Field(
        96,
        description=(
            "dimensions of a local descriptor, best a multiple of 32: in ASMK's codes the bits that are missing to the "
            "next multiple count as equal. HOW: 128; delf: of fewer channels the largest multiple of 32"
        ),
    )
    images: Count = Field(5000, description="images to learn from, drawn by the seed; HOW: 5000")
    max_descriptors: Count = Field(1000, description="strongest locations of each image; HOW: 1000")
    shrinkage: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="from 0 (rotation only) to 1 (unit variance); HOW: 1, DELF: 0"
    )
    file: str | None = Field(
        None, description="take the whitening from this file: .npz with whiten_weight, whiten_bias, or a model of lrcr"
    )
