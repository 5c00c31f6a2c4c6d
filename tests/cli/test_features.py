"""Local descriptors that were computed elsewhere, through the commands: `--descriptors FILE`."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lrcr import asmk
from lrcr.api import build_index, evaluate, open_index
from lrcr.errors import ArtifactError, ParamsError
from lrcr.features.hloc import read_features
from lrcr.retrieval.photos import PhotoIndex
from lrcr.retrieval.searcher import Searcher

from .command import ONE_WORD, SMALL_EXTRACTION, TRUNK, lrcr, refuse, run, sets

LANDMARKS, VIEWS, ROWS, DIM = 4, 3, 60, 32
NAMES = [f"{landmark}/{view}.jpg" for landmark in range(LANDMARKS) for view in range(VIEWS)]
WORDS = sets("codebook.words=12", "codebook.iterations=5")


def draw(name: str, noise: float = 0.2) -> np.ndarray:
    """The descriptors of a view of a landmark, of shape (ROWS, DIM)."""
    landmark, view = int(name[0]), int(name[2])
    seen = np.random.default_rng(landmark).normal(size=(ROWS, DIM))
    return (seen + noise * np.random.default_rng((landmark, view)).normal(size=seen.shape)).astype(np.float32)


def write(file: Path, images: dict[str, np.ndarray]) -> Path:
    """A file of descriptors (N, D) as hloc stores them; keypoint i is at (i, 2 i)."""
    with h5py.File(file, "w") as opened:
        for name, rows in images.items():
            group, places = opened.create_group(name), np.arange(len(rows), dtype=np.float32)
            group["descriptors"] = rows.T
            group["keypoints"] = np.column_stack([places, 2 * places])
            group["scores"] = len(rows) - places
            group["image_size"] = np.array([200, 200])
    return file


def draw_file(file: Path, names: Iterable[str] = NAMES) -> Path:
    return write(file, {name: draw(name) for name in names})


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A folder with `all.h5` and its index `my.index`; tests do not change them."""
    folder = tmp_path_factory.mktemp("own")
    lrcr("index", "--descriptors", draw_file(folder / "all.h5"), "-o", folder / "my.index", *WORDS)
    return folder


def search(*arguments: object) -> list[dict]:
    return json.loads(lrcr("search", *arguments, "--json"))


def opened(index: Path) -> PhotoIndex:
    return open_index(index, overrides=ONE_WORD[1::2])


def scores(index: Path, file: Path) -> dict[tuple[str, str], float]:
    """The score of each query of a file and image of an index."""
    searcher, found = Searcher(index), {}
    names = searcher.images["name"].tolist()
    with h5py.File(file) as opened:
        queries = sorted({f"{group}/{name}" for group in opened for name in opened[group]})
    ranking = searcher.search(read_features(file, queries))
    for query, image, score in zip(ranking.query, ranking.image, ranking.score, strict=True):
        found[queries[query], names[image]] = float(score)
    return found


VARIANTS = {
    "how": sets("search.multiple_assignment=5"),
    "selective": sets("search.multiple_assignment=3", "search.tau=0.25"),
    "nobin": sets("search.multiple_assignment=5"),
}


def test_scores_are_those_of_the_reference(fixtures, tmp_path):
    """The arrays and the scores of the package `asmk`, of HOW's authors; float16 as they are stored."""
    parity = np.load(fixtures / "asmk.npz")
    np.savez(tmp_path / "words.npz", centroids=parity["centroids"].astype(np.float32))
    for part in ("db", "query"):
        owners = parity[f"{part}_image"]
        images = {f"{part}/{image:02}": parity[part][owners == image] for image in np.unique(owners)}
        write(tmp_path / f"{part}.h5", images)
    words = sets(f"codebook.file={tmp_path / 'words.npz'}")
    for binary in (True, False):
        settings = [*words, *sets(f"index.binary={str(binary).lower()}")]
        lrcr("index", "--descriptors", tmp_path / "db.h5", "-o", tmp_path / f"{binary}.index", *settings)
    for variant, settings in VARIANTS.items():
        expected, binary = parity[f"scores_{variant}"], variant != "nobin"
        index = tmp_path / f"{binary}.index"
        found = search(index, "--descriptors", tmp_path / "query.h5", "--top", 40, *settings)
        ours = np.zeros_like(expected)
        for row in found:
            ours[int(row["query"][-2:]), int(row["image"][-2:])] = row["score"]
        tolerance = 2e-6 if binary else 1e-4  # a score is printed with six digits; residuals are float16
        np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance, err_msg=variant)
        assert len(found) == (expected > 0).sum() >= 10


