"""The codebook stage: words of local models, whitenings of global ones, learned or taken from a file."""

import numpy as np
import pytest
import torch

from lrcr.errors import ArtifactError, ParamsError, WeightsError
from lrcr.features.store import open_descriptors
from lrcr.models.header import read_model_manifest
from lrcr.progress import Progress
from lrcr.retrieval.asmk.codebook import learn_codebook, open_codebook
from lrcr.retrieval.codebook import make_codebook
from lrcr.retrieval.flat.whitening import open_whitening
from lrcr.runtime.seeds import generator
from lrcr.storage.artifacts import hash_file, open_manifest

from .steps import small, small_global


@pytest.mark.parametrize("assignment", ["exact", "approximate", "ivf"])
def test_words_are_those_of_k_means_over_the_fit_set(tmp_path, words, assignment):
    chosen = ("codebook.words=2", "codebook.per_word=50", f"codebook.assignment={assignment}")
    params = small("codebook.seed=3", *chosen)
    make_codebook(params, words / "fit", tmp_path / "codebook")
    found, manifest = open_codebook(tmp_path / "codebook")
    fit = open_descriptors(words / "fit")
    sample = fit.sample(100, generator(3, "codebook sample"))
    assert len(sample) == 100 < fit.manifest.facts["descriptors"]
    expected = learn_codebook(sample, 2, iterations=5, seed=3, exact=assignment == "exact")
    np.testing.assert_array_equal(found.centroids, expected.centroids)
    assert manifest.params == params.sections("codebook")
    assert manifest.inputs == {
        "model": read_model_manifest(words / "model.pt").fingerprint,
        "descriptors": fit.manifest.fingerprint,
    }
    assert manifest.facts.items() >= {"device": "cpu", "threads": 1}.items()


def test_each_iteration_of_k_means_is_a_step(tmp_path, words):
    class Counter(Progress):
        tasks: list = []  # noqa: RUF012
        steps = 0

        def task(self, description, total):
            self.tasks.append((description, total))
            return super().task(description, total)

        def advance(self, steps=1):
            self.steps += steps

    progress = Counter()
    make_codebook(small("codebook.iterations=7"), words / "fit", tmp_path / "codebook", progress)
    assert (progress.tasks, progress.steps) == ([("learn codebook", 7)], 7)


def test_a_codebook_has_no_shares(tmp_path, monkeypatch, words):
    monkeypatch.setenv("LRCR_SHARD", "0/2")
    with pytest.raises(ParamsError, match=r"^LRCR_SHARD: a codebook cannot be made in shares"):
        make_codebook(small(), words / "fit", tmp_path / "codebook")
    assert not (tmp_path / "codebook").exists()


def test_given_words_are_taken_and_nothing_is_learned(tmp_path):
    centroids = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    np.savez(tmp_path / "words.npz", centroids=centroids)
    make_codebook(small(f"codebook.file={tmp_path / 'words.npz'}"), tmp_path / "none", tmp_path / "codebook")
    found, manifest = open_codebook(tmp_path / "codebook")
    np.testing.assert_array_equal(found.centroids, centroids)
    assert manifest.inputs == {"file": hash_file(tmp_path / "words.npz")}


def test_a_given_whitening_is_taken(tmp_path):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(5, 64)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    np.savez(tmp_path / "w.npz", whiten_weight=weight, whiten_bias=bias)
    params = small_global("gem", f"codebook.file={tmp_path / 'w.npz'}")
    make_codebook(params, tmp_path / "none", tmp_path / "codebook")
    found, manifest = open_whitening(tmp_path / "codebook")
    np.testing.assert_array_equal(found.weight, weight)
    np.testing.assert_array_equal(found.bias, bias)
    assert manifest.inputs == {"file": hash_file(tmp_path / "w.npz")}
    np.savez(tmp_path / "w.npz", centroids=weight)
    with pytest.raises(WeightsError, match=r"codebook\.file: .*w\.npz: .*store whiten_weight and whiten_bias"):
        make_codebook(params, tmp_path / "none", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("params", [small, lambda *given: small_global("gem", *given)], ids=["words", "whitening"])
def test_a_given_file_that_is_not_there_is_named(tmp_path, params):
    with pytest.raises(ArtifactError, match=r"^codebook\.file: none\.npz: no such file; name an \.npz file$"):
        make_codebook(params("codebook.file=none.npz"), tmp_path / "fit", tmp_path / "codebook")


def test_discriminative_whitening_takes_the_labels_of_the_fit_set(tmp_path, gem):
    make_codebook(small_global("gem", "codebook.whitening=discriminative"), gem / "fit", tmp_path / "codebook")
    found, pca = open_whitening(tmp_path / "codebook")[0], open_whitening(gem / "codebook")[0]
    assert found.weight.shape == pca.weight.shape == (3, 64)
    assert not np.allclose(found.weight, pca.weight, atol=1e-2)


def test_a_codebook_of_nothing_is_stored_too(tmp_path):
    """A model behind a projection is not whitened: there is no fit set to read."""
    make_codebook(small_global("cfcd"), tmp_path / "none", tmp_path / "codebook")
    found, manifest = open_whitening(tmp_path / "codebook")
    assert found is None and manifest.inputs == {}
    assert manifest.params["codebook"]["whitening"] == "none"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("extract.image_size=64",), "fit.image_size = 48, but the params now say 64"),
        (("codebook.images=3",), "fit.images = 20000, but the params now say 3"),
        (("codebook.max_descriptors=3",), "fit.max_descriptors = 20, but the params now say 3"),
        (("codebook.scales=[0.5]",), r"fit.scales = \[1.0\], but the params now say \[0.5\]"),
        (("seed=1",), "fit.seed = 0, but the params now say 1"),
    ],
)
def test_a_fit_set_made_under_other_params_is_refused(tmp_path, words, overrides, said):
    with pytest.raises(ArtifactError, match=f"fit: made with {said}; run its stage again"):
        make_codebook(small(*overrides), words / "fit", tmp_path / "codebook")
    assert not (tmp_path / "codebook").exists()


def test_params_of_extraction_alone_do_not_matter(tmp_path, words):
    params = small("extract.max_descriptors=3", "extract.scales=[2]", "extract.dtype=float16", "search.tau=0.5")
    make_codebook(params, words / "fit", tmp_path / "codebook")
    assert open_manifest(tmp_path / "codebook", "codebook") == open_manifest(words / "codebook", "codebook")


def test_a_gpu_that_is_not_there_is_refused(tmp_path, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParamsError, match="device: 'cuda', but no GPU"):
        make_codebook(small("device=cuda"), words / "fit", tmp_path / "codebook")
