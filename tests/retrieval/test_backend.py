"""Both backends, step by step through the protocol that they share, on drawn descriptors."""

import numpy as np
import pytest
import torch

from lrcr.config.retrieval import IndexParams, SearchParams
from lrcr.errors import ArtifactError, ParamsError
from lrcr.features.store import Descriptors
from lrcr.retrieval.asmk.codebook import Codebook, save_codebook
from lrcr.retrieval.asmk.engine import AsmkBackend
from lrcr.retrieval.backend import backend_of
from lrcr.retrieval.flat.engine import FlatBackend
from lrcr.retrieval.flat.vectors import RowWhitening
from lrcr.retrieval.flat.whitening import save_whitening
from lrcr.storage.artifacts import Manifest

from .steps import small, small_global

INPUTS = {"model": "m", "codebook": "c"}
KINDS = ["asmk", "flat"]


def draw(counts, dim=6, seed=0) -> Descriptors:
    rng = np.random.default_rng(seed)
    rows = sum(counts)
    ones = np.ones(rows, np.float32)
    offsets = np.cumsum([0, *counts], dtype=np.int64)
    descriptors = rng.normal(size=(rows, dim)).astype(np.float32)
    return Descriptors(descriptors, ones, np.ones((rows, 2), np.float32), ones, offsets)


@pytest.fixture
def codebooks(tmp_path):
    """A codebook of each kind."""
    rng, manifest = np.random.default_rng(1), Manifest("codebook", {}, {})
    for kind in KINDS:
        (tmp_path / kind).mkdir()
    save_codebook(tmp_path / "asmk", Codebook(rng.normal(size=(10, 6)).astype(np.float32)), manifest)
    weight, bias = rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    save_whitening(tmp_path / "flat", RowWhitening(weight, bias), manifest)
    return {
        "asmk": AsmkBackend(tmp_path / "asmk", IndexParams(), seed=0),
        "flat": FlatBackend(tmp_path / "flat", IndexParams(), gpu=False),
    }


def no_sample(most, rng):
    raise AssertionError("exact assignment has no recall to measure")


def build(backend, parts, images, folder):
    folder.mkdir()
    backend.build(parts, images, no_sample, folder, INPUTS)
    return backend.open(folder, SearchParams())


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_finds_itself_first(tmp_path, codebooks, kind):
    images = draw([5, 6, 3, 4])
    index = build(codebooks[kind], [codebooks[kind].encode(images, list("abcd"))], 4, tmp_path / "index")
    ranking = index.rank(index.prepare(images), top=None)
    assert index.images == 4
    for query in range(4):
        found, scores = ranking.of_query(query)
        assert found[0] == query and sorted(found) == [0, 1, 2, 3]
        assert (np.diff(scores) <= 0).all()
        first, score = index.rank(index.prepare(images.take([query])), top=1).of_query(0)
        assert (first.tolist(), score.tolist()) == ([query], [scores[0]])


@pytest.mark.parametrize("kind", KINDS)
def test_parts_that_were_stored_make_the_index_that_the_whole_makes(tmp_path, codebooks, kind):
    backend, images = codebooks[kind], draw([5, 0, 3, 4, 2])
    parts = []
    for number, some in enumerate(([0, 1], [2], [3, 4])):
        backend.write_part(tmp_path / f"{number}.npz", backend.encode(images.take(some), list("ab")))
        parts.append(backend.read_part(tmp_path / f"{number}.npz"))
    whole = build(backend, iter([backend.encode(images, list("abcde"))]), 5, tmp_path / "whole")
    joined = build(backend, iter(parts), 5, tmp_path / "joined")
    files = [
        {file.name: file.read_bytes() for file in (tmp_path / name).rglob("*") if file.is_file()}
        for name in ("whole", "joined")
    ]
    assert files[0] == files[1]
    assert whole.manifest == joined.manifest
    assert (whole.manifest.kind, whole.manifest.inputs) == ("index", INPUTS)
    assert whole.manifest.params == {"index": IndexParams().model_dump(mode="json")}


