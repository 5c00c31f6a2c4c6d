"""The params of datasets: what each name under `datasets` can be."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lrcr.config.base import Count, Natural, Section


class FolderParams(Section):
    """A user's folder of photos (see `lrcr.datasets.folder` for its layout)."""

    kind: Literal["folder"]
    path: str


class SyntheticParams(Section):
    """Rendered landmarks, made from the seed (see `lrcr.datasets.synthetic`)."""

    kind: Literal["synthetic"]
    split: Literal["train", "val", "eval"]
    landmarks: Count
    images: Count
    queries: Natural = 0
    distractors: Natural = 0

    @model_validator(mode="after")
    def _enough_images(self) -> "SyntheticParams":
        if self.images < 2 * self.landmarks + self.distractors:
            raise ValueError("images must be at least 2 × landmarks + distractors")
        if self.queries > self.images - self.distractors:
            raise ValueError("queries must be at most images − distractors")
        return self


class RevisitedParams(Section):
    """Revisited Oxford or Paris; `distractors` adds the million of `revisitop1m` to the database."""

    kind: Literal["roxford5k", "rparis6k"]
    distractors: bool = False


class DistractorParams(Section):
    """The million distractors of Revisited Oxford and Paris, as a database of their own."""

    kind: Literal["revisitop1m"]


class SfmParams(Section):
    """A split of retrieval-SfM-120k (see `lrcr.datasets.sfm120k`)."""

    kind: Literal["sfm120k"]
    split: Literal["train", "val", "val_eccv20"]


class GoogleParams(Section):
    """A split of Google Landmarks v2 (see `lrcr.datasets.gldv2`)."""

    kind: Literal["gldv2"]
    split: Literal["train", "public", "private"]


DATASET_KINDS: dict[str, type[Section]] = {
    "folder": FolderParams,
    "synthetic": SyntheticParams,
    "roxford5k": RevisitedParams,
    "rparis6k": RevisitedParams,
    "revisitop1m": DistractorParams,
    "sfm120k": SfmParams,
    "gldv2": GoogleParams,
}
DatasetParams = Annotated[
    FolderParams | SyntheticParams | RevisitedParams | DistractorParams | SfmParams | GoogleParams,
    Field(discriminator="kind"),
]
