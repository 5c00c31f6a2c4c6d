"""The public API: what it shows, what its import costs, and the examples of all docstrings, on rendered photos."""

import doctest
import importlib
import inspect
import os
import shutil
import subprocess
import sys
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lrcr
import lrcr.api
from lrcr.config.retrieval import CodebookParams, SearchParams
from lrcr.errors import ArtifactError, ParamsError
from lrcr.evaluation.per_query import write_per_query
from lrcr.retrieval.lock import only_writer
from lrcr.storage.sources import PACKAGE

FUNCTIONS = {
    "lrcr.api": ["build_index", "evaluate", "load_model", "open_index", "train"],
    "lrcr.collections": ["cluster", "duplicates", "pairs"],
    "lrcr.comparison": ["compare"],
}
"""The functions of the API, by their module."""

QUICK = [
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
    *("whitening.dim=16", "extract.image_size=64", "extract.scales=[1.0]", "extract.max_descriptors=60"),
    "codebook.words=16",
]


def test_the_surface():
    assert lrcr.__all__ == ["LrcrError", "Progress", "asmk", *sorted(chain(*FUNCTIONS.values()))]
    assert lrcr.asmk.__all__ == ["Codebook", "Index", "build", "open_index", "train_codebook"]
    assert set(dir(lrcr)) == {*lrcr.__all__, "__version__"}
    for module in (lrcr, lrcr.asmk):
        assert all(inspect.getdoc(getattr(module, name)) for name in module.__all__)
    with pytest.raises(AttributeError, match="module 'lrcr' has no attribute 'search'"):
        lrcr.search  # noqa: B018


def test_every_function_of_the_api_is_shown():
    for module, functions in FUNCTIONS.items():
        everything = vars(importlib.import_module(module))
        defined = {name for name, value in everything.items() if getattr(value, "__module__", "") == module}
        assert {name for name in defined if not name.startswith("_")} == set(functions)


ONLY_NAMES = "import sys, lrcr; [getattr(lrcr, name) for name in lrcr.__all__ if name != 'asmk']"
COMPARE = "import sys, lrcr; lrcr.compare('a.csv', ['a.csv'])"


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import sys, lrcr; dir(lrcr)", {"torch", "numba", "faiss", "pandas", "numpy", "pydantic", "lrcr.api"}),
        (ONLY_NAMES, {"torch", "numba", "faiss", "pandas", "numpy", "pydantic"}),
        (COMPARE, {"torch", "faiss"}),
        ("import sys, lrcr.asmk", {"torch", "faiss"}),
    ],
)
def test_nothing_is_imported_before_it_is_needed(tmp_path, program, absent):
    table = pd.DataFrame({"query": [0, 1], "landmark": ["a", "b"]})
    write_per_query(tmp_path / "a.csv", table.assign(easy=50.0, medium=np.array([20.0, 80.0]), hard=np.nan))
    command = [sys.executable, "-c", f"{program}; print(*sys.modules)"]
    places = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": places}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "lrcr" in modules and not modules & absent


MODULES = [
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for file in sorted(PACKAGE.rglob("*.py"))
    if ">>>" in file.read_text()
]
PUBLIC = [
    *("lrcr.api", "lrcr", "lrcr.retrieval.hits", "lrcr.retrieval.photos", "lrcr.collections", "lrcr.comparison"),
    "lrcr.asmk",
]


def examples(module: str) -> list[doctest.DocTest]:
    """The examples of a module, in the order of its lines."""
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
    return sorted((example for example in found if example.examples), key=lambda example: example.lineno or 0)


def run(example: doctest.DocTest) -> None:
    said: list[str] = []
    result = doctest.DocTestRunner().run(example, out=said.append)
    assert result.attempted and not result.failed, "".join(said)


