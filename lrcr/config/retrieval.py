"""The sections of the params from extraction to search."""

from typing import Annotated, Literal

from pydantic import Field

from lrcr.config.base import Count, Natural, Positive, Scales, Section

LOCAL_SCALES = [2.0, 1.414, 1.0, 0.707, 0.5, 0.353, 0.25]
"""Of HOW."""

GLOBAL_SCALES = [0.3535, 0.5, 0.7071, 1.0, 1.4142]
"""Of CFCD."""

Float = Literal["float32", "float16"]


class ExtractParams(Section):
    """Multi-scale extraction of descriptors."""

    image_size: Count = Field(1024, description="longest side in pixels; nothing is enlarged. HOW, CFCD: 1024")
    scales: Scales | None = Field(
        None, description="null: 2, 1.414, 1, 0.707, 0.5, 0.353, 0.25 (HOW), of global models 0.3535 … 1.4142 (CFCD)"
    )
    global_scales: Scales | None = Field(
        None, description="scales of global models, which are best at about the size of training; null: scales"
    )
    max_descriptors: Count = Field(1000, description="strongest local descriptors of an image, all scales; HOW: 1000")
    dtype: Float = Field("float32", description="of the stored descriptors")
    shard_size: Count = Field(500, description="images of a shard: what a killed run loses at most")
    store_descriptors: bool = Field(
        True, description="false: the database is indexed shard by shard, and its descriptors are not stored"
    )


class CodebookParams(Section):
    """What is learned between extraction and index: visual words, or the whitening of global vectors."""

    words: Count = Field(65536, description="visual words, at most one for 39 descriptors; HOW: 65536")
    per_word: Annotated[int, Field(ge=39)] = Field(
        256, description="descriptors a word is learned from at most, drawn by the seed, ≥ 39"
    )
    images: Count = Field(20000, description="images of data.fit to learn from, drawn by the seed; HOW: 20000")
    scales: Scales | None = Field(
        None, description="scales of their descriptors; null: 1 for local models, those of extract for global ones"
    )
    max_descriptors: Count = Field(1000, description="strongest descriptors of each of these images; HOW: 1000")
    iterations: Count = Field(25, description="iterations of k-means; HOW: 10")
    seed: Natural = Field(0, description="of k-means")
    whitening: Literal["none", "pca", "discriminative"] | None = Field(
        None, description="global models: discriminative needs labels; null: none after a projection, else pca"
    )
    dim: Count | None = Field(None, description="global models: dimensions of whitened vectors; null: as before")
    file: str | None = Field(
        None, description="take it from this .npz: centroids, or whiten_weight and whiten_bias of a global model"
    )


class IndexParams(Section):
    """How the database is stored."""

    multiple_assignment: Count = Field(1, description="words of a database descriptor; HOW: 1")
    binary: bool = Field(True, description="true: sign bits of residuals; false: float16 residuals. HOW: true")
    quantisation: Literal["exact", "approximate"] = Field(
        "exact", description="search of the nearest words; approximate: its recall is in the manifest of the index"
    )
    pack_ids: bool = Field(False, description="image ids in about 10 bits in place of 32; search is a little slower")
    memory_gib: Positive = Field(2.0, description="GiB for sorting postings; the rest becomes another segment")
    dtype: Float = Field("float32", description="of the vectors of global models")


class SearchParams(Section):
    """ASMK's similarity, and how much of each ranking is returned."""

    multiple_assignment: Count = Field(5, description="words of a query descriptor; HOW: 5")
    alpha: Positive = Field(3.0, description="exponent of the similarity, > 0; HOW: 3")
    tau: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="similarity below which a match counts 0, 0–1; HOW's release: 0, the papers: 0.25"
    )
    idf: bool = Field(False, description="whether rare words weigh more")
    top: Count | None = Field(None, description="images returned for a query; null: all")
