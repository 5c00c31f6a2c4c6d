"""The arithmetic of the trunk: what `auto` chooses, and that half-width arithmetic computes nearly the same."""

import numpy as np
import pytest
import torch

from lrcr.config.reading import load_params
from lrcr.data.dataset import open_dataset
from lrcr.features import compute
from lrcr.features.compute import choose_compute
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.features.extractor import Extractor, ExtractSettings
from lrcr.features.store import open_descriptors
from lrcr.models.backbone import Backbone
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.retrieval.queries import open_extractor
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import Manifest

CPU = torch.device("cpu")
SMALL = (
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "whitening.dim=8"),
    *("extract.image_size=48", "extract.scales=[1.0]", "extract.max_descriptors=20", "codebook.words=4"),
)


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return Backbone("resnet18", skip_layers=2).eval()


@pytest.fixture
def speeds(monkeypatch, tmp_path):
    """Measured speeds are taken from this list; the processor has instructions for bfloat16."""
    monkeypatch.setenv("LRCR_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(compute, "processor_flags", lambda: {"avx2", "avx512_bf16"})
    found = []
    monkeypatch.setattr(compute, "_speed", lambda _: found.pop(0))
    return found


@pytest.mark.parametrize(("speed", "chosen"), [(1.24, "float32"), (1.25, "bfloat16"), (7.0, "bfloat16")])
def test_auto_takes_what_a_measurement_shows_to_be_much_faster_and_keeps_to_it(backbone, speeds, speed, chosen):
    speeds.append(speed)
    for _ in range(2):
        assert choose_compute("auto", backbone, CPU) == chosen
        assert backbone.compute == getattr(torch, chosen)
    speeds.append(9.0)
    assert choose_compute("auto", Backbone("resnet18", skip_layers=3), CPU) == "bfloat16" and not speeds


def test_of_two_that_measure_at_once_both_take_what_the_first_found(backbone, speeds, monkeypatch):
    def measured_by_another(_):
        speeds.append(1.0)
        monkeypatch.setattr(compute, "_speed", lambda _: speeds.pop(0))
        assert choose_compute("auto", Backbone("resnet18", skip_layers=2), CPU) == "float32"
        return 5.0

    monkeypatch.setattr(compute, "_speed", measured_by_another)
    assert choose_compute("auto", backbone, CPU) == "float32"


def test_without_hard_links_the_result_is_kept_too(backbone, speeds, monkeypatch):
    def link(*_):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(compute.os, "link", link)
    speeds.append(2.0)
    for _ in range(2):
        assert choose_compute("auto", backbone, CPU) == "bfloat16"
    [_] = (compute.state_root() / "compute").iterdir()


def test_without_instructions_for_it_nothing_is_measured(backbone, speeds, monkeypatch):
    monkeypatch.setattr(compute, "processor_flags", lambda: {"avx2", "avx512f"})
    assert choose_compute("auto", backbone, CPU) == "float32"


@pytest.mark.parametrize(
    ("name", "device", "chosen"),
    [
        ("float32", "cpu", "float32"),
        ("bfloat16", "cpu", "bfloat16"),
        ("float16", "cpu", "float32"),
        ("float16", "cuda", "float16"),
        ("auto", "cuda", "float16"),
        ("bfloat16", "cuda", "bfloat16"),
        ("float32", "cuda", "float32"),
    ],
)
def test_what_is_named_is_taken_where_the_device_has_it(backbone, name, device, chosen):
    assert choose_compute(name, backbone, torch.device(device)) == chosen
    assert backbone.compute == getattr(torch, chosen)


def test_the_speed_is_that_of_bfloat16_relative_to_float32(backbone, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(compute.time, "perf_counter", lambda: clock[0])

    def forward(self, images):
        clock[0] += 6.0 if self.compute == torch.float32 else 2.0
        return images

    monkeypatch.setattr(Backbone, "forward", forward)
    assert compute._speed(backbone) == 3.0


@torch.no_grad()
def test_half_width_maps_are_nearly_those_of_float32_and_training_is_not_affected(backbone):
    images = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    backbone.compute = torch.float32
    exact = backbone(images)
    backbone.compute = torch.bfloat16
    found = backbone(images)
    assert found.dtype == torch.float32 and not torch.equal(found, exact)
    assert torch.cosine_similarity(found, exact, dim=1).min() > 0.999
    backbone.train()
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    torch.testing.assert_close(backbone(images), exact)


@pytest.fixture
def model_file(tmp_path):
    params = load_params(overrides=SMALL)
    torch.manual_seed(0)
    save_model(tmp_path / "model.pt", build_model(params), Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    return tmp_path / "model.pt"


def test_manifests_name_the_arithmetic_and_queries_follow_their_index(model_file, landmarks, tmp_path, speeds):
    speeds.append(2.0)
    params = load_params(overrides=SMALL)
    extract_dataset(params, model_file, landmarks, tmp_path / "descriptors")
    extract_fit(params, model_file, landmarks, tmp_path / "fit")
    make_codebook(params, tmp_path / "fit", tmp_path / "codebook")
    places = (landmarks, tmp_path / "descriptors", tmp_path / "codebook", tmp_path / "index")
    index_dataset(params, model_file, *places)
    stores = [open_descriptors(tmp_path / name) for name in ("descriptors/database", "descriptors/queries", "fit")]
    for store in stores:
        assert store.manifest.facts["compute"] == store.manifest.inputs["compute"] == "bfloat16"
    extractor = open_extractor(Searcher(tmp_path / "index"))
    assert extractor.settings.compute == "bfloat16"
    found = extractor.describe(open_dataset(landmarks).photos())
    np.testing.assert_array_equal(found.descriptors, stores[0].read().descriptors)


def test_the_fingerprint_differs_between_arithmetics(model_file, landmarks, tmp_path):
    prints = set()
    for kind in ("float32", "bfloat16"):
        folder = tmp_path / kind
        extract_dataset(load_params(overrides=[*SMALL, f"extract.compute={kind}"]), model_file, landmarks, folder)
        prints.add(open_descriptors(folder / "database").manifest.fingerprint)
    assert len(prints) == 2


def test_worker_processes_get_what_was_chosen(model_file, speeds):
    speeds.append(2.0)
    extractor = Extractor(model_file, ExtractSettings(48, [1.0], 20, compute="auto"), "cpu")
    made, arguments = extractor.__reduce__()
    assert made is Extractor and arguments[1].compute == "bfloat16"