def test_examples_of_the_api_run_one_after_the_other(rendered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").symlink_to(rendered / "photos")
    done = [example for module in PUBLIC for example in examples(module)]
    for example in done:
        run(example)
    shown = {f"{module}.{name}" for module, functions in FUNCTIONS.items() for name in functions}
    assert shown <= {example.name for example in done}


@pytest.mark.parametrize("module", sorted(set(MODULES) - set(PUBLIC)))
def test_examples_of_other_modules_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for example in examples(module):
        run(example)


@pytest.fixture(scope="module")
def index(rendered, tmp_path_factory):
    return lrcr.build_index(rendered / "photos", tmp_path_factory.mktemp("api") / "my.index", overrides=QUICK)


def test_hits_say_what_was_found(rendered, index):
    photo = rendered / "photos/castle/02.jpg"
    hits = index.search(str(photo), top=5)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert (hits[0].path, hits[0].image, hits[0].label) == (photo, "castle/02.jpg", "castle")
    assert all(first.score >= second.score for first, second in pairwise(hits))
    assert len(index.search(photo, top=99)) == len(index) == 12
    with pytest.raises(ParamsError, match=r"^top: 0 is below 1"):
        index.search(photo, top=0)


def test_an_index_of_vectors_finds_all_images_also_those_of_negative_similarity(rendered, tmp_path):
    index = lrcr.build_index(
        rendered / "photos", tmp_path / "gem.index", overrides=["model.name=gem", "extract.image_size=64"]
    )
    hits = index.search(rendered / "photos/church/00.jpg", top=100)
    assert len(hits) == len(index.searcher.images) and hits[-1].score < 0


def test_a_box_is_what_is_searched(rendered, index):
    photo = rendered / "photos/castle/02.jpg"
    whole, part = index.search(photo), index.search(photo, box=(0, 0, 100, 100))
    assert [hit.score for hit in whole] != [hit.score for hit in part]
    assert part[0].query.xy.max() < 100 < whole[0].query.xy.max()


def test_an_explanation_adds_up_and_its_locations_are_in_both_photos(rendered, index):
    hit = index.search(rendered / "photos/castle/02.jpg")[1]
    found = index.explain(hit)
    assert sum(match.contribution for match in found.matches) == pytest.approx(hit.score, abs=1e-5)
    assert found.locations.shape == (len(found.matches), 4) and len(found.matches) > 3
    first = found.matches[0]
    expected = [*found.query[first.query].mean(axis=0), *found.hit[first.image].mean(axis=0)]
    np.testing.assert_allclose(found.locations[0], expected, rtol=1e-6)
    itself = index.explain(index.search(rendered / "photos/castle/02.jpg")[0])
    np.testing.assert_array_equal(itself.query, itself.hit)


def test_an_explanation_without_matches_has_no_locations():
    from lrcr.retrieval.hits import Explanation

    nothing = np.empty((0, 2), np.float32)
    assert Explanation(nothing, nothing, []).locations.shape == (0, 4)


def test_what_has_no_effect_is_refused(rendered, index, tmp_path):
    photos, folder = rendered / "photos", tmp_path / "my.index"
    with pytest.raises(ParamsError, match=r"search\.tau=0\.25: params of search are not stored in an index"):
        lrcr.build_index(photos, folder, overrides=["search.tau=0.25"])
    with pytest.raises(ParamsError, match="seed is decided by --model a"):
        lrcr.evaluate(photos, model="a", overrides=["seed=1"])
    with pytest.raises(ParamsError, match="codebook is decided by the index"):
        lrcr.open_index(index.searcher.folder, overrides=["codebook.words=3"])
    with pytest.raises(ParamsError, match="unknown recipe 'none'"):
        lrcr.train(photos, tmp_path / "model.safetensors", recipe="none")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_never_replaced(rendered):
    files = sorted((rendered / "photos").rglob("*"))
    for build in (lambda folder: lrcr.build_index(folder, folder), lambda folder: build_asmk(folder, *drawn())):
        with pytest.raises(ParamsError, match=r"photos: exists and is not an index; name another folder$"):
            build(rendered / "photos")
    assert sorted((rendered / "photos").rglob("*")) == files


def test_an_index_is_replaced(rendered, index, tmp_path):
    folder = tmp_path / "my.index"
    for words in (8, 16):
        built = lrcr.build_index(rendered / "photos", str(folder), overrides=[*QUICK, f"codebook.words={words}"])
        assert built.searcher.index.manifest.facts["words"] == words
    assert built.summary == index.summary


def test_words_and_ids_may_be_of_other_types_and_what_is_refused_replaces_nothing(tmp_path):
    descriptors, images, codebook = drawn()
    index = lrcr.asmk.build(tmp_path / "a.index", descriptors, images, codebook)
    wide = lrcr.asmk.Codebook(codebook.centroids.astype(np.float64))
    again = lrcr.asmk.build(tmp_path / "a.index", descriptors, images.astype(np.uint32), wide)
    for found, expected in zip(again.search(descriptors[:9]), index.search(descriptors[:9]), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(ParamsError, match=r"index\.multiple_assignment: 0 is refused"):
        lrcr.asmk.build(tmp_path / "a.index", descriptors, images, codebook, assignment=0)
    with pytest.raises(ParamsError, match=r"codebook\.words: 0 is refused"):
        lrcr.asmk.train_codebook(descriptors, 0)
    assert len(lrcr.asmk.open_index(tmp_path / "a.index")) == len(index)


def test_an_index_that_is_being_changed_is_not_replaced(rendered, tmp_path):
    folder, said = tmp_path / "my.index", r"my\.index: another process is changing it; try again when that has ended$"
    build_asmk(folder, *drawn())
    with only_writer(folder):
        with pytest.raises(ArtifactError, match=said):
            build_asmk(folder, *drawn())
        with pytest.raises(ArtifactError, match=said):
            lrcr.build_index(rendered / "photos", folder, overrides=QUICK)
    assert len(lrcr.asmk.open_index(folder)) == 20


def test_photos_that_were_moved_are_found_where_they_are_now(rendered, index, tmp_path):
    shutil.copytree(rendered / "photos", tmp_path / "now")
    photo = tmp_path / "now/castle/02.jpg"
    opened = lrcr.open_index(index.searcher.folder, photos=[str(tmp_path / "now")])
    assert opened.search(photo, top=1)[0].path == photo
    with pytest.raises(ParamsError, match=r"^--photos: 2 folders, but the images of .*my\.index lie in 1 \("):
        lrcr.open_index(index.searcher.folder, photos=[tmp_path / "now", tmp_path])


def test_seeds_are_compared_pairwise(tmp_path):
    table = pd.DataFrame({"query": range(4), "landmark": ["a", "a", "b", "b"], "easy": np.nan, "hard": np.nan})
    better, worse = table.assign(medium=[90.0, 80, 70, 60]), table.assign(medium=[85.0, 70, 65, 60])
    for name, each in (("a.csv", better), ("b.csv", worse)):
        write_per_query(tmp_path / name, each)
    a, b = tmp_path / "a.csv", str(tmp_path / "b.csv")
    alone, twice = lrcr.compare(a, b), lrcr.compare([a, a], [b, b])
    assert alone["medium"].difference.mean == twice["medium"].difference.mean == 5
    assert (alone["medium"].queries, twice["medium"].queries) == (4, 8)
    assert alone["easy"].difference is None
    with pytest.raises(ArtifactError, match="1 evaluations against 2"):
        lrcr.compare([a], (b, b))


def drawn() -> tuple[np.ndarray, np.ndarray, "lrcr.asmk.Codebook"]:
    """Descriptors of 20 images in mixed order, the image of each, and words."""
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(800, 24)).astype(np.float32)
    return (
        descriptors,
        rng.permutation(np.repeat(np.arange(20), 40)),
        lrcr.asmk.Codebook(rng.normal(size=(32, 24)).astype(np.float32)),
    )


def build_asmk(folder, descriptors, images, codebook, **settings):
    return lrcr.asmk.build(folder, descriptors, images, codebook, **settings)


@pytest.mark.parametrize("settings", [{}, {"binary": False}, {"pack_ids": True}, {"assignment": 3}])
def test_each_image_finds_itself_in_arrays_in_any_order(tmp_path, settings):
    descriptors, images, codebook = drawn()
    index = build_asmk(tmp_path / "a.index", descriptors, images, codebook, **settings)
    assert len(index) == 20
    assignment = settings.get("assignment", 1)
    found, scores = index.search(descriptors, images, top=4, assignment=assignment)
    assert found.shape == scores.shape == (20, 4)
    assert found[:, 0].tolist() == list(range(20))
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-3)
    one, alone = lrcr.asmk.open_index(str(tmp_path / "a.index")).search(
        descriptors[images == 7], top=4, assignment=assignment
    )
    np.testing.assert_array_equal(one[0], found[7])
    np.testing.assert_array_equal(alone[0], scores[7])