@pytest.mark.parametrize(("kind", "file"), [("asmk", "segment-0000/codes.npy"), ("flat", "vectors-0000/vectors.npy")])
def test_an_altered_file_is_found(tmp_path, codebooks, kind, file):
    index = build(codebooks[kind], [codebooks[kind].encode(draw([5, 6]), list("ab"))], 2, tmp_path / "index")
    index.verify()
    contents = (tmp_path / "index" / file).read_bytes()
    (tmp_path / "index" / file).write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=f"{file}: missing or altered since it was made"):
        index.verify()


@pytest.mark.parametrize("kind", KINDS)
def test_a_descriptor_that_is_not_finite_names_its_image(codebooks, kind):
    images = draw([2, 3])
    images.descriptors[4, 1] = np.nan
    with pytest.raises(ArtifactError, match=r"^b\.jpg: a descriptor holds NaN or infinity; extract it again"):
        codebooks[kind].encode(images, ["a.jpg", "b.jpg"])


@pytest.mark.parametrize("kind", KINDS)
def test_queries_of_another_model_are_refused(tmp_path, codebooks, kind):
    index = build(codebooks[kind], [codebooks[kind].encode(draw([5, 6]), list("ab"))], 2, tmp_path / "index")
    with pytest.raises(ArtifactError, match="extract them with the model that"):
        index.prepare(draw([3], dim=5))


@pytest.mark.parametrize("kind", KINDS)
def test_a_codebook_that_is_not_there_is_refused(tmp_path, codebooks, kind):
    moved = codebooks[kind].codebook_folder.rename(tmp_path / "moved")
    with pytest.raises(ArtifactError, match=rf"{kind}/manifest\.json: no such file"):
        codebooks[kind].encode(draw([5]), ["a"])
    moved.rename(tmp_path / kind)
    codebooks[kind].encode(draw([5]), ["a"])


def test_words_explain_a_score_and_vectors_do_not(tmp_path, codebooks):
    images = draw([5, 6, 3])
    words, vectors = (
        build(backend, [backend.encode(images, list("abc"))], 3, tmp_path / f"{kind}-index")
        for kind, backend in codebooks.items()
    )
    assert words.explains and not vectors.explains
    query = draw([8], seed=2)
    found, scores = words.rank(words.prepare(query), None).of_query(0)
    for image, score in zip(found, scores, strict=True):
        matches = words.explain(query, images.take([int(image)]))
        assert sum(match.contribution for match in matches) == pytest.approx(score, abs=1e-6)
        assert all(len(match.query) and len(match.image) for match in matches)
    with pytest.raises(ArtifactError, match="holds global vectors, which have no local matches to explain"):
        vectors.explain(query, images.take([0]))


def test_the_size_of_an_index_is_told_in_words(tmp_path, codebooks):
    images = draw([5, 6, 3])
    words, vectors = (
        build(backend, [backend.encode(images, list("abc"))], 3, tmp_path / f"{kind}-index")
        for kind, backend in codebooks.items()
    )
    facts = words.manifest.facts
    expected = f"3 images, {facts['words_per_image']:.0f} words and {facts['bytes_per_image']:.0f} bytes an image"
    assert words.summary == expected and facts["words_per_image"] > 1
    assert vectors.summary == f"3 images, 4 dimensions and {(4 * 4 * 3 + 128) / 3:.0f} bytes an image"


def test_speed_is_measured_by_drawn_queries(tmp_path, codebooks):
    images = draw([5, 6, 3])
    for kind, backend in codebooks.items():
        index = build(backend, [backend.encode(images, list("abc"))], 3, tmp_path / f"{kind}-index")
        speed = index.measure(3)
        assert {"open_ms", "query_ms", "batch_ms"} <= speed.keys()
        assert min(speed.values()) > 0
    words = codebooks["asmk"]
    empty = build(words, [words.encode(draw([0, 0]), list("ab"))], 2, tmp_path / "empty")
    with pytest.raises(ParamsError, match="empty: its images have no descriptors; index other photos"):
        empty.measure(3)


