"""The sections of the params from extraction to search."""

from typing import Annotated, Literal

from pydantic import Field

from lrcr.config.base import Compute, Count, Natural, Positive, Scales, Section

LOCAL_SCALES = [2.0, 1.414, 1.0, 0.707, 0.5, 0.353, 0.25]
"""The scales of HOW."""

GLOBAL_SCALES = [0.3535, 0.5, 0.7071, 1.0, 1.4142]
"""The scales of CFCD."""

JOINT_SCALES = [0.7071, 1.0, 1.4142]
"""The scales of the vector of DELG."""

Float = Literal["float32", "float16"]


class ExtractParams(Section):
    """Multi-scale extraction of descriptors."""

    image_size: Count = Field(1024, description="longest side in pixels; nothing is enlarged. HOW, CFCD: 1024")
    scales: Scales | None = Field(
        None,
        description=(
            "factors of the image's size, > 0; null: 2, 1.414, 1, 0.707, 0.5, 0.353, 0.25 (HOW), for global models "
            "0.3535, 0.5, 0.7071, 1, 1.4142 (CFCD)"
        ),
    )
    global_scales: Scales | None = Field(
        None,
        description=(
            "scales of global vectors, which do best near the image size of training; null: scales, for delg 0.7071, "
            "1, 1.4142 (DELG)"
        ),
    )
    max_descriptors: Count = Field(
        1000, description="strongest local descriptors of an image, over all scales; HOW: 1000"
    )
    min_strength: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="lowest strength of a local descriptor, as a share of that of the image's strongest; HOW: 0"
    )
    regions: Literal["none", "grid", "detected"] = Field(
        "none",
        description=(
            "of database images, for ASMK: each region is described and aggregated on its own, the whole image being "
            "one; grid: those of R-MAC; detected: those of regions.parquet of the dataset. DELF-R: detected"
        ),
    )
    min_region_score: float = Field(0.1, description="lowest score of a detected region; DELF-R: 0.1")
    compute: Compute = Field(
        "auto",
        description=(
            "arithmetic of the trunk: float32, bfloat16 or float16 (on a CPU float32 instead); auto: float16 on a GPU, "
            "and bfloat16 on a CPU where a measurement shows that it is 1.25 times as fast. Queries follow their index"
        ),
    )
    dtype: Float = Field("float32", description="of the stored descriptors")
    shard_size: Count = Field(500, description="images in a shard; a killed run loses at most one shard")
    decoded_images: Annotated[int, Field(ge=4)] = Field(
        80,
        description=(
            "most decoded images in memory at one time, ≥ 4, besides the batch in use: those decoded in advance and "
            "those that wait for others of their shape; fewer take less memory, but batches may be smaller"
        ),
    )
    store_descriptors: bool = Field(
        True, description="false: the database is indexed shard by shard, and its descriptors are not stored"
    )


class CodebookParams(Section):
    """What is learned between extraction and index: visual words, or the whitening of global vectors."""

    words: Count = Field(65536, description="visual words; at most one for 39 descriptors. HOW: 65536")
    per_word: Annotated[int, Field(ge=39)] = Field(
        256, description="maximum of descriptors per word to learn from, ≥ 39; of more a sample is drawn by the seed"
    )
    images: Count = Field(
        20000, description="images of data.fit to learn words from, drawn by the seed; a whitening: all. HOW: 20000"
    )
    scales: Scales | None = Field(
        None,
        description="their scales, > 0; null: 1 for local models (HOW), for global models those of extract",
    )
    max_descriptors: Count = Field(1000, description="strongest descriptors of each of these images; HOW: 1000")
    iterations: Count = Field(25, description="iterations of k-means; HOW: 10")
    assignment: Literal["exact", "approximate", "ivf"] = Field(
        "approximate",
        description=(
            "of descriptors to words in k-means on a CPU; approximate: only in iterations 1, 2, 4, 8, … a descriptor "
            "is compared with all words, in the others with the 8 that were nearest to it; ivf: so, but these 8 are "
            "found approximately, in cells: for tens of thousands of words. HOW: exact"
        ),
    )
    seed: Natural = Field(0, description="seed of k-means, ≥ 0")
    whitening: Literal["none", "pca", "discriminative"] | None = Field(
        None, description="of global models; discriminative: from labels; null: none after a projection, otherwise pca"
    )
    dim: Count | None = Field(
        None, description="of global models: dimensions after whitening, ≥ 1; null: as many as before"
    )
    shrinkage: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="of pca of global models, from 0 (rotation only) to 1 (unit variance). AP-GeM: 0.5"
    )
    file: str | None = Field(
        None, description="take it from this .npz: centroids, or for global models whiten_weight and whiten_bias"
    )


class IndexParams(Section):
    """How the database is stored."""

    multiple_assignment: Count = Field(1, description="words of each database descriptor; HOW: 1")
    binary: bool = Field(
        True, description="true: store sign bits of the residuals; false: residuals in float16. HOW: true"
    )
    quantisation: Literal["exact", "approximate"] = Field(
        "exact",
        description="search of the nearest words; approximate: faster for many words, recall in the index's manifest",
    )
    pack_ids: bool = Field(
        False, description="true: image ids take about 10 bits instead of 32, and search is a little slower"
    )
    memory_gib: Positive = Field(
        2.0, description="memory for sorting postings in GiB, > 0; what does not fit becomes another segment"
    )
    dtype: Float = Field("float32", description="of the vectors of global models")
    local_descriptors: Literal["none", "float16", "codes"] = Field(
        "none",
        description=(
            "whether the index owns the local descriptors of its images, which geometric re-ranking needs; float16: "
            "2 × D + 8 bytes for each descriptor of D dimensions; codes: D / 8 + 8 bytes, D rounded up to a multiple "
            "of 64: their signs, for slightly less precise matches"
        ),
    )


class SearchParams(Section):
    """ASMK's similarity, and how much of each ranking is returned."""

    multiple_assignment: Count = Field(5, description="words of each query descriptor; HOW: 5")
    alpha: Positive = Field(3.0, description="exponent of the similarity, > 0; HOW: 3")
    tau: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="similarity below which a match counts 0, in [0, 1); HOW's release: 0, the papers: 0.25"
    )
    idf: bool = Field(False, description="true: rare words have a larger weight; HOW: false")
    top: Count | None = Field(None, description="images returned for a query, ≥ 1; null: all")