def test_the_defaults_are_those_of_the_params():
    defaults = {name: p.default for name, p in inspect.signature(lrcr.asmk.Index.search).parameters.items()}
    search = SearchParams()
    assert defaults["assignment"] == search.multiple_assignment
    assert all(defaults[name] == getattr(search, name) for name in ("alpha", "tau", "idf", "top"))
    iterations = inspect.signature(lrcr.asmk.train_codebook).parameters["iterations"].default
    assert iterations == CodebookParams().iterations


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    descriptors, images, codebook = drawn()
    for wrong in (images[:-1], images - 1, images.astype(float), images[:, None]):
        with pytest.raises(ArtifactError, match=r"^ids: \w+ of shape .* for 800 descriptors; give each a whole number"):
            build_asmk(tmp_path / "a.index", descriptors, wrong, codebook)
    with pytest.raises(ArtifactError, match=r"needs \(N, 24\)"):
        build_asmk(tmp_path / "a.index", descriptors[:, :9], images, codebook)
    assert not list(tmp_path.iterdir())
    index = build_asmk(tmp_path / "a.index", descriptors, images, codebook)
    with pytest.raises(ParamsError, match=r"search\.tau: -1"):
        index.search(descriptors, tau=-1)


def test_a_query_without_descriptors_is_similar_to_nothing(tmp_path):
    descriptors, images, codebook = drawn()
    index = build_asmk(tmp_path / "a.index", descriptors, images, codebook)
    found, scores = index.search(descriptors[:0], top=3)
    assert found.tolist() == [[0, 1, 2]] and scores.tolist() == [[0, 0, 0]]
    found, scores = index.search(descriptors[:40], np.full(40, 1), top=3)
    assert scores[0].tolist() == [0, 0, 0] and scores[1, 0] > 0
