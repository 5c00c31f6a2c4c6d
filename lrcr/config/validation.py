"""The sections of the params that say how the best epoch of a training is chosen."""

from typing import Annotated, Literal

from pydantic import Field

from lrcr.config.base import Count, Natural, Positive, Scales, Section


class ValidationExtract(Section):
    """Multi-scale extraction for validation by ASMK."""

    image_size: Count = Field(1024, description="longest side in pixels; HOW: 1024")
    scales: Scales = Field(
        [2.0, 1.414, 1.0, 0.707, 0.5, 0.353, 0.25],
        description="factors of the image's size, > 0; HOW: 2, 1.414, 1, 0.707, 0.5, 0.353, 0.25",
    )
    max_descriptors: Count = Field(1000, description="strongest descriptors of an image; HOW: 1000")


class ValidationCodebook(Section):
    """The visual words of validation by ASMK, learned on training images at each validation."""

    words: Count = Field(4096, description="visual words, at most one for 39 descriptors; HOW: 65536")
    per_word: Annotated[int, Field(ge=39)] = Field(
        256, description="maximum of descriptors per word to learn from, ≥ 39; of more a sample is drawn by the seed"
    )
    images: Count = Field(20000, description="training images to learn from, drawn by the seed; HOW: 20000")
    scales: Scales = Field([1.0], description="scales of their descriptors, > 0; HOW: 1")
    max_descriptors: Count = Field(1000, description="strongest descriptors of each of these images; HOW: 1000")
    iterations: Count = Field(25, description="iterations of k-means; HOW: 10")
    seed: Natural = Field(0, description="seed of k-means, ≥ 0")


class ValidationSearch(Section):
    """The search of validation by ASMK. Its database has one word a descriptor and stores sign bits."""

    multiple_assignment: Count = Field(5, description="words of each query descriptor; HOW: 5")
    alpha: Positive = Field(3.0, description="exponent of the similarity, > 0; HOW: 3")
    tau: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="similarity below which a match counts 0, in [0, 1); HOW's release: 0, the papers: 0.25"
    )
    idf: bool = Field(False, description="true: rare words have a larger weight; HOW: false")


class ValidationParams(Section):
    """How the best epoch is chosen: by mAP (medium) on the validation set. If no epoch is better, the start is kept.

    It does not read `extract`, `codebook`, `index` and `search`.
    """

    by: Literal["global", "asmk"] | None = Field(
        None,
        description=(
            "global: with one vector an image, at train.image_size; asmk: by the sections below; null: asmk for local, "
            "fire, delf, global for all others. HOW: asmk"
        ),
    )
    every: Count = Field(1, description="epochs between two validations; HOW: 5")
    extract: ValidationExtract = Field(ValidationExtract(), description="asmk: extraction")
    codebooks: Count = Field(
        1,
        description="asmk: codebooks of consecutive seeds, over which mAP is averaged; with one it varies by a point",
    )
    codebook: ValidationCodebook = Field(ValidationCodebook(), description="asmk: visual words")
    search: ValidationSearch = Field(ValidationSearch(), description="asmk: search")
