"""The page of a small dataset, as a browser would read it; the ranking is drawn at random."""

import json
import subprocess
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lrcr.cli.committed import read_committed
from lrcr.data.dataset import open_dataset
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError
from lrcr.evaluation.metrics import evaluate
from lrcr.evaluation.per_query import tabulate_queries, write_per_query
from lrcr.evaluation.seeds import Side, compare_seeds
from lrcr.report.page.charts import Series, draw_chart
from lrcr.report.page.embedding import embed_picture
from lrcr.report.page.page import Committed, PageInputs, write_page
from lrcr.report.page.queries import choose_groups

EMPTY = {"meta", "img", "line", "circle", "polyline"}
COST = {
    "extract_images_per_second": 4.0,
    "extract_threads": 2,
    "search_ms_per_query": 250.0,
    "search_threads": 1,
    "rerank_ms_per_query": 1000.0,
}


class Page(HTMLParser):
    """The parts of a page; refuses elements that are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def images(self):
        sources = [image["src"] for image in self.all("img")]
        assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
        return [Image.open(BytesIO(b64decode(source.partition(",")[2]))) for source in sources]


def evaluate_at_random(dataset, seed):
    """A ranking without the images of the queries themselves, and its evaluation."""
    rng, everything = np.random.default_rng(seed), np.arange(len(dataset.images))
    images = [rng.permutation(np.delete(everything, own)) for own in dataset.queries["image"]]
    ranking = Ranking.from_queries(images, [np.linspace(1, 0, len(order), dtype=np.float32) for order in images])
    return ranking, evaluate(ranking, dataset.relevance, len(images))


@pytest.fixture(scope="module")
def committed(landmarks, tmp_path_factory):
    """Another evaluation of the same queries."""
    dataset, file = open_dataset(landmarks), tmp_path_factory.mktemp("committed") / "table.csv"
    _, evaluation = evaluate_at_random(dataset, 1)
    write_per_query(file, tabulate_queries(evaluation, dataset))
    return Committed("HEAD (1234567)", file.read_bytes(), json.dumps(evaluation.as_metrics()).encode())


def make_inputs(folder, dataset_folder):
    """The files that the stages before the report make."""
    dataset = open_dataset(dataset_folder)
    ranking, evaluation = evaluate_at_random(dataset, 0)
    ranking.save(folder / "medium.parquet")
    write_per_query(folder / "table.csv", tabulate_queries(evaluation, dataset))
    (folder / "metrics.json").write_text(json.dumps({**evaluation.as_metrics(), "words": 3, "place": {"area": 1.5}}))
    (folder / "cost.json").write_text(json.dumps(COST))
    for name in ("training", "report", "maps"):
        (folder / name).mkdir()
    (folder / "training/epoch.tsv").write_text("step\tepoch\n0\t0\n1\t1\n")
    (folder / "training/learning_rate.tsv").write_text("step\tlearning_rate\n0\t0.5\n1\t0.25\n")
    picture = Image.new("RGB", (3000, 30), "white")
    picture.paste("black", (100, 10, 2900, 20))
    picture.save(folder / "report/matches-0002.png")
    for image in range(5):
        picture.save(folder / f"maps/{image:04}.png")
    files = [folder / name for name in ("medium.parquet", "metrics.json", "cost.json", "table.csv")]
    return PageInputs(dataset_folder, *files, *(folder / name for name in ("training", "report", "maps")))


@pytest.fixture(scope="module")
def inputs(landmarks, tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"), landmarks)


@pytest.fixture(scope="module")
def page(inputs, committed, tmp_path_factory):
    """The page with everything."""
    file = tmp_path_factory.mktemp("page") / "folder/landmarks.html"
    write_page(inputs, file, committed)
    return file.read_text()


def write(inputs, tmp_path, committed=None):
    write_page(inputs, tmp_path / "page.html", committed)
    return Page((tmp_path / "page.html").read_text())


def test_the_page_needs_no_other_file(page):
    found = Page(page)
    assert "://" not in page and "@import" not in page and "url(" not in page
    assert not [tag for tag, _ in found.elements if tag in ("script", "link", "iframe")]
    ids = {attrs["id"] for _, attrs in found.elements if "id" in attrs}
    assert {link["href"] for link in found.all("a")} == {f"#{name}" for name in ids}
    assert ids == {"metrics", "curves", "queries", "maps", "matches", "time"}


def test_images_are_of_bounded_size_and_number(page):
    images = Page(page).images()
    assert max(image.width for image in images) == 1400 and max(image.height for image in images) <= 225
    assert len(images) <= 4 * 3 * 11 + 4 + 1
    assert len([image for image in images if image.width == 1400]) == 4 + 1
    assert all(image.get("alt") for image in Page(page).all("img"))


def test_differences_from_the_other_evaluation_have_their_intervals(inputs, committed, page, tmp_path):
    (tmp_path / "b.csv").write_bytes(committed.table)
    sides = [[Side(str(file), pd.read_csv(file))] for file in (inputs.table, tmp_path / "b.csv")]
    text = Page(page).text
    for setup in ("easy", "medium"):
        found = compare_seeds(*sides, setup)
        difference = found.difference
        shown = f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]".replace("-", "−")
        assert f"mAP {setup} {found.a.mean:.1f} {shown}" in text
    assert "mAP hard –" in text, "no query of this dataset has a hard image"
    assert "Differences from HEAD (1234567)" in text
    before, now = json.loads(committed.metrics)["mp@5"]["easy"], json.loads(inputs.metrics.read_text())["mp@5"]["easy"]
    assert f"mp@5 {now:.2f} {now - before:+.2f}".replace("-", "−") in text
    assert "words 3" in text and "place.area 1.50" in text


def test_without_another_evaluation_there_are_no_differences(inputs, committed, tmp_path):
    same = Committed("HEAD (7654321)", inputs.table.read_bytes(), inputs.metrics.read_bytes())
    header = committed.table.partition(b"\n")[0] + b"\n"
    others = replace(committed, table=committed.table.replace(b"landmark 0", b"landmark 9"))
    for other, sentence in (
        (None, "HEAD has no evaluation"),
        (same, "At HEAD (7654321) each query has the same AP"),
        (replace(committed, table=b"no table"), "HEAD has no evaluation"),
        (replace(committed, metrics=b"{"), "HEAD has no evaluation"),
        (replace(committed, metrics=b"[]"), "HEAD has no evaluation"),
        (replace(committed, table=header), "Not compared: this run and HEAD (1234567): 15 queries against 0"),
        (others, "Not compared: this run and HEAD (1234567): row 0: landmark"),
    ):
        page = write(inputs, tmp_path, other)
        assert sentence in page.text
        assert not [attrs for attrs in page.all("svg") if "interval" in attrs.get("class", "")]
        assert "Largest" not in page.text and "Best" in page.text


def test_queries_are_the_extremes_of_ap_and_of_its_change():
    ap = pd.DataFrame({"medium": [50.0, np.nan, 10.0, 90.0, 30.0, 70.0, 20.0]})
    before = pd.DataFrame({"medium": [50.0, np.nan, 30.0, 20.0, 30.0, 75.0, 21.0]})
    assert choose_groups(ap, None) == {"Best": [3, 5, 0], "Worst": [2, 6, 4]}
    changes = {"Largest losses": [2, 5, 6], "Largest gains": [3]}
    assert choose_groups(ap, before) == {"Best": [3, 5, 0], "Worst": [2, 6, 4]} | changes
    assert choose_groups(ap[:3], None) == {"Best": [0], "Worst": [2]}
    assert choose_groups(ap[:1], None) == {"Best": [0]}
    assert choose_groups(ap[1:2], None) == {}


def test_results_follow_the_ranking_with_their_grades(inputs, page):
    ranking, dataset = Ranking.load(inputs.ranking), open_dataset(inputs.dataset)
    ap = pd.read_csv(inputs.table)["medium"].to_numpy()
    best = int(np.argsort(ap, kind="stable")[-1])
    images = ranking.of_query(best)[0][:10]
    correct = dataset.relevance.query("query == @best")["image"].tolist()
    names = [f"images/{image}.png" for image in images]
    grades = ["easy" if image in correct else "wrong" for image in images]
    hits = [attrs for attrs in Page(page).all("figure") if attrs["class"].startswith("hit")][:10]
    assert [(hit["title"], hit["class"]) for hit in hits] == [
        (n, f"hit {g}") for n, g in zip(names, grades, strict=True)
    ]
    assert f"AP {ap[best]:.1f}" in Page(page).text


def test_time_is_that_of_all_images_and_queries(page):
    text = Page(page).text
    assert "extraction 4.0 images/s 2 4.0 s" in text, "16 images"
    assert "search 250.00 ms a query 1 3.8 s" in text, "15 queries"
    assert "re-ranking 1,000.00 ms a query 1 45.0 s" in text, "three setups"


def test_what_was_not_made_is_left_out(inputs, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "cost.json").write_text("{}")
    page = write(
        replace(inputs, training=tmp_path / "none", report=empty, maps=empty, cost=tmp_path / "cost.json"), tmp_path
    )
    assert "was not trained" in page.text and "Nothing was measured" in page.text
    assert {link["href"] for link in page.all("a")} == {"#metrics", "#curves", "#queries", "#time"}


def test_names_are_text_not_markup(draw_dataset, tmp_path):
    dataset = draw_dataset(tmp_path / "<b>&", [(48, 36)] * 6, ["a", "a", "a", "b", "b", "b"])
    inputs = make_inputs(tmp_path, dataset)
    committed = Committed("<i>", inputs.table.read_bytes(), inputs.metrics.read_bytes())
    page = write(inputs, tmp_path, committed)
    assert page.text.startswith("<b>&: report") and "At <i> each query" in page.text


def test_a_missing_input_leaves_the_last_page(inputs, tmp_path):
    (tmp_path / "page.html").write_text("last")
    with pytest.raises(ArtifactError, match="no such file"):
        write(replace(inputs, table=tmp_path / "none.csv"), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "last"


def test_a_picture_loses_its_white_border(inputs, tmp_path):
    Image.new("RGB", (8, 6), "white").save(tmp_path / "blank.png")
    [image] = Page(embed_picture(tmp_path / "blank.png", "blank")).images()
    assert image.size == (8, 6)
    [image] = Page(embed_picture(inputs.report / "matches-0002.png", "matches")).images()
    assert image.size == (1400, 5), "of 2800 × 10 pixels"


def test_lines_of_a_chart_lie_where_their_values_are():
    page = Page(draw_chart("a < b", "epoch", [Series("one", [(0, 0.0), (5, 50.0), (10, 100.0)])]))
    [line] = page.all("polyline")
    points = np.array([point.split(",") for point in line["points"].split()], float)
    assert np.allclose(points[1], points[[0, 2]].mean(axis=0), atol=0.1)
    assert points[0, 0] < points[2, 0] and points[0, 1] > points[2, 1], "up is less in SVG"
    assert "a < b" in page.text and page.all("svg")[0]["aria-label"] == "a < b"
    assert len(Page(draw_chart("", "", [Series("one", [(1, 0.5)])])).all("circle")) == 1


def test_files_of_the_last_commit_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_committed("a.txt") is None, "outside of git"
    git = "git -c user.name=test -c user.email=test@example.org"
    subprocess.run("git init -q && mkdir inside && printf 1 > inside/a.txt && git add -A", shell=True, check=True)
    assert read_committed("inside/a.txt") is None, "no commit yet"
    subprocess.run(f"{git} commit -qm state && printf 2 > inside/a.txt", shell=True, check=True)
    name = subprocess.run("git rev-parse --short HEAD", shell=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.chdir(tmp_path / "inside")
    assert read_committed("a.txt", "a.txt") == (name, [b"1", b"1"])
    assert read_committed("a.txt", "b.txt") is None
    monkeypatch.setenv("PATH", "")
    assert read_committed("a.txt") is None, "no git"
