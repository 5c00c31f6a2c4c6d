"""The steps on a cluster, from photos to an index: the bytes of one process."""

from pathlib import Path

import pytest

from lrcr.config.reading import load_params
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.storage.artifacts import Manifest

pytestmark = pytest.mark.cluster
SMALL = (
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
    *("smoothing.kind=average", "whitening.dim=8", "device=cpu"),
    *("extract.image_size=48", "extract.scales=[1.0, 0.7]", "extract.max_descriptors=20", "extract.shard_size=3"),
    *("codebook.words=6", "codebook.max_descriptors=20", "codebook.iterations=4", "index.memory_gib=1.0e-6"),
)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def make(folder: Path, dataset: Path, *overrides: str) -> dict[str, bytes]:
    """All artifacts; relative to the folder that this process works in."""
    params = load_params(overrides=[*SMALL, *overrides])
    folder.mkdir()
    model = folder / "model.safetensors"
    save_model(model, build_model(params), Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    extract_dataset(params, model, dataset, folder / "descriptors")
    extract_fit(params, model, dataset, folder / "fit")
    make_codebook(params, folder / "fit", folder / "codebook")
    index_dataset(params, model, dataset, folder / "descriptors", folder / "codebook", folder / "index")
    return contents(folder)


@pytest.mark.parametrize("stored", ["true", "false"])
def test_all_steps_make_the_bytes_of_one_process(nodes, tmp_path, monkeypatch, landmarks, state, stored):
    monkeypatch.chdir(tmp_path)
    stores = f"extract.store_descriptors={stored}"
    alone = make(Path("alone"), landmarks, stores)
    assert sum(name.endswith("codes.npy") for name in alone) > 1, "several segments"
    assert make(Path("shared"), landmarks, stores, "executor=ray") == alone
    assert not list(state.iterdir())
