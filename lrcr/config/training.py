"""The sections of the params that say how a model is trained."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from lrcr.config.base import Compute, Count, Natural, NotNegative, Positive, Scales, Section
from lrcr.config.model import Method
from lrcr.config.validation import ValidationParams


class LearningRates(Section):
    """Adam's learning rate of each part of the model, ≥ 0."""

    backbone: NotNegative = Field(5e-6, description="of the trunk; HOW: 5e-6, with ResNet-50 1e-6")
    context: NotNegative = Field(
        5e-5,
        description=(
            "of learnable smoothing and graph; of the iterated attention of fire; of the pooling, projection and "
            "attention of a global model"
        ),
    )
    whitening: NotNegative = Field(0.0, description="of the whitening; HOW: 0")


class AdamParams(Section):
    """Adam with a learning rate for each part of the model."""

    learning_rates: LearningRates = Field(LearningRates(), description="of the parts of the model; 0 freezes a part")
    warmup_steps: Natural = Field(
        100, description="first steps, in which the learning rate of the context rises linearly"
    )
    lr_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        0.99, description="factor of the learning rates after each epoch, in (0, 1]; HOW: 0.99"
    )


class TupleLosses(Section):
    """Weights of the losses of a local model, ≥ 0 and not both 0, and what the loss of ASMK's score compares."""

    contrastive: NotNegative = Field(1.0, description="weight of the contrastive loss of training descriptors; HOW: 1")
    asmk: NotNegative = Field(
        0.0, description="weight of the loss of the ranking of all images of a step by ASMK's score; HOW: 0"
    )
    max_descriptors: Count = Field(400, description="asmk: strongest descriptors of each image")
    words: Count = Field(
        1024, description="asmk: visual words, learned from the negative pool at the start of every epoch"
    )
    temperature: Positive = Field(0.5, description="asmk: of the softmax over the logarithms of scores, > 0")
    codebooks: Count = Field(
        1,
        description="asmk: codebooks of an epoch, which the steps take in turn; training overfits to one",
    )
    soft_words: Count = Field(
        1, description="asmk: nearest words of a descriptor, among which its assignment is soft; 1: the nearest alone"
    )

    @model_validator(mode="after")
    def _one_at_least(self) -> "TupleLosses":
        if not (self.contrastive or self.asmk):
            raise ValueError("contrastive: 0, and asmk is 0 too; give one of them a weight")
        return self


class SolarParams(Section):
    """The loss of solar (Ng et al., ECCV 2020)."""

    margin: Positive = Field(1.25, description="of the triplets, in squared distance of unit vectors; SOLAR: 1.25")
    second_order: NotNegative = Field(10.0, description="weight of second-order similarity; SOLAR: 10")


class FireParams(Section):
    """The losses of fire (Weinzaepfel et al., ICLR 2022)."""

    contrastive: NotNegative = Field(
        0.02, description="weight of the contrastive loss of matched super-features, ≥ 0; FIRe: 0.02"
    )
    margin: Positive = Field(1.1, description="of that loss, in distance of unit vectors; FIRe: 1.1")
    ratio: Positive = Field(
        0.9, description="matches: largest ratio of the distances to the nearest and the second nearest; FIRe: 0.9"
    )
    decorrelation: NotNegative = Field(
        0.1, description="weight of the mean cosine of the attention maps of an image, ≥ 0; FIRe: 0.1"
    )

    @model_validator(mode="after")
    def _one_at_least(self) -> "FireParams":
        if not (self.contrastive or self.decorrelation):
            raise ValueError("contrastive: 0, and decorrelation is 0 too; give one of them a weight")
        return self


