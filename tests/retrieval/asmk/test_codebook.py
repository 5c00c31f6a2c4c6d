import numpy as np
import pytest

from lrcr.errors import ArtifactError
from lrcr.progress import Progress
from lrcr.retrieval.asmk.codebook import Codebook, learn_codebook, open_codebook, read_centroids, save_codebook
from lrcr.storage.artifacts import Manifest

EXACT_AND_NOT = pytest.mark.parametrize("exact", [True, False])


@pytest.fixture
def codebook():
    return Codebook(np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32))


def save(folder, codebook):
    save_codebook(
        folder, codebook, Manifest("codebook", {"codebook": {"words": 20}}, {"fit": "f"}, {"source": "k-means"})
    )


def test_assign_gives_the_nearest_words_nearest_first(codebook):
    points = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    distances = np.linalg.norm(points[:, None].astype(np.float64) - codebook.centroids, axis=2)
    assigned = codebook.assign(points, 4)
    assert assigned.dtype == np.int32
    np.testing.assert_array_equal(assigned, np.argsort(distances, axis=1)[:, :4])


def test_assign_takes_halves_strided_rows_and_no_rows(codebook):
    points = np.random.default_rng(1).normal(size=(30, 6)).astype(np.float16)
    wide = points.astype(np.float32)
    np.testing.assert_array_equal(codebook.assign(points, 2), codebook.assign(wide, 2))
    np.testing.assert_array_equal(codebook.assign(wide[::2], 1), codebook.assign(wide, 1)[::2])
    assert codebook.assign(np.empty((0, 6), np.float32), 3).shape == (0, 3)


def test_assign_gives_no_more_words_than_there_are(codebook):
    assigned = codebook.assign(np.zeros((3, 6), np.float32), 99)
    np.testing.assert_array_equal(np.sort(assigned, axis=1), np.tile(np.arange(20), (3, 1)))


@pytest.fixture
def many_words():
    """5,000 words in clumps, and points near them."""
    rng = np.random.default_rng(8)
    clumps = rng.normal(size=(50, 16)).repeat(100, axis=0)
    centroids = (clumps + 0.3 * rng.normal(size=clumps.shape)).astype(np.float32)
    return centroids, centroids[::5] + 0.1 * rng.normal(size=(1000, 16)).astype(np.float32)


def test_approximate_assignment_finds_most_words_and_tells_how_many(many_words):
    centroids, points = many_words
    exact, approximate = Codebook(centroids), Codebook(centroids, approximate=True)
    truth, found = exact.assign(points, 5), approximate.assign(points, 5)
    assert found.shape == truth.shape
    assert (found >= 0).all()
    shared = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(truth, found, strict=True)])
    assert approximate.recall(points, 5) == pytest.approx(shared)
    assert 0.8 < shared < 1
    assert exact.recall(points, 5) == 1
    np.testing.assert_array_equal(found, Codebook(centroids, approximate=True).assign(points, 5))


def test_approximate_assignment_gives_as_many_words_as_asked_even_beyond_the_groups_it_looks_through(many_words):
    centroids, points = many_words
    found = Codebook(centroids, approximate=True).assign(points[:3], 5000)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.tile(np.arange(5000), (3, 1)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_assign_refuses_what_is_not_finite(codebook, value):
    points = np.zeros((5, 6), np.float32)
    points[3, 2] = value
    with pytest.raises(
        ArtifactError, match=r"descriptors: row 3 holds NaN or infinity \(1 such rows\); extract them again"
    ):
        codebook.assign(points, 1)


def test_assign_refuses_another_dimension(codebook):
    with pytest.raises(ArtifactError, match=r"shape \(2, 5\), but the codebook needs \(N, 6\); extract"):
        codebook.assign(np.zeros((2, 5), np.float32), 1)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (4,)])
def test_a_codebook_has_centroids(shape):
    with pytest.raises(ArtifactError, match="they must be"):
        Codebook(np.zeros(shape, np.float32))


@EXACT_AND_NOT
def test_k_means_finds_separate_clusters(exact):
    rng = np.random.default_rng(2)
    centres = 10.0 * np.eye(4, dtype=np.float32)
    points = np.repeat(centres, 60, axis=0) + 0.1 * rng.normal(size=(240, 4)).astype(np.float32)
    learned = learn_codebook(rng.permutation(points), 4, iterations=20, seed=3, exact=exact).centroids
    means = points.reshape(4, 60, 4).mean(axis=1)
    np.testing.assert_allclose(learned[np.argmax(learned @ centres.T, axis=0)], means, atol=1e-4)


@EXACT_AND_NOT
def test_k_means_uses_every_point(exact):
    points = np.arange(1000, dtype=np.float32)[:, None]
    learned = learn_codebook(points, 1, iterations=2, seed=0, exact=exact)
    np.testing.assert_allclose(learned.centroids, [[499.5]])


@EXACT_AND_NOT
def test_equal_seeds_give_equal_words_whatever_the_number_of_threads(exact, threads):
    points = np.random.default_rng(4).normal(size=(2000, 8)).astype(np.float32)
    first = learn_codebook(points, 16, iterations=5, seed=7, exact=exact).centroids
    with threads(2):
        second = learn_codebook(points, 16, iterations=5, seed=7, exact=exact).centroids
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, learn_codebook(points, 16, iterations=5, seed=2**60, exact=exact).centroids)