@pytest.mark.parametrize("of", ["photos", "descriptors"])
def test_unfinished_work_is_not_continued_with_other_words(photos, tmp_path, monkeypatch, of):
    """A file of words may be replaced under its name after a run that was killed."""
    words, dim = tmp_path / "words.npz", 16 if of == "photos" else DIM
    given = [photos, *TRUNK, *SMALL_EXTRACTION, *sets("whitening.dim=16")]
    if of == "descriptors":
        given = ["--descriptors", draw_file(tmp_path / "all.h5")]
    given += ["-o", tmp_path / "my.index", *sets(f"codebook.file={words}")]

    def fail(*_):
        raise ArtifactError("disk full")

    np.savez(words, centroids=np.random.default_rng(0).normal(size=(7, dim)).astype(np.float32))
    with monkeypatch.context() as patched:
        patched.setattr(f"lrcr.{'pipeline' if of == 'photos' else 'retrieval.own.build'}.index_dataset", fail)
        assert refuse("index", *given) == "disk full"
    np.savez(words, centroids=np.random.default_rng(0).normal(size=(5, dim)).astype(np.float32))
    lrcr("index", *given)
    assert json.loads(lrcr("inspect", tmp_path / "my.index"))["facts"]["words"] == 5


def test_asmk_on_arrays_takes_the_same_descriptors(own, tmp_path):
    """`lrcr.asmk` on the arrays of the file, with the codebook of the index."""
    local = read_features(own / "all.h5")
    images = np.repeat(np.arange(len(local)), np.diff(local.offsets))
    words = asmk.Codebook(np.load(own / "my.index/codebook/centroids.npy"))
    for dtype in (np.float32, np.float16):
        index = asmk.build(tmp_path / f"{np.dtype(dtype)}.index", local.descriptors.astype(dtype), images, words)
        _, found = index.search(local.descriptors, images, top=3, assignment=1)
        if dtype == np.float32:
            ranking = opened(own / "my.index").searcher.search(local, top=3)
            np.testing.assert_array_equal(found.ravel(), ranking.score)
        assert (
            index.search(local.descriptors, images, top=3, assignment=1)[0] // VIEWS == np.arange(12)[:, None] // VIEWS
        ).all()


def test_queries_are_images_groups_or_all_of_a_file(own):
    everything = search(own / "my.index", "--descriptors", own / "all.h5", "--top", 3, *ONE_WORD)
    assert [row["query"] for row in everything] == [name for name in NAMES for _ in range(3)]
    assert all(row["image"][0] == row["query"][0] for row in everything)
    assert all(row["image"] == row["query"] for row in everything if row["rank"] == 1)
    some = search(own / "my.index", "1/2.jpg", "3", "--descriptors", own / "all.h5", "--top", 3, *ONE_WORD)
    assert some == [row for row in everything if row["query"][0] == "3" or row["query"] == "1/2.jpg"]
    once = search(own / "my.index", "3/0.jpg", "3", "--descriptors", own / "all.h5", "--top", 1, *ONE_WORD)
    assert [row["query"] for row in once] == [f"3/{view}.jpg" for view in range(VIEWS)]
    others = search(own / "my.index", "1", "--descriptors", own / "all.h5", "--top", 2, "--exclude-self", *ONE_WORD)
    assert [row["image"] == row["query"] for row in others] == [False] * 6
    assert [row["rank"] for row in others] == [1, 2] * 3


