"""The typed, validated parameters.

The defaults are HOW's published recipe (ResNet-18, Tolias et al., ECCV 2020), and what only a global model heeds has
that model's published value.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lrcr.dataset_params import DATASET_KINDS, DatasetParams
from lrcr.errors import ParamsError
from lrcr.model_params import BackboneParams, GraphParams, ModelParams, PoolingParams, SmoothingParams, WhiteningParams
from lrcr.section import Count, Name, Natural, Positive, Section
from lrcr.train_params import TrainParams


class DataParams(Section):
    """Which datasets play which part; names from the `datasets` section."""

    train: str | None = None
    val: str | None = None
    fit: str | None = None
    eval: list[str] = []


_LOCAL_SCALES = [2.0, 1.414, 1.0, 0.707, 0.5, 0.353, 0.25]
_GLOBAL_SCALES = [0.3535, 0.5, 0.7071, 1.0, 1.4142]
Scales = Annotated[list[Positive], Field(min_length=1)]


class ExtractParams(Section):
    """Multi-scale extraction; `scales: null` takes HOW's for local models and CFCD's for global ones.

    `global_scales`, where they are given, are those of global models, whose vectors are best at about the size of
    training. `descriptors` are the strongest local ones. `keep: false` stores none of the database's: the index is made
    of them shard by shard, and they are dropped.
    """

    image_size: Count = 1024
    scales: Scales | None = None
    global_scales: Scales | None = None
    descriptors: Count = 1000
    precision: Literal["float32", "float16"] = "float32"
    shard: Count = 500
    keep: bool = True


class CodebookParams(Section):
    """What is learned from the fit set between extraction and index, or read from `file`.

    Of local models visual words: k-means, or the file's `centroids`. Of global ones the whitening of their vectors to
    `dim` dimensions (null: as many as they have, at most): PCA, or discriminative where the fit set has labels, or the
    file's `whiten_weight` and `whiten_bias`; `whitening: null` takes none behind a projection and PCA elsewhere.
    `scales: null` takes 1 for local models and those of extraction for global ones.
    """

    words: Count = 65536
    per_word: Annotated[int, Field(ge=39)] = 256
    images: Count = 20000
    scales: Scales | None = None
    descriptors: Count = 1000
    iterations: Count = 25
    seed: Natural = 0
    whitening: Literal["none", "pca", "discriminative"] | None = None
    dim: Count | None = None
    file: str | None = None


class IndexParams(Section):
    """How the database is kept: of global models the vectors, in `precision`; of local ones what ASMK aggregates.

    Of the latter: words per descriptor, sign bits or float16 residuals; how the postings are kept.
    """

    assignment: Count = 1
    binary: bool = True
    quantisation: Literal["exact", "approximate"] = "exact"
    packed: bool = False
    memory: Positive = 2.0
    precision: Literal["float32", "float16"] = "float32"


class SearchParams(Section):
    """ASMK's similarity and how much of each ranking is kept (`top: null` keeps all)."""

    assignment: Count = 5
    alpha: Positive = 3.0
    tau: Annotated[float, Field(ge=0, lt=1)] = 0.0
    idf: bool = False
    top: Count | None = None