def test_codes_that_do_not_fill_words_of_32_bits_are_warned_of_once(tmp_path, codebooks, caplog):
    images, backend = draw([5, 6, 3]), codebooks["asmk"]
    build(backend, [backend.encode(images, list("abc"))], 3, tmp_path / "index").prepare(images)
    assert caplog.text.count("set whitening.dim to a multiple of 32") == 1
    assert "index: codes of 6 bits: those missing to 32 count as equal" in caplog.text
    caplog.clear()
    floats = AsmkBackend(backend.codebook_folder, IndexParams(binary=False), seed=0)
    build(floats, [floats.encode(images, list("abc"))], 3, tmp_path / "floats")
    assert not caplog.text


def test_the_backend_follows_the_model(tmp_path, monkeypatch):
    words = backend_of(small("index.pack_ids=true", "seed=3", "device=cpu"), tmp_path)
    assert words == AsmkBackend(tmp_path, IndexParams(pack_ids=True), 3)
    assert backend_of(small("model.name=fire", "device=cpu"), tmp_path) == AsmkBackend(tmp_path, IndexParams(), 0)
    for name in ("mac", "spoc", "gem", "rmac", "solar", "apgem", "cfcd"):
        assert backend_of(small_global(name, "device=cpu"), tmp_path) == FlatBackend(tmp_path, IndexParams(), False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParamsError, match="device: 'cuda', but no GPU"):
        backend_of(small_global("gem", "device=cuda"), tmp_path)


@pytest.mark.parametrize("given", [{"multiple_assignment": 2}, {"binary": False}, {"pack_ids": True}])
def test_settings_of_the_index_reach_it(tmp_path, codebooks, given):
    images = draw([5, 6, 3])
    backend = AsmkBackend(codebooks["asmk"].codebook_folder, IndexParams(**given), seed=0)
    index = build(backend, [backend.encode(images, list("abc"))], 3, tmp_path / "index")
    assert index.assignment == given.get("multiple_assignment", 1)
    assert index.index.layout.binary == given.get("binary", True)
    assert index.index.layout.packed == given.get("pack_ids", False)
    assert index.manifest.facts["descriptors_per_word"] * index.manifest.facts["postings"] == pytest.approx(
        14 * given.get("multiple_assignment", 1)
    )


def test_settings_of_the_search_reach_it(tmp_path, codebooks):
    images, backend = draw([9, 6, 3]), codebooks["asmk"]
    build(backend, [backend.encode(images, list("abc"))], 3, tmp_path / "index")
    scores = {
        name: backend.open(tmp_path / "index", SearchParams(**given))
        for name, given in {
            "default": {},
            "tau": {"tau": 0.7},  # six bits of 32: u is 0.625 at least
            "alpha": {"alpha": 1.0},
            "idf": {"idf": True},
            "assignment": {"multiple_assignment": 1},
        }.items()
    }
    found = {name: index.rank(index.prepare(draw([9], seed=4)), None).score for name, index in scores.items()}
    for name in ("tau", "alpha", "idf", "assignment"):
        assert not np.allclose(found[name], found["default"], atol=1e-4), name


def test_recall_of_approximate_assignment_is_measured_on_a_sample(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "words").mkdir()
    save_codebook(
        tmp_path / "words", Codebook(rng.normal(size=(1200, 8)).astype(np.float32)), Manifest("codebook", {}, {})
    )
    backend = AsmkBackend(tmp_path / "words", IndexParams(quantisation="approximate", multiple_assignment=3), seed=0)
    asked = []

    def sample(most, rng):
        asked.append(most)
        return rng.normal(size=(400, 8)).astype(np.float32)

    (tmp_path / "index").mkdir()
    backend.build([backend.encode(draw([20, 30], dim=8), list("ab"))], 2, sample, tmp_path / "index", INPUTS)
    facts = backend.open(tmp_path / "index", SearchParams()).manifest.facts
    assert asked == [2000]
    assert [name for name in facts if name.startswith("recall@")] == ["recall@1", "recall@3", "recall@5"]
    for depth in (1, 3, 5):
        assert 0.5 < facts[f"recall@{depth}"] < 1
