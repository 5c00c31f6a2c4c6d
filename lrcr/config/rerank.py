"""The steps that re-rank the results of a search: what each item of the list `rerank` can be."""

from typing import Annotated, Literal

from pydantic import Field

from lrcr.config.base import Count, Natural, NotNegative, Positive, Section


class ExpansionParams(Section):
    """Query expansion and database-side augmentation of global vectors (`lrcr.retrieval.rerank.expansion`)."""

    kind: Literal["expansion"] = Field(description="rank again by an expanded query, or by augmented database vectors")
    images: Natural = Field(
        10, description="first images whose vectors are added to that of the query; 0: the query is not expanded"
    )
    neighbours: Natural = Field(
        0,
        description=(
            "nearest images of the database whose vectors are added to each of its vectors first; 0: none are"
        ),
    )
    alpha: NotNegative = Field(
        3.0,
        description=(
            "exponent of the similarity that weighs an added vector, ≥ 0. Average query expansion: 0; α-weighted "
            "(Radenović et al., TPAMI 2019): 3"
        ),
    )


class SuperGlobalParams(Section):
    """The two passes of SuperGlobal (Shao et al., ICCV 2023; `lrcr.retrieval.rerank.superglobal`)."""

    kind: Literal["superglobal"] = Field(description="rank the first images again by their refined global vectors")
    top: Count = Field(400, description="M, first images that are ranked again; SuperGlobal: 400 (1600 for a million)")
    neighbours: Count = Field(
        9, description="K, nearest of these images that refine the vector of each, and first ones that expand the query"
    )
    beta: NotNegative = Field(0.15, description="weight of a neighbour beside its similarity, ≥ 0; SuperGlobal: 0.15")


class GeometricParams(Section):
    """Geometric verification with local descriptors (`lrcr.retrieval.rerank.geometric`)."""

    kind: Literal["geometric"] = Field(
        description="rank the first images again by matches that agree on one transformation of the image"
    )
    top: Count = Field(100, description="first images that are ranked again")
    exponent: Positive | None = Field(
        0.5,
        description=(
            "a score is multiplied by (1 + inliers) to this power; null: images are sorted by inliers alone. DELG: null"
        ),
    )
    transformation: Literal["affine", "homography"] = Field("affine", description="what the matches have to agree on")
    tolerance: Positive = Field(
        0.05, description="largest error of an inlier, as a share of the longer side of the part with descriptors"
    )
    min_similarity: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        None,
        description="cosine of two local descriptors below which they do not match, −1 to 1; null: 0.5, of codes 0.6",
    )
    ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description=(
            "largest ratio of the distances of a descriptor to its nearest and its second nearest, > 0, ≤ 1; 1: any. "
            "At several scales the second nearest is often nearly the same"
        ),
    )


class BlendParams(Section):
    """A blend of the scores so far with those of the index (`lrcr.retrieval.rerank.blend`)."""

    kind: Literal["blend"] = Field(
        description="mix the scores of the steps before with those of the index; both are scaled to 0–1"
    )
    top: Count = Field(100, description="first images that are ranked again")
    share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="λ, weight of the score of the index itself, 0 to 1; the score so far has 1 − λ"
    )


class DiffusionParams(Section):
    """Diffusion on the graph of nearest neighbours (Iscen et al., CVPR 2017; `lrcr.retrieval.rerank.diffusion`)."""

    kind: Literal["diffusion"] = Field(description="rank the first images again by paths over similar images")
    top: Count = Field(500, description="first images that are ranked again, and over which the paths lead")
    neighbours: Count = Field(50, description="k, nearest images of the database that can be joined to an image")
    images: Count = Field(10, description="first images at which the paths begin")
    gamma: Positive = Field(3.0, description="exponent of the similarities, > 0; Iscen et al.: 3")
    alpha: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.99, description="weight of another step of a path, ≥ 0, < 1; Iscen et al.: 0.99"
    )


class WordsParams(Section):
    """Expansion of ASMK by the words of verified images (`lrcr.retrieval.rerank.words`)."""

    kind: Literal["words"] = Field(description="rank again by a query with the visual words of verified images")
    images: Count = Field(10, description="first images that are verified, as by the step geometric")
    min_inliers: Count = Field(15, description="inliers from which an image counts as verified")
    agreeing: Count = Field(2, description="verified images that must have a word to add it to the query")


RERANK_KINDS: dict[str, type[Section]] = {
    "expansion": ExpansionParams,
    "superglobal": SuperGlobalParams,
    "geometric": GeometricParams,
    "blend": BlendParams,
    "diffusion": DiffusionParams,
    "words": WordsParams,
}
RerankParams = Annotated[
    ExpansionParams | SuperGlobalParams | GeometricParams | BlendParams | DiffusionParams | WordsParams,
    Field(discriminator="kind"),
]
