"""The commands of `lrcr` as a user types them, on a small folder of drawn photos."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lrcr.data.dataset import Photo
from lrcr.evaluation.per_query import open_per_query
from lrcr.features.extraction import Extractor
from lrcr.retrieval.build import MODEL
from lrcr.retrieval.searcher import Searcher

SMALL = [
    *("--set", "backbone.weights=none", "--set", "backbone.skip_layers=3", "--set", "whitening.dim=16"),
    *("--set", "extract.image_size=96", "--set", "extract.scales=[1.0, 0.5]", "--set", "extract.descriptors=60"),
    *("--set", "codebook.words=16", "--set", "search.assignment=1"),
]


def draw_photo(path, landmark, view):
    """Coloured blocks that the landmark decides, with the noise of a view."""
    blocks = np.random.default_rng(landmark).integers(0, 256, (5, 6, 3)).repeat(16, axis=0).repeat(16, axis=1)
    noise = np.random.default_rng((landmark, view)).normal(0, 25, blocks.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((blocks + noise).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four landmarks, three photos each, and their labels."""
    folder = tmp_path_factory.mktemp("photos")
    rows = ["image,label"]
    for landmark in range(4):
        for view in range(3):
            draw_photo(folder / "images" / f"{landmark}" / f"{view}.png", landmark, view)
            rows.append(f"{landmark}/{view}.png,landmark-{landmark}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def lrcr(*arguments, code=0):
    command = [sys.executable, "-m", "lrcr.cli.main", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def index(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("index") / "my.index"
    lrcr("index", photos, "-o", folder, *SMALL)
    return folder


def test_search_finds_the_photo_itself_and_its_landmark(photos, index, tmp_path):
    query = photos / "images/2/1.png"
    found = json.loads(lrcr("search", index, query, "--top", 3, "--json"))
    assert [result["rank"] for result in found] == [1, 2, 3]
    assert found[0]["image"] == "2/1.png"
    assert found[0]["score"] == pytest.approx(1, abs=1e-5)
    assert {result["label"] for result in found} == {"landmark-2"}
    sheet = tmp_path / "sheet.png"
    table = lrcr("search", index, query, "--sheet", sheet, "--box", "0,0,60,60")
    assert "2/1.png" in table
    assert np.asarray(Image.open(sheet)).std() > 10


def test_a_search_explains_itself(photos, index, tmp_path):
    picture = tmp_path / "matches.png"
    found = lrcr("search", index, photos / "images/2/1.png", "--top", 3, "--explain", picture, "--json")
    assert len(json.loads(found)) == 3
    with Image.open(picture) as drawn:
        assert drawn.height == 3 * 400
    assert "name it so" in lrcr("search", index, photos / "images/2/1.png", "--explain", tmp_path / "a.gif", code=2)


def test_contributions_add_up_to_the_scores_of_an_index(photos, index):
    searcher = Searcher(index)
    extractor = Extractor(searcher.params, index / MODEL)
    query = extractor.describe([Photo(photos / "images/2/1.png", orient=True)])
    for image, score in zip(*searcher.search(query, top=5).of_query(0), strict=True):
        path = Path(searcher.images["path"][image])
        matches = searcher.explain(query, extractor.describe([Photo(path, orient=True)]))
        assert sum(match.contribution for match in matches) == pytest.approx(score, abs=1e-5)


def test_bench_measures_an_index(index):
    speed = json.loads(lrcr("bench", index, "--queries", 3, "--json"))
    assert speed["postings"] > 0
    assert speed["bytes_per_posting"] > 12
    assert min(speed.values()) > 0
    assert "a query alone, ms" in lrcr("bench", index)


def test_verify_finds_a_flipped_bit(index, tmp_path):
    assert "every file as it was written" in lrcr("verify", index)
    copy = tmp_path / "copy.index"
    shutil.copytree(index, copy)
    file = copy / "segment-0000" / "codes.npy"
    contents = bytearray(file.read_bytes())
    contents[-3] ^= 4
    file.write_bytes(contents)
    assert "codes.npy: missing or altered" in lrcr("verify", copy, code=2)


GLOBAL = [
    *SMALL[:4],
    *("--set", "extract.image_size=96", "--set", "model.name=rmac", "--set", "codebook.dim=16"),
]


@pytest.fixture(scope="module")
def global_index(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("global") / "my.index"
    lrcr("index", photos, "-o", folder, *GLOBAL)
    return folder


def test_an_index_of_global_vectors_answers_the_same_commands(photos, global_index):
    query = photos / "images/2/1.png"
    found = json.loads(lrcr("search", global_index, query, "--top", 3, "--json"))
    assert found[0]["image"] == "2/1.png" and found[0]["score"] == pytest.approx(1, abs=1e-4)
    assert {result["label"] for result in found} == {"landmark-2"}
    assert "12 images, every file as it was written" in lrcr("verify", global_index)
    assert "16 dimensions and 75 bytes an image" in lrcr("bench", global_index)


def test_global_vectors_have_nothing_to_explain(photos, global_index, tmp_path):
    error = lrcr("search", global_index, photos / "images/2/1.png", "--explain", tmp_path / "a.png", code=2)
    [line] = [line for line in error.splitlines() if line.startswith("error:")]
    assert "holds global vectors, which have no places; leave it out" in line
    assert "has no attention to draw; name a local model" in lrcr(
        "maps", photos / "images/2/1.png", "--model", global_index / MODEL, "-o", tmp_path / "a.png", code=2
    )
    assert not (tmp_path / "a.png").exists()


def test_evaluate_measures_global_vectors(photos):
    values = json.loads(lrcr("evaluate", photos, *GLOBAL, "--json"))
    assert values["map"]["medium"] > 60 and values["dimensions"] == 16
    assert "words_per_image" not in values and "localisation" not in values


def test_an_index_needs_nothing_else(index, photos, tmp_path):
    moved = tmp_path / "moved.index"
    index.rename(moved)
    try:
        assert "0/0.png" in lrcr("search", moved, photos / "images/0/0.png")
    finally:
        moved.rename(index)


def test_evaluate_prints_and_gives_json(photos, tmp_path):
    values = json.loads(lrcr("evaluate", photos, *SMALL, "--json"))
    assert values["map"]["medium"] > 60
    assert values["map"]["hard"] is None
    assert values["queries"] == 12
    assert values["descriptors_per_word"] > 1
    assert "mAP" in lrcr("evaluate", photos, *SMALL, "--ap", tmp_path / "ap.csv")
    table = open_per_query(tmp_path / "ap.csv")
    assert table["medium"].mean() == pytest.approx(values["map"]["medium"])
    assert table["landmark"].nunique() == 4
    packed = json.loads(lrcr("evaluate", photos, *SMALL, "--set", "index.packed=true", "--json"))
    assert packed["map"] == values["map"]


def test_a_trained_model_is_evaluated(photos, tmp_path):
    model = tmp_path / "model.pt"
    settings = ["train.epochs=1", "train.queries=4", "train.negatives=2", "train.image_size=64", "whitening.images=8"]
    lrcr("train", photos, "-o", model, *SMALL, *(word for value in settings for word in ("--set", value)))
    values = json.loads(lrcr("evaluate", photos, "--model", model, "--json", *SMALL[6:]))
    assert values["map"]["medium"] > 40
    described = json.loads(lrcr("inspect", model))
    assert described["kind"] == "model"
    assert described["params"]["train"]["epochs"] == 1


def test_inspect_describes_every_artifact(index):
    assert json.loads(lrcr("inspect", index))["kind"] == "index"
    assert json.loads(lrcr("inspect", index / "codebook"))["kind"] == "codebook"
    assert json.loads(lrcr("inspect", index / "images.parquet"))["rows"] == 12


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "smoothing.kernel=4"], "smoothing.kernel: 4 is refused: must be odd"),
        (["--set", "smoothing.kernal=3"], "smoothing.kernal: unknown key; did you mean 'kernel'?"),
        (["--set", "codebook.words=many"], "codebook.words: 'many' is refused"),
        (["--set", "train.epochs=3"], "does not train"),
        (["--set", "data.train=x"], "leave data out"),
        (["--ap", "ap.txt"], "--ap ap.txt: the AP of each query goes into a .csv file"),
        (["--model", "none.pt"], "backbone is decided by --model none.pt"),
        (["--set", "backbone.weights=none.npz"], "none.npz: no such file"),
        (["--set", "whitening.file=none.npz"], "none.npz: no such file"),
        (["--params", "none.yaml"], "none.yaml: no such file"),
        (["--fit", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_bad_input_is_one_line(photos, arguments, said):
    error = lrcr("evaluate", photos, *SMALL[:4], *arguments, code=2)
    lines = [line for line in error.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert said in lines[0]


def test_bad_places_are_one_line(photos, index, tmp_path):
    assert "no such folder" in lrcr("evaluate", tmp_path / "none", code=2)
    assert "none.pt: no such file" in lrcr("evaluate", photos, "--model", tmp_path / "none.pt", code=2)
    assert "no such file" in lrcr("search", tmp_path / "none", photos / "images/0/0.png", code=2)
    assert "not an image" in lrcr("search", index, photos / "labels.csv", code=2)
    assert "not four numbers" in lrcr("search", index, photos / "images/0/0.png", "--box", "1,2", code=2)
    assert "exists and is no index" in lrcr("index", photos, "-o", photos, code=2)
    assert "not an artifact" in lrcr("inspect", photos / "labels.csv", code=2)
    (tmp_path / "plain").mkdir()
    draw_photo(tmp_path / "plain" / "a.png", 1, 0)
    assert "has no queries" in lrcr("evaluate", tmp_path / "plain", *SMALL, code=2)
