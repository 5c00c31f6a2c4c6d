"""The sections of the params of training on random crops of labelled images."""

from typing import Annotated, Literal

from pydantic import Field

from lrcr.config.base import Count, Natural, NotNegative, Positive, Section
from lrcr.config.tuples import AdamParams


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
