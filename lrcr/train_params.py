"""The sections of the params that say how a model is trained; the defaults are the published ones."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lrcr.section import Count, Natural, NotNegative, Positive, Section


class RateParams(Section):
    """Adam's learning rate of each part of the network; `context` is learnable smoothing and graph."""

    backbone: NotNegative = 5e-6
    context: NotNegative = 5e-5
    whitening: NotNegative = 0.0


class ValidationParams(Section):
    """How epochs are compared: mAP on the validation set of the global descriptor, or of ASMK."""

    by: Literal["global", "asmk"] = "global"
    every: Count = 1
    words: Count = 4096


class LossParams(Section):
    """Weights of the losses: on the global descriptor, on local matches, on ASMK's score; and what the latter two see.

    `descriptors` of each image are compared; ASMK's words are learned from the pool at the start of every epoch.
    """

    contrastive: NotNegative = 1.0
    matches: NotNegative = 0.0
    asmk: NotNegative = 0.0
    descriptors: Count = 400
    words: Count = 1024
    temperature: Positive = 0.02

    @model_validator(mode="after")
    def _one_at_least(self) -> "LossParams":
        if not (self.contrastive or self.matches or self.asmk):
            raise ValueError("all weights are 0; give contrastive, matches or asmk one")
        return self


class SolarParams(Section):
    """SOLAR's loss over tuples: margin of the triplets, in squared distance, and weight of second-order similarity."""

    margin: Positive = 1.25
    second_order: NotNegative = 10.0


class LabelParams(Section):
    """Training from labels (apgem, cfcd): epochs over all images (null: `train.epochs`), and their random crops.

    `crop` is the side in pixels to which they are resized (null: `train.image_size`), `area` the least share of an
    image that one covers.
    """

    epochs: Count | None = None
    crop: Count | None = None
    area: Annotated[float, Field(gt=0, le=1)] = 0.08


class ApgemParams(Section):
    """AP-GeM's training: images a step, how many of them pass at a time (memory), bins of quantised AP."""

    batch: Annotated[int, Field(ge=2)] = 4096
    chunk: Annotated[int, Field(ge=2)] = 8
    bins: Annotated[int, Field(ge=2)] = 25


class CfcdParams(Section):
    """CFCD's training from labels: epochs of classification, then `fine_epochs` with hard local negatives too.

    `rate` is that of SGD at the height of the first phase, after it rose over `warmup` epochs, `fine_rate` that at the
    start of the second (null: the same); both fall by half a cosine. `batch`: images a step;
    MadaCos with its alpha, or a head of fixed scale and margin; weight of the local triplets in the second phase (1.0
    in effect in the authors' code, which does not apply the weight of its configuration).
    """

    rate: Positive = 0.005
    batch: Annotated[int, Field(ge=2)] = 128
    warmup: Natural = 5
    fine_epochs: Natural = 50
    fine_rate: Positive | None = None
    head: Literal["madacos", "fixed"] = "madacos"
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.02
    scale: Positive = 32.0
    margin: NotNegative = 0.15
    local: NotNegative = 0.05


class TrainParams(Section):
    """Training over tuples (query, positive, negatives), and what single global models have of their own.

    `freeze: backbone` computes the trunk's maps once; `merge` trains smoothing and graph first alone, then both for
    `together` epochs (null: `epochs`) from the best of each; `warmup` counts steps in which the rate of the context
    rises to its full height. Tuples see images at `scales`.
    """

    epochs: Natural = 20
    queries: Count = 2000
    pool: Count = 20000
    negatives: Count = 5
    batch: Count = 5
    image_size: Count = 1024
    scales: Annotated[list[Positive], Field(min_length=1)] = Field(default_factory=lambda: [1.0])
    margin: Positive = 0.8
    rates: RateParams = RateParams()
    warmup: Natural = 100
    freeze: Literal["none", "backbone"] = "none"
    merge: bool = False
    together: Natural | None = None
    losses: LossParams = LossParams()
    weight_decay: NotNegative = 1e-4
    decay: Annotated[float, Field(gt=0, le=1)] = 0.99
    validation: ValidationParams = ValidationParams()
    solar: SolarParams = SolarParams()
    labels: LabelParams = LabelParams()
    apgem: ApgemParams = ApgemParams()
    cfcd: CfcdParams = CfcdParams()

    @property
    def label_epochs(self) -> int:
        """Epochs of training from labels; CFCD's of its first phase."""
        return self.labels.epochs or self.epochs

    @property
    def crop(self) -> int:
        """Side of the random crops in pixels."""
        return self.labels.crop or self.image_size