@pytest.mark.parametrize(("points", "learned"), [(5, 1), (100, 2)])
def test_too_few_descriptors_reduce_the_words_with_a_warning(points, learned, caplog, capfd):
    descriptors = np.random.default_rng(5).normal(size=(points, 3)).astype(np.float32)
    codebook = learn_codebook(descriptors, 64, iterations=3, seed=0)
    assert codebook.centroids.shape == (learned, 3)
    shown = "1 word" if learned == 1 else f"{learned} words"
    assert f"codebook: {shown} instead of 64: each needs 39 descriptors, and there are {points}" in caplog.text
    assert capfd.readouterr() == ("", "")


@EXACT_AND_NOT
def test_a_word_that_nothing_is_left_for_is_moved(exact):
    """Two places of many points: whatever k-means starts from, no word may stay without any."""
    points = np.concatenate([np.zeros((300, 2)), np.ones((90, 2))]).astype(np.float32)
    points += 1e-3 * np.random.default_rng(0).normal(size=points.shape).astype(np.float32)
    for seed in range(5):
        codebook = learn_codebook(points, 10, iterations=10, seed=seed, exact=exact)
        assert len(np.unique(codebook.assign(points, 1))) == 10


class Recorder(Progress):
    def __init__(self):
        self.tasks, self.steps = [], 0

    def task(self, description, total):
        self.tasks.append((description, total))
        return super().task(description, total)

    def advance(self, steps=1):
        self.steps += steps


def test_learning_tells_its_progress():
    points = np.random.default_rng(5).normal(size=(200, 3)).astype(np.float32)
    progress = Recorder()
    tracked = learn_codebook(points, 4, iterations=6, seed=0, progress=progress)
    assert (progress.tasks, progress.steps) == ([("learn codebook", 6)], 6)
    np.testing.assert_array_equal(tracked.centroids, learn_codebook(points, 4, iterations=6, seed=0).centroids)


def test_enough_descriptors_give_no_warning(caplog):
    learn_codebook(np.random.default_rng(5).normal(size=(78, 3)).astype(np.float32), 2, iterations=3, seed=0)
    assert caplog.text == ""


def test_learning_refuses_nothing_and_nan():
    with pytest.raises(ArtifactError, match=r"descriptors of shape \(0, 3\); extract some"):
        learn_codebook(np.empty((0, 3), np.float32), 2, iterations=1, seed=0)
    with pytest.raises(ArtifactError, match="codebook: descriptor 1 holds NaN"):
        learn_codebook(np.array([[0.0], [np.nan]], np.float32), 1, iterations=1, seed=0)


def test_a_users_centroids_are_read_as_float32(tmp_path):
    centroids = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float16)
    np.savez(tmp_path / "words.npz", centroids=centroids)
    read = read_centroids(tmp_path / "words.npz").centroids
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, centroids)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"words": np.ones((2, 2))}, "holds no array 'centroids'; store"),
        ({"centroids": np.ones(3)}, r"centroids of shape \(3,\); they must be \(words, D\)"),
        ({"centroids": np.ones((0, 3))}, r"centroids of shape \(0, 3\)"),
        ({"centroids": np.array([[1.0, np.nan]])}, "centroid 0 holds NaN or infinity"),
        ({"centroids": np.array([[1.0], [1e300]])}, "centroid 1 holds NaN or infinity"),
        ({"centroids": np.array([["a"]])}, "'centroids' holds <U1; store float32"),
        ({"centroids": np.array([[{}]], dtype=object)}, "not a readable .npz of numbers"),
    ],
)
def test_a_users_bad_centroids_are_refused_by_file(tmp_path, arrays, message):
    path = tmp_path / "words.npz"
    np.savez(path, **arrays)
    with pytest.raises(ArtifactError, match=f"words.npz: .*{message}"):
        read_centroids(path)


def test_a_users_missing_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "words.npz"
    with pytest.raises(ArtifactError, match=r"words.npz: no such file; set codebook.file"):
        read_centroids(path)
    np.savez(path, centroids=np.ones((40, 40)))
    whole = path.read_bytes()
    middle = len(whole) // 2
    spoiled = whole[:middle] + bytes(byte ^ 255 for byte in whole[middle : middle + 8]) + whole[middle + 8 :]
    for contents in (b"", b"words", whole[:-100], spoiled):
        path.write_bytes(contents)
        with pytest.raises(ArtifactError, match=r"words.npz: not a readable \.npz of numbers"):
            read_centroids(path)
    with path.open("wb") as file:
        np.save(file, np.ones((2, 2)))
    with pytest.raises(ArtifactError, match=r"words.npz: not a readable \.npz of numbers"):
        read_centroids(path)


def test_a_codebook_survives_the_disk(tmp_path, codebook):
    save(tmp_path, codebook)
    opened, manifest = open_codebook(tmp_path)
    np.testing.assert_array_equal(opened.centroids, codebook.centroids)
    assert manifest.facts.items() >= {"source": "k-means", "words": 20, "dim": 6}.items()
    assert manifest.inputs == {"fit": "f"}


def test_a_damaged_codebook_is_recognised(tmp_path, codebook):
    save(tmp_path, codebook)
    path = tmp_path / "centroids.npy"
    contents = path.read_bytes()
    for damaged in (contents[:-4], contents[:-1] + bytes([contents[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"centroids.npy: missing or altered"):
            open_codebook(tmp_path)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"centroids.npy: missing or altered"):
        open_codebook(tmp_path)


def test_a_codebook_of_another_shape_than_its_manifest_is_recognised(tmp_path, codebook):
    save(tmp_path, codebook)
    text = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace('"dim": 6', '"dim": 7'))
    with pytest.raises(
        ArtifactError, match=r"centroids.npy: float32 of shape \(20, 6\), but .* float32 of shape \(20, 7\)"
    ):
        open_codebook(tmp_path)
