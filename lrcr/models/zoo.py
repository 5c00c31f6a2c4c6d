"""From params to a model, and from a model to its file and back."""

from pathlib import Path

import torch

from lrcr.artifacts import Manifest, hash_file
from lrcr.device import derive_seed
from lrcr.errors import WeightsError
from lrcr.models.backbone import Backbone, build_backbone, load_weights
from lrcr.models.file import read_model_file, write_model_file
from lrcr.models.graph import build_graph
from lrcr.models.local import LocalModel
from lrcr.models.smoothing import build_smoothing
from lrcr.models.whitening import Whitening, read_whitening
from lrcr.params import Params, check_params

ARCHITECTURE = ("model", "backbone", "smoothing", "graph", "whitening")
"""The sections of the params that shape a model."""

MODEL_SECTIONS = (*ARCHITECTURE, "train", "seed")
"""The sections that decide a trained model; its file carries them."""


def build_model(params: Params) -> LocalModel:
    """Build the model that the params describe, on the CPU, with its weights and a given whitening loaded.

    Without `whitening.file` the whitening only selects channels until it is learned.

    Raises:
        WeightsError: weights or whitening do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(params.seed, "weights"))
        model = _assemble(params, build_backbone(params.backbone))
    if params.whitening.file is not None:
        channels, dim = model.backbone.channels, params.whitening.dim
        model.whitening.assign(*read_whitening(Path(params.whitening.file), channels, dim))
    return model


def _assemble(params: Params, backbone: Backbone) -> LocalModel:
    dim = params.whitening.dim
    if dim > backbone.channels:
        name = f"{params.backbone.name} with skip_layers {params.backbone.skip_layers}"
        raise WeightsError(f"whitening.dim: {dim} is more than the {backbone.channels} channels of {name}; lower it")
    return LocalModel(
        backbone,
        build_graph(params.graph, backbone.channels),
        build_smoothing(params.smoothing, backbone.channels),
        Whitening(backbone.channels, dim),
        graph_gates=params.graph.kind != "none" and params.graph.output == "reweight",
        attention_from=params.graph.attention_from,
        share_attends=params.smoothing.kind == "learnable" and params.smoothing.attention == "share",
        freeze_batchnorm=params.backbone.weights != "none",
    )


def weight_files(params: Params) -> dict[str, str]:
    """Hashes of the files that the model starts from, as inputs of its manifest.

    Raises:
        WeightsError: a file is missing.
    """
    named = {"weights": params.backbone.weights, "whitening": params.whitening.file}
    files = {name: Path(path) for name, path in named.items() if path not in ("none", "imagenet", None)}
    for name, path in files.items():
        if not path.is_file():
            key = "backbone.weights" if name == "weights" else "whitening.file"
            raise WeightsError(f"{key}: {path}: no such file; name an existing .pth or .npz file")
    return {name: hash_file(path) for name, path in files.items()}


def save_model(path: Path, model: LocalModel, manifest: Manifest) -> None:
    """Store a model and its manifest, atomically."""
    write_model_file(path, model.state_dict(), manifest)


def open_model(path: Path) -> tuple[LocalModel, Manifest]:
    """Read a model in evaluation mode, on the CPU, and its manifest.

    Raises:
        ArtifactError: the file is missing or is no model of lrcr.
        ParamsError: this lrcr does not know its params.
        WeightsError: a tensor is missing or has another shape than the manifest's params demand.
    """
    state, manifest = read_model_file(path)
    params = check_params({section: manifest.params.get(section) for section in ARCHITECTURE}, str(path))
    model = _assemble(params, Backbone(params.backbone.name, params.backbone.skip_layers))
    load_weights(model, state, str(path))
    return model.eval(), manifest


def adopt_model(params: Params, model_file: Path) -> Params:
    """The params with a model file's own sections in place of theirs.

    Raises:
        ArtifactError: the file is missing or is no model of lrcr.
        ParamsError: this lrcr does not know its params.
    """
    _, manifest = read_model_file(model_file)
    own = {section: manifest.params.get(section) for section in MODEL_SECTIONS}
    return check_params({**params.model_dump(mode="json"), **own}, str(model_file))
