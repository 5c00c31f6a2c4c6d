"""The steps from a model to an index, on small networks and small photos."""

from pathlib import Path

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.storage.artifacts import Manifest

SMALL = (
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
    *("smoothing.kind=average", "whitening.dim=8"),
    *("extract.image_size=48", "extract.scales=[1.0, 0.7]", "extract.max_descriptors=20", "extract.shard_size=5"),
    *("codebook.words=6", "codebook.max_descriptors=20", "codebook.iterations=5"),
)


def small(*overrides: str) -> Params:
    """A local model."""
    return load_params(overrides=[*SMALL, *overrides])


def small_global(name: str, *overrides: str) -> Params:
    """A global model whose vectors are whitened to 3 dimensions."""
    return small(f"model.name={name}", "codebook.dim=3", *overrides)


def make_model(folder: Path, params: Params) -> None:
    folder.mkdir(exist_ok=True)
    save_model(folder / "model.pt", build_model(params), Manifest("model", params.sections(*MODEL_SECTIONS), {}))


def make_descriptors(folder: Path, params: Params, dataset: Path) -> None:
    """Model, descriptors and fit set, below `folder`."""
    make_model(folder, params)
    extract_dataset(params, folder / "model.pt", dataset, folder / "descriptors")
    if params.learns_codebook:
        extract_fit(params, folder / "model.pt", dataset, folder / "fit")


def make_all(folder: Path, params: Params, dataset: Path) -> None:
    """All artifacts from the model to the index, below `folder`."""
    make_descriptors(folder, params, dataset)
    make_codebook(params, folder / "fit", folder / "codebook")
    make_index(folder, params, dataset, folder / "index")


def make_index(made: Path, params: Params, dataset: Path, index: Path, **options) -> None:
    """An index of artifacts that are there."""
    inputs = (made / "model.pt", dataset, made / "descriptors", made / "codebook")
    index_dataset(params, *inputs, index, **options)


def arrays(folder: Path) -> dict[str, bytes]:
    """What an index holds of its images."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.npy")}
