"""Judgements: they are on the disk when they are answered, and `lrcr evaluate` reads what was written."""

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lrcr.app.judging import Judging
from lrcr.app.served import ServedIndex
from lrcr.app.server import make_app
from lrcr.config.datasets import FolderParams
from lrcr.data.dataset import open_dataset
from lrcr.datasets.folder import make_folder
from lrcr.errors import ArtifactError, ParamsError
from lrcr.retrieval.collection import remove_photos

from .conftest import BASE, encoded


@pytest.fixture
def judge(served, tmp_path):
    """`judge(contents, {name: mark}, box)` judges results of an upload, in `tmp_path/judged`."""
    app = make_app([served], tmp_path / "judged")
    with TestClient(app, base_url=BASE) as client:

        def judge_all(contents: bytes, marks: dict[str, str | None], box: list[float] | None = None) -> list[dict]:
            text = ",".join(map(str, box)) if box else ""
            form = {"box": text, "limit": 50}
            answer = client.post("/api/search", files={"photo": ("q.png", contents)}, data=form).json()
            photos = {result["image"]: result["photo"] for result in answer["results"]}
            for name, mark in marks.items():
                given = {"query": answer["query"]["photo"], "box": box, "photo": photos[name], "mark": mark}
                done = client.put("/api/judgements", json=given)
                assert done.status_code == 200, done.text
            return done.json()["queries"]

        judge_all.client = client
        yield judge_all


def tables(folder: Path, target: Path):
    """The dataset that `lrcr evaluate` makes of a folder."""
    target.mkdir()
    make_folder(target, "judged", FolderParams(kind="folder", path=str(folder)))
    return open_dataset(target)


def test_the_ground_truth_is_what_was_judged(judge, indexed, tmp_path):
    judge(encoded(0, 0), {"0/1.png": "easy", "0/2.png": "hard", "1/1.png": "wrong", "2/0.png": "junk"})
    judge(encoded(0, 0), {"0/1.png": "easy"}, [10, 5, 60.5, 70])
    listed = judge(encoded(3, 77), {"3/0.png": "easy", "3/1.png": "hard"})
    dataset = tables(tmp_path / "judged", tmp_path / "dataset")
    names = dataset.images["path"].str.removeprefix("images/").tolist()
    assert names == [f"photos/{landmark}/{view}.png" for landmark in range(4) for view in range(3)]
    queries = dataset.queries
    assert queries["path"].str.contains("photos/0/0.png").tolist() == [True, True, False]
    assert queries["image"].fillna(-1).tolist() == [0, 0, -1], "the last query is no image of the database"
    assert queries[["x0", "y0", "x1", "y1"]].iloc[1].tolist() == [10, 5, 60.5, 70]
    graded = {(row.query, names[row.image]): row.grade for row in dataset.relevance.itertuples()}
    assert graded == {
        **{(0, "photos/0/0.png"): "junk", (0, "photos/0/1.png"): "easy", (0, "photos/0/2.png"): "hard"},
        **{(0, "photos/2/0.png"): "junk", (1, "photos/0/0.png"): "junk", (1, "photos/0/1.png"): "easy"},
        **{(2, "photos/3/0.png"): "easy", (2, "photos/3/1.png"): "hard"},
    }
    assert listed[0]["counts"] == {"easy": 1, "hard": 1, "wrong": 1, "junk": 1}
    assert not list(indexed.glob("photos/*.json")), "the photos are only read"


def test_a_judgement_can_be_changed_and_taken_back(judge, tmp_path):
    judge(encoded(0, 0), {"0/1.png": "easy", "0/2.png": "hard"})
    judge(encoded(0, 0), {"0/1.png": "wrong", "0/2.png": None})
    stored = json.loads((tmp_path / "judged/judgements.json").read_text())
    assert [row["marks"] for row in stored["queries"]] == [{"photos/0/1.png": "wrong"}]
    assert json.loads((tmp_path / "judged/ground_truth.json").read_text())["queries"] == []
    assert judge(encoded(0, 0), {"0/1.png": None}) == []


def test_results_show_their_marks_after_a_restart(judge, served, tmp_path):
    judge(encoded(3, 77), {"3/0.png": "easy"})
    with TestClient(make_app([served], tmp_path / "judged"), base_url=BASE) as restarted:
        [query] = restarted.get("/api/judgements").json()["queries"]
        answer = restarted.post("/api/search", data={"query": query["photo"]}).json()
        marks = {result["image"]: result["mark"] for result in answer["results"]}
    assert marks["3/0.png"] == "easy" and set(marks.values()) == {"easy", None}


def test_a_server_that_was_killed_between_the_two_files_writes_the_second(judge, served, tmp_path):
    judge(encoded(0, 0), {"0/1.png": "easy"})
    truth = tmp_path / "judged/ground_truth.json"
    complete = truth.read_text()
    truth.write_text('{"queries": []}')
    Judging(tmp_path / "judged", [served])
    assert truth.read_text() == complete


@pytest.mark.parametrize("removed", [True, False])
def test_photos_that_were_deleted_are_left_out(growing, tmp_path, caplog, removed):
    marks = {"0/0.png": {"photos/0/1.png": "easy", "photos/0/2.png": "wrong"}, "1/0.png": {"photos/1/1.png": "easy"}}
    rows = [{"image": f"photos/{name}", "bbox": None, "marks": given} for name, given in marks.items()]
    (tmp_path / "judged").mkdir()
    (tmp_path / "judged/judgements.json").write_text(json.dumps({"queries": rows}))
    for name in ("0/2.png", "1/0.png"):
        (growing / "photos" / name).unlink()
    if removed:
        remove_photos(growing / "my.index", ["0/2.png", "1/0.png"])
    Judging(tmp_path / "judged", [ServedIndex(growing / "my.index", [growing / "photos"])])
    assert caplog.messages == [f"{tmp_path / 'judged'}: 2 judgements of photos that are gone left out"]
    truth = json.loads((tmp_path / "judged/ground_truth.json").read_text())
    assert [query["image"] for query in truth["queries"]] == ["photos/0/0.png"]
    assert len(tables(tmp_path / "judged", tmp_path / "dataset").images) == 10
    assert json.loads((tmp_path / "judged/judgements.json").read_text())["queries"] == rows, "they may come back"


def test_the_query_itself_is_not_judged(judge):
    client = judge.client
    answer = client.post("/api/search", files={"photo": ("q.png", encoded(0, 0))}).json()
    given = {"query": answer["query"]["photo"], "photo": answer["results"][0]["photo"], "mark": "easy"}
    refused = client.put("/api/judgements", json=given)
    assert refused.status_code == 400 and "is the query itself" in refused.json()["error"]
    outside = client.put("/api/judgements", json={**given, "photo": "0-5", "box": [0, 0, 500, 10]})
    assert outside.status_code == 400 and "outside the image" in outside.json()["error"]


def test_folders_that_hold_something_else_are_refused(served, indexed, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("mine")
    with pytest.raises(ParamsError, match="holds something else"):
        Judging(tmp_path / "other", [served])
    with pytest.raises(ParamsError, match="among the photos"):
        Judging(indexed / "photos/judged", [served])
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/judgements.json").write_text('{"queries": [{"image": 3}]}')
    with pytest.raises(ArtifactError, match="not judgements of lrcr"):
        Judging(tmp_path / "damaged", [served])
