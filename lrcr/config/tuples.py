"""The sections of the params of training by Adam, and on tuples."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lrcr.config.base import Count, Natural, NotNegative, Positive, Scales, Section


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
        0,
        description=(
            "labelled pairs of the validation set whose loss is logged at every validation, ≥ 0; 0: none. With asmk "
            "whole batches are taken"
        ),
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
