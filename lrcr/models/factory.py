"""Building a model from params, storing it in a file, and reading it back."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from lrcr.config.params import ARCHITECTURE, MODEL_SECTIONS, Params
from lrcr.config.reading import check_params
from lrcr.errors import ArtifactError, ParamsError, WeightsError
from lrcr.models.attention import AttentionModule
from lrcr.models.backbone import Backbone, build_backbone, has_folded_batchnorm
from lrcr.models.delf import DelfModel
from lrcr.models.delg import DelgModel, LocalBranch, split_last_map
from lrcr.models.file import read_model_file, write_model_file
from lrcr.models.global_model import MAC, RMAC, GlobalModel, RegionalModel, SPoC, add_second_order_attention
from lrcr.models.graph import build_graph
from lrcr.models.header import read_model_manifest
from lrcr.models.local import LocalModel
from lrcr.models.model import Model
from lrcr.models.pooling import GeM
from lrcr.models.smoothing import build_smoothing
from lrcr.models.super_feature_model import SuperFeatureModel
from lrcr.models.super_features import IteratedAttention, MeanSuperFeature
from lrcr.models.weights import load_weights, weights_file
from lrcr.models.whitening import Centring, Whitening, read_whitening
from lrcr.runtime.seeds import derive_seed
from lrcr.storage.artifacts import Manifest, hash_file

_CFCD_DIM = 512


def build_model(params: Params) -> Model:
    """Build the model that the params describe, on the CPU, and load its weights.

    `lrcr.models.local`, `lrcr.models.super_feature_model` and `lrcr.models.global_model` name the papers. The whitening
    of a local model is read from `whitening.file`. Without such a file it only selects the first channels until it is
    learned.

    Raises:
        WeightsError: weights or whitening cannot be read, or do not fit the model.

    Example:
        >>> import torch
        >>> from lrcr.config.reading import load_params
        >>> model = build_model(load_params(overrides=["backbone.weights=none", "whitening.dim=64"]))
        >>> model(torch.zeros(2, 3, 64, 48)).shape
        torch.Size([2, 64])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(params.seed, "weights"))
        model = _assemble(params, build_backbone(params.backbone))
    said = params.train.classification.batchnorm is not None
    if params.backbone.weights != "none" and not said and has_folded_batchnorm(model.backbone):
        model.freeze_batchnorm = True
    layer, file = model.whitening_layer, params.whitening.file
    if params.model.is_local and layer is not None and file is not None:
        dim, channels = layer.weight.shape
        layer.assign(*read_whitening(Path(file), channels, dim))
    return model


def _assemble(params: Params, backbone: Backbone) -> Model:
    kinds = {
        "local": _assemble_local,
        "delf": _assemble_delf,
        "fire": _assemble_super_features,
        "delg": _assemble_delg,
    }
    return kinds.get(params.model.name, _assemble_global)(params, backbone)


def _assemble_super_features(params: Params, backbone: Backbone) -> SuperFeatureModel:
    attention, dim = params.super_features, params.super_features.dim or backbone.channels
    if params.whitening.dim > dim:
        found = f"{params.whitening.dim} is more than the {dim} dimensions of super-features"
        raise WeightsError(f"whitening.dim: {found}; lower it, or raise super_features.dim")
    return SuperFeatureModel(
        backbone,
        IteratedAttention(backbone.channels, attention.templates, dim, attention.iterations),
        Whitening(dim, params.whitening.dim),
        border=params.backbone.crop_border,
        freeze_batchnorm=not params.trains_batchnorm,
    )


def _assemble_local(params: Params, backbone: Backbone) -> LocalModel:
    dim = params.whitening.dim
    if dim > backbone.channels:
        name = f"{params.backbone.name} at stride {backbone.stride}"
        raise WeightsError(f"whitening.dim: {dim} is more than the {backbone.channels} channels of {name}; lower it")
    return LocalModel(
        backbone,
        build_graph(params.graph, backbone.channels),
        build_smoothing(params.smoothing, backbone.channels),
        Whitening(backbone.channels, dim),
        graph_gates=params.graph.kind != "none" and params.graph.output == "reweight",
        attention_from=params.graph.attention_from,
        border=params.backbone.crop_border,
        centre_share_gates=params.smoothing.kind == "learnable" and params.smoothing.attention == "share",
        freeze_batchnorm=not params.trains_batchnorm,
    )


