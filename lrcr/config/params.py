"""The typed, validated parameters.

The defaults are HOW's published settings (Tolias et al., ECCV 2020), but with the packaged trunk, a cropped border, no
smoothing and fewer dimensions: the best off the shelf that needs no download. What only a global model reads has the
value of that model's publication.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from lrcr.config.base import Count, Name, Natural, Section
from lrcr.config.datasets import DatasetParams
from lrcr.config.model import (
    BackboneParams,
    GraphParams,
    Method,
    ModelParams,
    PoolingParams,
    SmoothingParams,
    SuperFeaturesParams,
    WhiteningParams,
)
from lrcr.config.rerank import RerankParams
from lrcr.config.retrieval import (
    GLOBAL_SCALES,
    JOINT_SCALES,
    LOCAL_SCALES,
    CodebookParams,
    ExtractParams,
    IndexParams,
    SearchParams,
)
from lrcr.config.training import TrainParams

ARCHITECTURE = ("model", "backbone", "smoothing", "graph", "super_features", "pooling", "whitening")
"""The sections of the params that define the architecture of a model."""

MODEL_SECTIONS = (*ARCHITECTURE, "train", "seed")
"""The sections of the params that determine a trained model; they are stored in its file."""


class DataParams(Section):
    """Which dataset is used for what; the names are those of the section `datasets`."""

    train: str | None = Field(None, description="to train on")
    val: str | None = Field(None, description="to validate on; the name of train: 20 % of its landmarks are held out")
    fit: str | None = Field(None, description="to learn the codebook on")
    eval: list[str] = Field([], description="to search and to evaluate on")
    folders: list[str] = Field([], description="all datasets of kind folder, whose photos are listed in each run")


class Params(Section):
    """Everything that decides a result."""

    seed: Natural = Field(0, description="of everything that is random, ≥ 0")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
    threads: Count | None = Field(
        None,
        description=(
            "of torch, numba, faiss, and decoding (at most 4); null: $LRCR_THREADS, else $OMP_NUM_THREADS, else all "
            "usable cores"
        ),
    )
    executor: Literal["local", "ray"] = Field(
        "local",
        description=(
            "where the shards of extraction, index and codebook are made: local: on this machine; ray: on all nodes of "
            "the Ray cluster that $RAY_ADDRESS names (pip install lrcr[ray])"
        ),
    )
    datasets: dict[Name, DatasetParams] = Field(
        {}, description="name → what it is; which keys it has depends on its kind"
    )
    data: DataParams = Field(DataParams(), description="which dataset is used for what")
    model: ModelParams = Field(ModelParams(), description="which model describes the images")
    backbone: BackboneParams = Field(BackboneParams(), description="the trunk of the model")
    smoothing: SmoothingParams = Field(SmoothingParams(), description="of model local: smoothing of the feature map")
    graph: GraphParams = Field(GraphParams(), description="of model local: graph refinement")
    super_features: SuperFeaturesParams = Field(
        SuperFeaturesParams(), description="of fire: from feature map to super-features"
    )
    pooling: PoolingParams = Field(PoolingParams(), description="of global models: from feature map to vector")
    whitening: WhiteningParams = Field(WhiteningParams(), description="inside the model; learned, or from a file")
    train: TrainParams = Field(TrainParams(), description="how the model is trained")
    extract: ExtractParams = Field(ExtractParams(), description="multi-scale extraction of descriptors")
    codebook: CodebookParams = Field(CodebookParams(), description="visual words, or the whitening of global vectors")
    index: IndexParams = Field(IndexParams(), description="how the database is stored")
    search: SearchParams = Field(SearchParams(), description="how an index is searched; never stored in it")
    rerank: list[RerankParams] = Field(
        [], description="steps that rank the results again, in this order; each has its kind; never stored in an index"
    )

    @model_validator(mode="after")
    def _known_datasets(self) -> "Params":
        roles = [("train", self.data.train), ("val", self.data.val), ("fit", self.data.fit)]
        for role, name in roles + [("eval", name) for name in self.data.eval]:
            if name is not None and name not in self.datasets:
                known = ", ".join(self.datasets) or "none"
                raise ValueError(f"data.{role}: unknown dataset {name!r}; add it under datasets (there: {known})")
        return self

    @model_validator(mode="after")
    def _method_fits_the_model(self) -> "Params":
        if self.model.name in ("local", "fire") and self.method != "tuples":
            raise ValueError(f"train.method: {self.method} trains global vectors; set it to tuples, or model.name gem")
        if self.model.name in ("delf", "delg") and self.method != "classification":
            raise ValueError(f"train.method: {self.method} trains no attention module; set it to classification")
        if self.model.name == "fire" and len(self.train.tuples.scales) > 1:
            raise ValueError("train.tuples.scales: fire is trained at one scale; leave one")
        stages, needed = self.train.trained_stages, self.model.trained_stages
        if stages is not None and stages < needed:
            where = f"the layers around {self.model.name}'s attention"
            remedy = f"set it to none, or to {needed} or more"
            raise ValueError(f"train.freeze: {self.train.freeze} would freeze {where}; {remedy}")
        if self.train.tuples.schedule != "joint" and self.method == "tuples":
            self._context_to_schedule()
        return self

    def _context_to_schedule(self) -> None:
        if self.model.name != "local":
            raise ValueError(f"train.tuples.schedule: {self.model.name} has no smoothing and graph; set it to joint")
        if self.smoothing.kind != "learnable" or self.graph.kind == "none":
            raise ValueError(
                "train.tuples.schedule: needs smoothing.kind learnable and graph.kind gcn or attention; set both"
            )

    @model_validator(mode="after")
    def _local_descriptors_are_stored(self) -> "Params":
        if self.index.local_descriptors != "none" and not self.extract.store_descriptors:
            raise ValueError("index.local_descriptors: needs extract.store_descriptors: true")
        if self.index.local_descriptors != "none" and not (self.model.is_local or self.model.is_joint):
            raise ValueError(f"index.local_descriptors: {self.model.name} has none; leave it out")
        return self

    @model_validator(mode="after")
    def _settings_of_the_model(self) -> "Params":
        name, projection = self.model.name, self.pooling.projection
        if projection is not None and name not in ("gem", "solar", "apgem", "cfcd", "delg"):
            raise ValueError(f"pooling.projection: {name} has none; leave it out or set model.name gem")
        needs_local = self.train.epochs > 0 and self.train.tuples.losses.asmk
        if not self.model.is_local and self.method == "tuples" and needs_local:
            raise ValueError(f"train.tuples.losses: {name} has no local descriptors; leave asmk at 0")
        if name == "fire" and needs_local:
            raise ValueError("train.tuples.losses: fire has its own (train.tuples.fire); leave asmk at 0")
        if not self.model.is_local and self.train.validation.by == "asmk":
            raise ValueError(f"train.validation.by: {name} has no local descriptors for asmk; set it to global")
        if name == "delg" and self.vector_whitening != "none":
            raise ValueError(f"codebook.whitening: {self.vector_whitening} would follow delg's layer; set it to none")
        return self

    @model_validator(mode="after")
    def _regions_of_local_descriptors(self) -> "Params":
        if self.extract.regions != "none" and not self.model.is_local:
            raise ValueError(f"extract.regions: {self.model.name} has no local descriptors; set it to none")
        return self

    @property
    def method(self) -> Method:
        """How the model is trained: by `train.method`, or as in its publication."""
        return self.train.method or self.model.method

    @property
    def validation(self) -> Literal["global", "asmk"]:
        """How the best epoch is chosen: by `train.validation.by`, or as its description says."""
        return self.train.validation.by or ("asmk" if self.model.is_local else "global")

    @property
    def pretrains(self) -> bool:
        """Whether what has no weights is trained as a classifier before the method trains the model."""
        return self._pretrainable and self.train.epochs > 0 and self.train.pretrain.epochs > 0

    @property
    def _pretrainable(self) -> bool:
        """Whether a part of the model that pretraining can train has no weights: the trunk, or FIRe's attention."""
        return self.backbone.weights == "none" or self.model.name == "fire"

    @property
    def trains_batchnorm(self) -> bool:
        """Whether the method trains the BatchNorm of the trunk, if it is not folded into convolutions."""
        return self.method == "classification" and self.train.classification.batchnorm != "frozen"

    @property
    def scales(self) -> list[float]:
        """Scales of extraction: those given, or the published ones of the model's family."""
        if self.model.is_local or self.model.is_joint:
            return self.extract.scales or LOCAL_SCALES
        return self.extract.global_scales or self.extract.scales or GLOBAL_SCALES

    @property
    def vector_scales(self) -> Sequence[float]:
        """Scales of the vector of a model that has local descriptors as well; empty for all others."""
        return (self.extract.global_scales or JOINT_SCALES) if self.model.is_joint else ()

    @property
    def fit_scales(self) -> list[float]:
        """Scales of the descriptors that the codebook is learned from."""
        return self.codebook.scales or ([1.0] if self.model.is_local else self.scales)

    @property
    def fit_images(self) -> int | None:
        """Images of the fit set that are described; None: all, for the whitening of global vectors."""
        return self.codebook.images if self.model.is_local else None

    @property
    def vector_whitening(self) -> Literal["none", "pca", "discriminative"]:
        """How global vectors are whitened: as given, or not after a projection and by PCA otherwise."""
        projected = self.model.name in ("cfcd", "delg") or self.pooling.projection is not None
        return self.codebook.whitening or ("none" if projected else "pca")

    @property
    def learns_codebook(self) -> bool:
        """Whether anything is learned on the fit set between extraction and index."""
        return self.codebook.file is None and (self.model.is_local or self.vector_whitening != "none")

    def sections(self, *names: str) -> dict[str, Any]:
        """The named sections as plain values, for manifests and fingerprints.

        Values that depend on the model are resolved. What is not read is left out: all methods of training but the
        chosen one, pretraining where every part has weights, and what shapes other models.
        """
        dumped = self.model_dump(mode="json")
        dumped["train"] = self.train.resolved(self.method, self._pretrainable, self.validation)
        dumped["extract"]["scales"] = self.scales
        del dumped["extract"]["global_scales"]
        if self.model.is_joint:
            dumped["extract"]["vector_scales"] = self.vector_scales
        dumped["codebook"]["scales"] = self.fit_scales
        if not self.model.is_local:
            dumped["codebook"]["whitening"] = self.vector_whitening
        unread = {"smoothing", "graph", "super_features", "pooling"} - set(self.model.shaped_by)
        return {name: dumped[name] for name in names if name not in unread}

    def fit_section(self) -> dict[str, Any]:
        """What determines the descriptors that the codebook is learned from, as plain values."""
        codebook = self.sections("codebook")["codebook"]
        decisive = {"images": self.fit_images, **{name: codebook[name] for name in ("scales", "max_descriptors")}}
        extract = self.extract.model_dump(include={"image_size", "compute", "decoded_images"})
        return {"fit": {**extract, "seed": self.seed, **decisive}}