def test_a_hit_is_explained_by_the_descriptors_of_the_file(own, tmp_path):
    shutil.copytree(own / "my.index", tmp_path / "my.index")
    index = opened(own / "my.index")
    query = read_features(own / "all.h5", ["2/0.jpg"])
    hit = index.search_features(query, top=2)[1]
    found = index.explain(hit)
    assert sum(match.contribution for match in found.matches) == pytest.approx(hit.score, abs=1e-6)
    x, y, *_ = found.locations[0]
    assert y - 0.5 == pytest.approx(2 * (x - 0.5))


def test_descriptors_that_have_changed_or_moved_explain_nothing(tmp_path):
    file = draw_file(tmp_path / "all.h5")
    lrcr("index", "--descriptors", file, "-o", tmp_path / "my.index", *WORDS)
    index, query = opened(tmp_path / "my.index"), read_features(file, ["2/0.jpg"])
    hit = index.search_features(query, top=1)[0]
    write(file, {name: draw(name, noise=0.5) for name in NAMES})
    with pytest.raises(Exception, match=r"all\.h5: '2/0\.jpg': not the descriptors of .*my\.index; index again"):
        index.explain(hit)
    file.unlink()
    with pytest.raises(Exception, match=r"all\.h5: no such file"):
        index.explain(hit)


def test_an_index_that_changes_has_the_scores_of_one_built_at_once(own, tmp_path):
    everything, fit = own / "all.h5", ["--codebook-descriptors", own / "all.h5", *WORDS]
    part, rest = draw_file(tmp_path / "part.h5", NAMES[:7]), draw_file(tmp_path / "rest.h5", NAMES[5:])
    index, other, merged = (tmp_path / f"{name}.index" for name in ("one", "other", "merged"))
    lrcr("index", "--descriptors", part, "-o", index, *fit)
    lrcr("index", "--descriptors", rest, "-o", other, *fit)
    expected = scores(own / "my.index", everything)
    lrcr("merge", index, other, "-o", merged)
    assert scores(merged, everything) == expected, "an image in both is there once"
    _, _, said = run("add", index, "--descriptors", rest)
    assert said.splitlines()[-1] == f"{index}: 5 added; 12 images"
    assert scores(index, everything) == expected
    lrcr("remove", index, "0/0.jpg")
    lrcr("compact", index)
    assert "12 images" not in lrcr("verify", index) and "11 images" in lrcr("verify", index)
    _, _, said = run("add", index, "--descriptors", everything)
    assert said.splitlines()[-1] == f"{index}: 1 added; 12 images" and scores(index, everything) == expected
    hit = opened(index).search_features(read_features(everything, ["3/0.jpg"]), top=1)[0]
    assert opened(index).explain(hit).matches, "read from the second file"
    changed = write(tmp_path / "changed.h5", {"0/0.jpg": draw("0/0.jpg", noise=0.9)})
    assert refuse("add", index, "--descriptors", changed) == (
        f"{index}: has another image '0/0.jpg'; remove it first, or give these images a --prefix"
    )
    run("add", index, "--descriptors", changed, "--prefix", "b/")
    assert "b/0/0.jpg" in Searcher(index).images["name"].tolist()
    hit = opened(index).search_features(read_features(changed), top=1)[0]
    assert (hit.image, len(opened(index).explain(hit).matches) > 5) == ("b/0/0.jpg", True)


def test_an_index_that_owns_local_descriptors_grows_and_its_export_is_read(own, tmp_path):
    first, index = draw_file(tmp_path / "first.h5", NAMES[:3]), tmp_path / "my.index"
    lrcr("index", "--descriptors", first, "-o", index, *WORDS, *sets("index.local_descriptors=float16"))
    lrcr("add", index, "--descriptors", own / "all.h5", "--prefix", "p/")
    local = Searcher(index).local
    assert local is not None and len(local) == 15
    unit = draw("0/1.jpg") / np.linalg.norm(draw("0/1.jpg"), axis=1, keepdims=True)
    np.testing.assert_allclose(local.of_image(4).descriptors, unit, atol=1e-3, err_msg="p/0/1.jpg")
    lrcr("export", index, "-o", tmp_path / "exported.h5")
    assert json.loads(lrcr("inspect", tmp_path / "exported.h5"))["descriptors"] == [15 * ROWS, DIM]
    np.testing.assert_allclose(read_features(tmp_path / "exported.h5", ["p/0/1.jpg"]).descriptors, unit, atol=1e-3)