class Params(Section):
    """Everything that decides a result."""

    seed: Natural = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    datasets: dict[Name, DatasetParams] = {}
    data: DataParams = DataParams()
    model: ModelParams = ModelParams()
    backbone: BackboneParams = BackboneParams()
    smoothing: SmoothingParams = SmoothingParams()
    graph: GraphParams = GraphParams()
    pooling: PoolingParams = PoolingParams()
    whitening: WhiteningParams = WhiteningParams()
    train: TrainParams = TrainParams()
    extract: ExtractParams = ExtractParams()
    codebook: CodebookParams = CodebookParams()
    index: IndexParams = IndexParams()
    search: SearchParams = SearchParams()

    @model_validator(mode="after")
    def _known_datasets(self) -> "Params":
        roles = [("train", self.data.train), ("val", self.data.val), ("fit", self.data.fit)]
        for role, name in roles + [("eval", name) for name in self.data.eval]:
            if name is not None and name not in self.datasets:
                known = ", ".join(self.datasets) or "none"
                raise ValueError(f"data.{role}: unknown dataset {name!r}; add it under datasets (there: {known})")
        return self

    @model_validator(mode="after")
    def _one_source_of_whitening(self) -> "Params":
        if self.backbone.weights == "none" and self.whitening.file is None and self.train.rates.whitening:
            raise ValueError(
                "train.rates.whitening: must be 0 with backbone.weights none, where the whitening is learned again "
                "after every epoch"
            )
        return self

    @model_validator(mode="after")
    def _context_to_merge(self) -> "Params":
        if self.train.merge and not self.model.is_local:
            raise ValueError(f"train.merge: {self.model.name} has no smoothing and graph to merge; set it to false")
        if self.train.merge and (self.smoothing.kind != "learnable" or self.graph.kind == "none"):
            raise ValueError("train.merge: needs smoothing.kind learnable and graph.kind gcn or attention; set both")
        return self

    @model_validator(mode="after")
    def _settings_of_the_model(self) -> "Params":
        name, projection = self.model.name, self.pooling.projection
        if projection is not None and name not in ("gem", "solar", "apgem", "cfcd"):
            raise ValueError(f"pooling.projection: {name} has none; leave it out or set model.name gem")
        if name == "solar" and not self.backbone.name.startswith("resnet"):
            raise ValueError(f"model.name: solar attends between the blocks of a ResNet, not of {self.backbone.name}")
        if name == "solar" and self.train.freeze == "backbone":
            raise ValueError("train.freeze: backbone would freeze what surrounds solar's attention; set it to none")
        if not self.model.is_local and self.backbone.border:
            raise ValueError("backbone.border: concerns local models only; leave it out, or set model.name local")
        if not self.model.is_local and (self.train.losses.matches or self.train.losses.asmk):
            raise ValueError(f"train.losses: {name} has no local descriptors; leave matches and asmk at 0")
        if not self.model.is_local and self.train.validation.by == "asmk":
            raise ValueError(f"train.validation.by: {name} has no local descriptors for asmk; set it to global")
        return self

    @property
    def scales(self) -> list[float]:
        """Scales of extraction: those given, or the published ones of the model's family."""
        if self.model.is_local:
            return self.extract.scales or _LOCAL_SCALES
        return self.extract.global_scales or self.extract.scales or _GLOBAL_SCALES

    @property
    def fit_scales(self) -> list[float]:
        """Scales of the descriptors that the codebook is learned from."""
        return self.codebook.scales or ([1.0] if self.model.is_local else self.scales)

    @property
    def vector_whitening(self) -> Literal["none", "pca", "discriminative"]:
        """How global vectors are whitened: as said, or none behind a projection and PCA elsewhere."""
        projected = self.model.name == "cfcd" or self.pooling.projection is not None
        return self.codebook.whitening or ("none" if projected else "pca")

    @property
    def learns_codebook(self) -> bool:
        """Whether anything is learned from the fit set between extraction and index."""
        return self.codebook.file is None and (self.model.is_local or self.vector_whitening != "none")

    def sections(self, *names: str) -> dict[str, Any]:
        """The named sections as plain values, for manifests and fingerprints; what the model decides is resolved."""
        dumped = self.model_dump(mode="json")
        dumped["extract"]["scales"] = self.scales
        del dumped["extract"]["global_scales"]
        dumped["codebook"]["scales"] = self.fit_scales
        if not self.model.is_local:
            dumped["codebook"]["whitening"] = self.vector_whitening
        return {name: dumped[name] for name in names}

    def fit_section(self) -> dict[str, Any]:
        """What decides the descriptors that the codebook is learned from, as plain values."""
        codebook = self.sections("codebook")["codebook"]
        decisive = {name: codebook[name] for name in ("images", "scales", "descriptors")}
        return {"fit": {"image_size": self.extract.image_size, "seed": self.seed, **decisive}}


def load_params(path: Path | None = None, overrides: Sequence[str] = ()) -> Params:
    """Read params: the defaults, then a YAML file, then `key=value` overrides (values in YAML).

    Raises:
        ParamsError: one line for each key that is unknown, of the wrong type or out of range.
    """
    values = {} if path is None else _read_yaml(path)
    for override in overrides:
        _override(values, override)
    return check_params(values, "params" if path is None else str(path))


def check_params(values: Any, where: str) -> Params:
    """Validate plain values, read from `where`.

    Raises:
        ParamsError: one line for each key that is unknown, of the wrong type or out of range.
    """
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(where, dict(problem)) for problem in error.errors())) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; name a params file in YAML") from None
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}); name a params file in YAML") from None
    except (YAMLError, ValueError) as error:  # ValueError: text, dates and numbers that Python cannot represent
        raise ParamsError(f"{path}: not valid YAML ({' '.join(str(error).split())}); mend it") from None
    if not isinstance(values, dict | None):
        raise ParamsError(f"{path}: holds a {type(values).__name__}, not sections of keys; see params.yaml")
    return values or {}


def _override(values: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise ParamsError(f"--set {override}: not key=value; write for example --set smoothing.kernel=5")
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError):
        raise ParamsError(f"--set {override}: {text!r} is not a YAML value; quote it") from None
    *sections, last = key.split(".")
    for name in sections:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise ParamsError(f"--set {override}: {name} is a value, not a section; see params.yaml for the keys")
    values[last] = value


def _explain(where: str, problem: dict[str, Any]) -> str:
    """One line for one problem that pydantic found: file, key, value, remedy."""
    path = [str(part) for part in problem["loc"]]
    known = _known_keys(path if problem["type"] == "model_type" else path[:-1])
    if path[:1] == ["datasets"]:
        del path[2:3]  # pydantic adds the dataset's kind, or [key], after its name
    key = ".".join(path)
    message = problem["msg"].removeprefix("Value error, ")
    if not path:
        return f"{where}: {message}"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{where}: {key}: unknown key; {remedy}"
    if problem["type"] == "missing":
        return f"{where}: {key}: missing; add it"
    if problem["type"].startswith("union_tag"):
        kinds = ", ".join(DATASET_KINDS)
        return f"{where}: {key}.kind: {problem['input'].get('kind')!r} is no kind of dataset; use {kinds}"
    if problem["type"] == "model_type":
        return f"{where}: {key}: {problem['input']!r} is refused: a section of keys stands here: {', '.join(known)}"
    return f"{where}: {key}: {problem['input']!r} is refused: {message[0].lower()}{message[1:]}"


def _known_keys(path: Sequence[str]) -> list[str]:
    if path[:1] == ["datasets"]:
        return list(DATASET_KINDS[path[2]].model_fields) if len(path) == 3 else []
    model: type[BaseModel] = Params
    for part in path:
        section = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return []
        model = section
    return list(model.model_fields)