def _assemble_delf(params: Params, backbone: Backbone) -> DelfModel:
    """DELF; of fewer channels than `whitening.dim`, PCA keeps the largest multiple of 32."""
    channels, dim = backbone.channels, params.whitening.dim
    return DelfModel(
        backbone,
        AttentionModule(channels),
        Whitening(channels, dim if dim <= channels else channels // 32 * 32 or channels),
        border=params.backbone.crop_border,
        freeze_batchnorm=not params.trains_batchnorm,
    )


def _assemble_delg(params: Params, backbone: Backbone) -> DelgModel:
    before, last = split_last_map(backbone)
    return DelgModel(
        before,
        last,
        GeM(params.pooling.p),
        nn.Linear(backbone.channels, params.pooling.projection or backbone.channels),
        LocalBranch(before.channels, signed=before.is_signed()),
        last_stages=len(backbone.stages) - len(before.stages),
        border=params.backbone.crop_border,
        freeze_batchnorm=not params.trains_batchnorm,
    )


def _assemble_global(params: Params, backbone: Backbone) -> GlobalModel:
    name, channels = params.model.name, backbone.channels
    dim = params.pooling.projection or (_CFCD_DIM if name == "cfcd" else channels)
    if dim > channels and name != "cfcd":
        raise WeightsError(f"pooling.projection: {dim} is more than the {channels} channels of the map; lower it")
    if name == "solar":
        add_second_order_attention(backbone)
    model_class = RegionalModel if name == "rmac" else GlobalModel
    return model_class(
        backbone,
        _build_pooling(params),
        _build_projection(params, channels, dim),
        dim,
        freeze_batchnorm=not params.trains_batchnorm,
        maximum_of_scales=params.pooling.over_scales == "max",
    )


def _build_pooling(params: Params) -> nn.Module:
    name, pooling = params.model.name, params.pooling
    if name == "mac":
        return MAC()
    if name == "spoc":
        return SPoC()
    if name == "rmac":
        return RMAC(pooling.levels, pooling.overlap)
    return GeM(pooling.p, learnable=name != "cfcd", clamp=pooling.clamp, regional=pooling.regional)


def _build_projection(params: Params, channels: int, dim: int) -> nn.Module:
    if params.model.name == "cfcd":
        return _linear_with_batchnorm(channels, dim)
    if params.pooling.projection is not None:
        return Whitening(channels, dim)
    return Centring(channels) if params.model.name == "apgem" else nn.Identity()


def _linear_with_batchnorm(channels: int, dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(channels, dim), nn.BatchNorm1d(dim))


def build_pretraining_model(model: Model, seed: int, *, trains_trunk: bool = True) -> GlobalModel:
    """The model with which the parts of a model that have no weights are pretrained, on the model's device.

    It is CFCD on the same backbone; with super-features their mean is in the place of GeM.

    Args:
        seed: of the params; the weights of the layer after the pooling are drawn by it.
        trains_trunk: whether the trunk has no weights; then its BatchNorm is trained.
    """
    pooling, channels = _pretraining_pooling(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "pretraining"))
        layer = _linear_with_batchnorm(channels, _CFCD_DIM)
    pretrained = GlobalModel(model.backbone, pooling, layer, _CFCD_DIM, freeze_batchnorm=not trains_trunk)
    return pretrained.to(next(model.parameters()).device)


def _pretraining_pooling(model: Model) -> tuple[nn.Module, int]:
    """The pooling of pretraining, and the number of its outputs."""
    if isinstance(model, SuperFeatureModel):
        return MeanSuperFeature(model.super_features), model.super_features.dim
    return GeM(), model.backbone.channels


def weight_files(params: Params) -> dict[str, str]:
    """Hashes of the weight files that the params name, as inputs of the model's manifest.

    Raises:
        WeightsError: a file is missing.
    """
    whitening = params.whitening.file if params.model.is_local else None
    named = {
        "weights": weights_file(params.backbone.weights),
        "whitening": None if whitening is None else Path(whitening),
    }
    files = {name: path for name, path in named.items() if path is not None}
    for name, path in files.items():
        if not path.is_file():
            key = "backbone.weights" if name == "weights" else "whitening.file"
            raise WeightsError(f"{key}: {path}: no such file; name an existing .pth or .npz file")
    return {name: hash_file(path) for name, path in files.items()}


def save_model(path: Path, model: Model, manifest: Manifest) -> None:
    """Store a model and its manifest, atomically."""
    write_model_file(path, model.state_dict(), manifest)


def open_model(path: Path) -> tuple[Model, Manifest]:
    """Read a model, on the CPU and in evaluation mode, and its manifest.

    Raises:
        ArtifactError: the file is missing or is not a model of lrcr.
        ParamsError: its params are not valid in this version of lrcr.
        WeightsError: a tensor is missing, or has another shape than in the model of the stored params.
    """
    state, manifest = read_model_file(path)
    params = _stored_params(manifest, ARCHITECTURE, path)
    model = _assemble(params, Backbone(params.backbone.name, params.backbone.stride, params.backbone.skip_layers))
    load_weights(model, state, str(path))
    return model.eval(), manifest


def open_local_model(path: Path) -> LocalModel:
    """Read a model of kind local; its maps of attention and context can be drawn.

    Raises:
        ArtifactError: as in `open_model`, or the model is of another kind.
    """
    model, manifest = open_model(path)
    if not isinstance(model, LocalModel):
        name = manifest.params["model"]["name"]
        raise ArtifactError(f"{path}: a model of kind {name} has no maps to draw; name one of kind local")
    return model


def adopt_model(params: Params, model_file: Path) -> Params:
    """Replace the sections of the params that a model file stores by the stored ones.

    Raises:
        ArtifactError: the file is missing or is not a model of lrcr.
        ParamsError: the stored params are not valid in this version of lrcr.
    """
    return _stored_params(read_model_manifest(model_file), MODEL_SECTIONS, model_file, params)


def _stored_params(manifest: Manifest, sections: Sequence[str], path: Path, others: Params | None = None) -> Params:
    """Params with these sections of a model's manifest; all other keys have their defaults, or the values in `others`.

    Raises:
        ParamsError: this lrcr does not know the params, or a section that it reads is missing.
    """
    stored = {section: manifest.params[section] for section in sections if section in manifest.params}
    values = {} if others is None else others.model_dump(mode="json")
    params = check_params({**values, **stored}, str(path))
    for section in params.sections(*sections):
        if section not in stored:
            raise ParamsError(f"{path}: {section}: missing; train the model again")
    return params