def test_what_the_index_and_the_file_are(own):
    facts = json.loads(lrcr("inspect", own / "my.index"))["facts"]
    assert (facts["images"], facts["dim"], facts["roots"]) == (12, DIM, [str((own / "all.h5").resolve())])
    assert json.loads(lrcr("inspect", own / "all.h5")) == {
        "kind": "features file",
        "images": 12,
        "first": NAMES[:3],
        "descriptors": [12 * ROWS, DIM],
    }
    assert lrcr("inspect", own / "all.h5", "--images").splitlines() == NAMES
    assert json.loads((own / "my.index/params.json").read_text()).keys() == {"seed", "device", "codebook", "index"}
    assert json.loads(lrcr("bench", own / "my.index", "--queries", 1, "--json"))["postings"] > 0


def photos_of(folder: Path, **files: object) -> Path:
    folder.mkdir()
    (folder / "labels.csv").write_text("\n".join(["image,label", *(f"{name},{name[0]}" for name in NAMES)]))
    for name, contents in files.items():
        (folder / f"{name}.json").write_text(json.dumps(contents))
    return folder


def test_labels_or_a_ground_truth_measure_map(own, tmp_path):
    labelled = photos_of(tmp_path / "labelled")
    found = json.loads(lrcr("evaluate", labelled, "--descriptors", own / "all.h5", *WORDS, *ONE_WORD, "--json"))
    assert (found["map"]["medium"], found["queries"]) == (100, 12)
    query = {"image": "0/0.jpg", "bbox": [0, 0, 100, 100], "easy": ["0/1.jpg"], "hard": ["0/2.jpg"]}
    truth = {"database": NAMES[1:], "queries": [query]}
    graded = photos_of(tmp_path / "graded", ground_truth=truth)
    found = json.loads(lrcr("evaluate", graded, "--descriptors", own / "all.h5", *WORDS, *ONE_WORD, "--json"))
    assert (found["map"]["medium"], found["map"]["hard"], found["queries"]) == (100, 100, 1)
    lrcr("index", graded, "--descriptors", own / "all.h5", "-o", tmp_path / "my.index", *WORDS)
    table = Searcher(tmp_path / "my.index").images
    assert (table["name"].tolist(), table["label"].tolist()) == (NAMES[1:], [name[0] for name in NAMES[1:]])


def test_a_query_with_a_box_has_the_descriptors_in_it(own, tmp_path):
    """Keypoint i is at (i, 2 i) from the centre of the first pixel: of 60, 20 are in the box."""
    query = {"image": "0/0.jpg", "bbox": [10, 0, 200, 60], "easy": ["0/1.jpg"]}
    asked = photos_of(tmp_path / "asked", ground_truth={"queries": [query]})
    from lrcr.config.given import params_of_descriptors
    from lrcr.features.store import open_descriptors
    from lrcr.retrieval.own.build import prepare_features

    params = params_of_descriptors(None, WORDS[1::2], None, searches=True)
    with prepare_features(params, own / "all.h5", photos=asked) as work:
        found = open_descriptors(work / "descriptors/queries").read()
    np.testing.assert_array_equal(found.descriptors, draw("0/0.jpg")[10:30])
    (asked / "ground_truth.json").write_text(json.dumps({"queries": [{**query, "bbox": [100, 0, 101, 1]}]}))
    said = refuse("evaluate", asked, "--descriptors", own / "all.h5", *WORDS)
    assert said.startswith(
        f"{own / 'all.h5'}: '0/0.jpg': no keypoint is in the box [100.0, 0.0, 101.0, 1.0] of a query"
    )