class TuplesParams(AdamParams):
    """Training on tuples: a query, a positive, and negatives that are mined at the start of every epoch."""

    queries_per_epoch: Count = Field(2000, description="tuples in an epoch; HOW: 2000")
    negative_pool: Count = Field(20000, description="images from which negatives are mined; HOW: 20000")
    negatives: Natural = Field(
        5, description="mined negatives in a tuple; 0: asmk compares the tuples of a step with each other. HOW: 5"
    )
    batch_size: Count = Field(5, description="tuples in a step; HOW: 5")
    group_size: Count = Field(
        1,
        description=(
            "with negatives 0: pairs in a group of similar landmarks, into which every second step is divided; they "
            "are found by ASMK's score in the negative pool at the start of every epoch. 1: no groups"
        ),
    )
    scales: Scales = Field([1.0], description="scales at which the images of tuples are described, > 0; HOW: 1")
    augmented_versions: Natural = Field(
        0,
        description=(
            "versions of each image, cropped, mirrored and with other colours at random, ≥ 0; in each epoch, an image "
            "in tuples is itself or one of them. HOW: 0"
        ),
    )
    mirror: bool = Field(False, description="mirror each image with probability ½, anew in each epoch. FIRe: true")
    validation_pairs: Natural = Field(
        0, description="labelled pairs of the validation set whose loss is logged at every validation, ≥ 0; 0: none"
    )
    margin: Positive = Field(0.8, description="of the contrastive loss, in distance of unit vectors; HOW: 0.8")
    schedule: Literal["joint", "separate", "separate_then_joint", "sequential"] = Field(
        "joint",
        description=(
            "of smoothing and graph. joint: trained together; separate: each trained alone, then both joined without "
            "further training; separate_then_joint: then also trained together, for train.epochs; one alone is kept "
            "if its validation mAP is higher than theirs together. sequential: the graph, then smoothing on top of it"
        ),
    )
    losses: TupleLosses = Field(TupleLosses(), description="of a local model")
    solar: SolarParams = Field(SolarParams(), description="loss of solar, in place of the contrastive loss")
    fire: FireParams = Field(FireParams(), description="losses of fire, in place of those of a local model")

    @model_validator(mode="after")
    def _something_to_compare(self) -> "TuplesParams":
        if not self.negatives and (not self.losses.asmk or self.batch_size < 2):
            raise ValueError("negatives: 0 needs losses.asmk and a batch_size of 2 or more")
        if self.group_size > 1 and (self.negatives or self.group_size > self.batch_size):
            raise ValueError(f"group_size: {self.group_size} needs negatives 0, and a batch_size of that or more")
        return self


class CropParams(Section):
    """Training on random crops of labelled images."""

    epochs: Count | None = Field(
        None, description="passes over all images, ≥ 1; null: train.epochs (if that is 0, nothing is trained)"
    )
    crop_size: Count | None = Field(None, description="side of the resized crops in pixels; null: train.image_size")
    min_crop_area: Annotated[float, Field(gt=0, le=1)] = Field(
        0.08, description="smallest area of a crop as a share of the image's, in (0, 1]; usual on ImageNet: 0.08"
    )


class PretrainParams(CropParams):
    """Training what has no weights as a classifier of the labels, before the method: a trunk, the attention of fire.

    Above the trunk are GeM, or for fire the mean of the super-features, a layer, and the classifier with MadaCos. Layer
    and classifier are dropped afterwards; trunk and attention keep the weights of the last epoch, and BatchNorm is
    frozen. A trunk with weights is not trained.
    """

    epochs: Natural = Field(
        30,
        description=(
            "passes over all images, ≥ 0; 0: none, and only classification trains BatchNorm. With train.epochs 0 "
            "nothing is trained; for a pretrained trunk alone set train.freeze=backbone"
        ),
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(16, description="images in a step, ≥ 2")
    learning_rate: Positive = Field(0.02, description="highest of SGD, > 0; a larger batch needs a larger one")
    warmup_epochs: Natural = Field(1, description="first epochs, in which the learning rate rises linearly")


class ListwiseParams(AdamParams, CropParams):
    """Training by quantised average precision over large batches (AP-GeM: Revaud et al., ICCV 2019)."""

    batch_size: Annotated[int, Field(ge=2)] = Field(4096, description="images in a step, ≥ 2; AP-GeM: 4096")
    chunk_size: Annotated[int, Field(ge=2)] = Field(
        8, description="images in one forward pass, ≥ 2; fewer take less memory"
    )
    bins: Annotated[int, Field(ge=2)] = Field(
        25, description="bins of the quantised average precision, ≥ 2; AP-GeM: 25"
    )


class ClassificationParams(CropParams):
    """Training by classification with SGD, in two phases.

    Of delf the second phase trains the attention alone, with a frozen trunk (Noh et al., ICCV 2017); of global models
    it adds hard local negatives (CFCD: Zhu et al., ICCV 2023); delg has none.
    """

    learning_rate: Positive = Field(0.005, description="highest of the first phase, > 0; CFCD: 0.005")
    batch_size: Annotated[int, Field(ge=2)] = Field(128, description="images in a step, ≥ 2; CFCD: 128")
    warmup_epochs: Natural = Field(5, description="first epochs, in which the learning rate rises linearly; CFCD: 5")
    fine_epochs: Natural = Field(50, description="epochs of the second phase; CFCD: 50")
    fine_learning_rate: Positive | None = Field(
        None, description="learning rate at the start of the second phase, > 0; null: learning_rate"
    )
    fine_crop_size: Count | None = Field(
        None, description="side of the crops in the second phase in pixels; null: as in the first. DELF: 720 after 224"
    )
    clip_norm: Positive | None = Field(
        None, description="norm to which a larger gradient of a step is shortened, > 0; null: none is. DELG: 10"
    )
    head: Literal["madacos", "fixed", "arcface", "linear"] = Field(
        "madacos",
        description=(
            "madacos: cosines, adaptive scale and margin; fixed: those below; arcface: a learned scale, the margin in "
            "the angle; linear: a linear layer. CFCD: madacos, DELF: linear, DELG: arcface"
        ),
    )
    alpha: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.02, description="madacos: probability of the median sample's class, in (0, 1); CFCD: 0.02"
    )
    batchnorm: Literal["trained", "frozen"] | None = Field(
        None,
        description=(
            "BatchNorm of the trunk: trained, or in evaluation mode (in CFCD's second phase also that of the layer "
            "after GeM); null: trained, unless the weights have it folded into convolutions. CFCD: trained"
        ),
    )
    colour_noise: NotNegative = Field(
        0.1, description="deviation of the noise along the principal components of colours, ≥ 0; CFCD: 0.1"
    )
    scale: Positive = Field(
        32.0, description="of the cosines, > 0; arcface: at the start; linear: length of the vectors. DELG: 45.25"
    )
    margin: NotNegative = Field(0.15, description="fixed: margin in cosine, ≥ 0; arcface: in radians. DELG: 0.1")
    reconstruction: NotNegative = Field(
        10.0,
        description=(
            "delg: weight of the mean square of the autoencoder's errors, ≥ 0; DELG: 10, for a ResNet, whose map has a "
            "mean square of some 0.05"
        ),
    )
    local: NotNegative = Field(
        0.05,
        description="weight of the local triplets in the second phase, ≥ 0; CFCD: 0.05 (effectively 1 in its code)",
    )


