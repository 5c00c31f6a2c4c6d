"""The params of datasets: what each name under `datasets` can be."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lrcr.config.base import Count, Natural, Section


class FolderParams(Section):
    """A user's folder of photos (`lrcr.datasets.folder` describes its layout)."""

    kind: Literal["folder"] = Field(description="a user's folder of photos")
    path: str = Field(description="the folder; a relative path starts where the command runs, ~ at the home folder")
    tolerate_truncated: bool = Field(False, description="true: JPEGs that lack their last bytes are accepted")


class SyntheticParams(Section):
    """Rendered landmarks, made from the seed (`lrcr.datasets.synthetic`)."""

    kind: Literal["synthetic"] = Field(description="rendered landmarks")
    split: Literal["train", "val", "eval"] = Field(description="no landmark is in two splits; train also has pairs")
    landmarks: Count = Field(description="landmarks that are seen from several viewpoints")
    images: Count = Field(description="all images, distractors included; at least 2 × landmarks + distractors")
    queries: Natural = Field(0, description="images that are also queries; at most images − distractors")
    distractors: Natural = Field(0, description="images of further landmarks, one of each, without a label")

    @model_validator(mode="after")
    def _enough_images(self) -> "SyntheticParams":
        if self.images < 2 * self.landmarks + self.distractors:
            raise ValueError(f"images: {self.images} is refused: must be at least 2 × landmarks + distractors")
        if self.queries > self.images - self.distractors:
            raise ValueError(f"queries: {self.queries} is refused: must be at most images − distractors")
        return self


class RevisitedParams(Section):
    """Revisited Oxford or Paris (Radenović et al., CVPR 2018)."""

    kind: Literal["roxford5k", "rparis6k"] = Field(description="Revisited Oxford or Revisited Paris")
    distractors: bool = Field(False, description="true: add the million images of revisitop1m to the database")


class DistractorParams(Section):
    """The million distractors of Revisited Oxford and Paris, as a database without queries."""

    kind: Literal["revisitop1m"] = Field(description="the million distractors")


class SfmParams(Section):
    """A split of retrieval-SfM-120k (`lrcr.datasets.sfm120k`)."""

    kind: Literal["sfm120k"] = Field(description="retrieval-SfM-120k")
    split: Literal["train", "val", "val_eccv20"] = Field(
        description="train, val: pairs and labels (Radenović et al., TPAMI 2019); val_eccv20: HOW's validation queries"
    )


class GoogleParams(Section):
    """A split of Google Landmarks v2 (Weyand et al., CVPR 2020; `lrcr.datasets.gldv2`)."""

    kind: Literal["gldv2"] = Field(description="Google Landmarks v2")
    split: Literal["train", "public", "private"] = Field(
        description="train: the clean training set; public, private: the retrieval index with these queries"
    )


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