def test_what_does_not_go_together_is_refused_in_one_line(own, index, global_index, photos, tmp_path):
    mine, file = own / "my.index", own / "all.h5"
    photo = photos / "images/0/0.png"
    no_model = f"{mine}: holds descriptors of your own, and no model of photos; "
    pairs = ("pairs", mine, "-o", tmp_path / "pairs.txt", "--queries", photos)
    for command in (("search", mine, photo), ("add", mine, photo), pairs):
        assert refuse(*command) == f"{no_model}`lrcr search` and `lrcr add` take --descriptors FILE instead"
    for command in (("update", mine), ("sync", mine, photos)):
        assert refuse(*command) == f"{no_model}`lrcr remove` images, then `lrcr add` them with --descriptors FILE"
    for command in ("cluster", "duplicates"):
        assert "no photos; name their folder with --photos" in refuse(command, mine, "--plot", tmp_path / "a.png")
    of_photos = shutil.copytree(index, tmp_path / "photos.index")  # a writer leaves its lock there
    assert "was built from photos; add photos" in refuse("add", of_photos, "--descriptors", file)
    assert "holds global vectors; search with photos" in refuse("search", global_index, "--descriptors", file)
    assert f"'0/0.jpg': descriptors of 32 dimensions, not 16 as in {index}; describe" in refuse(
        "search", index, "--descriptors", file
    )
    assert "its codebook/centroids.npy is not that" in refuse("merge", mine, of_photos, "-o", tmp_path / "m.index")
    place = ("-o", tmp_path / "new.index")
    assert refuse("index", *place) == "PHOTOS: missing; name a folder of photos, or a file with --descriptors"
    assert refuse("search", mine) == "QUERY: missing; name photos, or a file with --descriptors"
    assert "not both" in refuse("add", mine, photo, "--descriptors", file)
    for option in ("--model", "--codebook-photos"):
        said = refuse("index", "--descriptors", file, *place, option, photos)
        assert said == f"{option}: has no effect on --descriptors; leave it out"
    assert "without --descriptors" in refuse("index", photos, *place, "--codebook-descriptors", file)
    for override in ("extract.image_size=64", "model.name=gem", "codebook.images=3", "train.epochs=1"):
        assert "has no effect on --descriptors" in refuse("index", "--descriptors", file, *place, *sets(override))
    assert "not stored in an index" in refuse("index", "--descriptors", file, *place, *sets("search.tau=0.5"))
    assert refuse("search", mine, "--descriptors", file, "--mirror").startswith("--mirror: has no effect")
    assert "no photos; name their folder with --photos" in refuse(
        "search", mine, "--descriptors", file, "--plot", tmp_path / "a.png"
    )
    said = refuse("search", mine, "9", "--descriptors", file)
    assert said == f"{file}: '9': no such image or group; `lrcr inspect {file} --images` lists all"
    unlabelled = tmp_path / "unlabelled"
    unlabelled.mkdir()
    assert refuse("evaluate", unlabelled, "--descriptors", file).startswith(
        "unlabelled: has no queries; give the folder"
    )
    step = ("--descriptors", file, *WORDS, *sets("rerank=[{kind: expansion}]"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lrcr.evaluation.own.prepare_features", lambda *_, **__: pytest.fail("it works"))
        assert refuse("evaluate", photos, *step).startswith("rerank: expansion needs global vectors")
    assert not (tmp_path / "new.index").exists()


def test_the_api_takes_descriptors_too(own, tmp_path):
    file, photos = own / "all.h5", photos_of(tmp_path / "labelled")
    index = build_index(photos, tmp_path / "my.index", descriptors=str(file), overrides=WORDS[1::2])
    assert index.searcher.images["label"].notna().all()
    assert scores(tmp_path / "my.index", file) == scores(own / "my.index", file)
    result = evaluate(photos, descriptors=file, codebook_descriptors=file, overrides=[*WORDS, *ONE_WORD][1::2])
    assert result.metrics["map"]["medium"] == 100
    for call in (build_index, evaluate):
        place = (tmp_path / "new.index",) if call is build_index else ()
        with pytest.raises(ParamsError, match=r"^--model: has no effect on --descriptors"):
            call(photos, *place, descriptors=file, model="a.safetensors")
        with pytest.raises(ParamsError, match=r"^--codebook-descriptors .*: has no effect without --descriptors"):
            call(photos, *place, codebook_descriptors=file)
    with pytest.raises(ParamsError, match=r"^PHOTOS: missing"):
        build_index(None, tmp_path / "new.index")


def test_a_bad_file_is_refused_in_one_line_and_leaves_nothing(own, tmp_path):
    bad = write(tmp_path / "bad.h5", {"a.jpg": draw("0/0.jpg"), "b.jpg": draw("0/0.jpg")[:, :16]})
    said = f"{bad}: 'b.jpg': descriptors of 16 dimensions, not 32; describe all images alike"
    labelled = photos_of(tmp_path / "labelled")
    assert refuse("index", "--descriptors", bad, "-o", tmp_path / "my.index") == said
    assert refuse("evaluate", labelled, "--descriptors", bad) == said
    said_of_index = said.replace("32;", f"32 as in {own / 'my.index'};")
    assert refuse("add", own / "my.index", "--descriptors", bad) == said_of_index
    few = write(tmp_path / "few.h5", {"a": draw("0/0.jpg")[:, :16]})
    said = refuse("index", "--descriptors", own / "all.h5", "--codebook-descriptors", few, "-o", tmp_path / "my.index")
    assert said == f"{few}: 'a': descriptors of 16 dimensions, not 32; describe all images alike"
    only = draw_file(tmp_path / "only.h5", NAMES[:3])
    said = refuse("evaluate", labelled, "--descriptors", only)
    assert "line 5 names '1/0.jpg', which is not under only.h5/" in said
    assert {path.name for path in tmp_path.iterdir()} == {"bad.h5", "few.h5", "only.h5", "labelled"}


def test_pictures_show_the_photos_that_are_named(photos, tmp_path):
    """The photos of the other tests have names of another suffix."""
    names = [f"{landmark}/{view}.png" for landmark in range(LANDMARKS) for view in range(VIEWS)]
    file = draw_file(tmp_path / "all.h5", names)
    lrcr("index", "--descriptors", file, "-o", tmp_path / "my.index", *WORDS)
    pictures = ["--plot", tmp_path / "a.png", "--plot-matches", tmp_path / "b.png"]
    lrcr("search", tmp_path / "my.index", names[0], "--descriptors", file, "--photos", photos / "images", *pictures)
    assert (tmp_path / "a.png").stat().st_size > 1000 and (tmp_path / "b.png").stat().st_size > 1000


def test_sift_finds_photos_of_the_same_building(test_data, tmp_path):
    """RootSIFT of nine real photos, of three buildings."""
    import cv2

    images, sift = test_data / "photos/images", cv2.SIFT_create(300)
    folders = [folder for folder in sorted(images.iterdir()) if len(list(folder.glob("*.jpg"))) >= 6][:3]
    described = {}
    for file in (file for folder in folders for file in sorted(folder.glob("*.jpg"))[:3]):
        grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        _, rows = sift.detectAndCompute(grey, None)
        described[file.relative_to(images).as_posix()] = np.sqrt(rows / rows.sum(axis=1, keepdims=True))
    file, index = write(tmp_path / "sift.h5", described), tmp_path / "my.index"
    lrcr("index", "--descriptors", file, "-o", index, *sets("codebook.words=64", "codebook.iterations=5"))
    found = search(index, "--descriptors", file, "--exclude-self", "--top", 1)
    right = [Path(row["image"]).parent == Path(row["query"]).parent for row in found]
    assert len(found) == len(described) == 9 and sum(right) >= 6, f"by chance {9 * 2 / 8:.2f}"