def _in_one_line(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:  # one error for each member of the union
        raise ValueError("must be none, backbone or a number of stages ≥ 1") from None


Freeze = Annotated[Literal["none", "backbone"] | Count, WrapValidator(_in_one_line)]


class TrainParams(Section):
    """Training. Of the sections `tuples`, `listwise` and `classification` only that of the method is read."""

    method: Method | None = Field(
        None,
        description="null: as published (apgem: listwise; delf, delg, cfcd: classification; all others: tuples)",
    )
    epochs: Natural = Field(
        20, description="epochs of each phase; 0: off the shelf, only the whitening is learned. HOW: 20"
    )
    image_size: Count = Field(1024, description="longest side in pixels; HOW: 1024")
    compute: Compute = Field(
        "float16",
        description=(
            "arithmetic of the trunk's passes without gradient, as extract.compute (float16: on a CPU float32): maps "
            "of frozen stages, mining, validation, whitening"
        ),
    )
    freeze: Freeze = Field(
        "none",
        description=(
            "what of the trunk is not trained: none, all of it, or all but its last stages, given their number. The "
            "maps of the frozen stages are computed only once (method tuples). HOW: none"
        ),
    )
    weight_decay: NotNegative = Field(1e-4, description="of the optimiser, ≥ 0; HOW, CFCD: 1e-4")
    validation: ValidationParams = Field(ValidationParams(), description="how the best epoch is chosen")
    pretrain: PretrainParams = Field(
        PretrainParams(), description="with backbone.weights none, and of fire: classification before the method"
    )
    tuples: TuplesParams = Field(TuplesParams(), description="method tuples")
    listwise: ListwiseParams = Field(ListwiseParams(), description="method listwise")
    classification: ClassificationParams = Field(ClassificationParams(), description="method classification")

    @property
    def trained_stages(self) -> int | None:
        """The number of stages at the end of the trunk that are trained; None: the whole trunk is."""
        if isinstance(self.freeze, int):
            return self.freeze
        return None if self.freeze == "none" else 0

    def resolved(self, method: Method, pretrainable: bool, validation: str) -> dict[str, Any]:
        """What training by this method reads, as plain values: its own section, and of the others what is used.

        Args:
            pretrainable: whether a part of the model has no weights, for which there is pretraining.
            validation: global or asmk.
        """
        values = self.model_dump(mode="json", exclude={"method", "pretrain", "tuples", "listwise", "classification"})
        if pretrainable and self.epochs:
            pretrain = self.pretrain
            values["pretrain"] = pretrain.model_dump(mode="json", include=None if pretrain.epochs else {"epochs"})
        values["validation"]["by"] = validation
        if validation != "asmk":
            values["validation"] = {"by": validation, "every": self.validation.every}
        return {**values, "method": method, method: getattr(self, method).model_dump(mode="json")}
