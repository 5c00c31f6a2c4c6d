"""`lrcr evaluate`."""

import json

import numpy as np
import pytest
from PIL import Image

from lrcr.evaluation.per_query import open_per_query

from .command import GLOBAL, ONE_WORD, SMALL, TRUNK, lrcr, refuse, rows, sets


def evaluate(*arguments: object) -> dict:
    return json.loads(lrcr("evaluate", *arguments, "--json"))


def test_the_table_and_the_file_say_what_json_says(photos, tmp_path):
    values = evaluate(photos, *SMALL, *ONE_WORD)
    assert values["map"]["medium"] > 60 and values["map"]["easy"] == values["map"]["medium"]
    assert values["map"]["hard"] is None
    assert values["queries"] == 12
    assert values["descriptors_per_word"] > 1
    steps = {"extract_images_per_second", "search_ms_per_query", "extract_threads", "search_threads"}
    assert set(values["cost"]) == steps
    printed = lrcr("evaluate", photos, *SMALL, *ONE_WORD, "--per-query", tmp_path / "ap.csv")
    names = {"map": "mAP", "mp@1": "mP@1", "mp@5": "mP@5", "mp@10": "mP@10"}
    assert rows(printed) == [
        [shown, f"{values[name]['easy']:.2f}", f"{values[name]['medium']:.2f}", "–"] for name, shown in names.items()
    ]
    sizes = f"words per image {values['words_per_image']:.4g}  bytes per image {values['bytes_per_image']:.4g}"
    assert f"queries 12  {sizes}  extract images per second " in printed
    table = open_per_query(tmp_path / "ap.csv")
    assert table["medium"].mean() == pytest.approx(values["map"]["medium"])
    assert table["landmark"].nunique() == 4


def test_packed_ids_change_no_ranking(photos):
    plain = evaluate(photos, *SMALL)
    packed = evaluate(photos, *SMALL, *sets("index.pack_ids=true"))
    assert packed.pop("bytes_per_image") != plain.pop("bytes_per_image")
    assert {**packed, "cost": None} == {**plain, "cost": None}


def test_global_vectors_have_dimensions_in_place_of_words(photos):
    values = evaluate(photos, *GLOBAL)
    assert values["map"]["medium"] > 60
    assert values["dimensions"] == 16
    assert "words_per_image" not in values and "localisation" not in values
    assert f"queries 12  dimensions 16  bytes per image {values['bytes_per_image']:.4g}" in lrcr(
        "evaluate", photos, *GLOBAL
    )


def test_a_trained_model_is_evaluated(photos, model):
    values = evaluate(photos, "--model", model, *SMALL[len(TRUNK) + 2 :])
    assert values["map"]["medium"] > 40
    assert values["descriptors_per_word"] != evaluate(photos, *SMALL)["descriptors_per_word"]


def test_whitening_and_codebook_are_learned_on_other_photos(photos, draw_photo, tmp_path):
    for landmark in range(4, 8):
        draw_photo(tmp_path / f"{landmark}.png", landmark, 0)
    own, other = evaluate(photos, *SMALL), evaluate(photos, *SMALL, "--codebook-photos", tmp_path)
    assert other["queries"] == 12 and other["map"]["medium"] > 60
    assert other["words_per_image"] != own["words_per_image"]


def test_boxes_of_a_folder_tell_where_a_model_looks(tmp_path):
    (tmp_path / "images").mkdir()
    for image in range(4):
        pixels = np.random.default_rng(image).integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{image}.png")
    query = {"image": "0.png", "bbox": [0, 0, 32, 48], "easy": ["1.png"]}
    (tmp_path / "ground_truth.json").write_text(json.dumps({"queries": [query]}))
    small = [*TRUNK, *sets("whitening.dim=8", "extract.image_size=64", "extract.scales=[1.0]", "codebook.words=2")]
    given = [*small, *sets("extract.max_descriptors=20")]
    where = evaluate(tmp_path, *given)["localisation"]
    assert (where["area"], where["images"]) == (50, 1)
    shares = f"{where['descriptors']:.1f} % of descriptors and {where['attention']:.1f} % of attention on the landmark"
    assert lrcr("evaluate", tmp_path, *given).endswith(f"{shares}, which covers 50.0 % (1 image)\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "smoothing.kernel=4"], "smoothing.kernel: 4 is refused: must be odd"),
        (["--set", "smoothing.kernal=3"], "smoothing.kernal: unknown key; did you mean 'kernel'?"),
        (["--set", "codebook.words=many"], "codebook.words: 'many' is refused"),
        (["--set", "train.epochs=3"], "does not train; use it with `lrcr train`"),
        (["--set", "data.train=x"], "leave data out"),
        (
            ["--per-query", "ap.txt"],
            "--per-query ap.txt: the AP of each query is written as .csv; give a name that ends in .csv",
        ),
        (["--model", "none.pt"], "backbone is decided by --model none.pt"),
        (["--set", "backbone.weights=none.npz"], "none.npz: no such file"),
        (["--set", "whitening.file=none.npz"], "none.npz: no such file"),
        (["--params", "none.yaml"], "none.yaml: no such file"),
        (["--recipe", "none"], "--recipe: unknown recipe 'none'; use one of apgem-r101, cfcd-r50, "),
        (["--codebook-photos", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_bad_input_is_one_line(photos, arguments, said):
    assert said in refuse("evaluate", photos, *TRUNK, *arguments)


def test_bad_places_are_one_line(photos, draw_photo, tmp_path):
    assert "no such folder" in refuse("evaluate", tmp_path / "none")
    assert "none.pt: no such file" in refuse("evaluate", photos, "--model", tmp_path / "none.pt")
    draw_photo(tmp_path / "plain" / "a.png", 1, 0)
    assert "has no queries" in refuse("evaluate", tmp_path / "plain", *SMALL)


def test_equal_scores_are_told(tmp_path, draw_photo):
    """Of two photos of a landmark one has a copy without a label, which comes after it by name."""
    for name, landmark, view in (("a", 0, 0), ("b", 0, 1), ("c", 0, 1), ("d", 1, 0)):
        draw_photo(tmp_path / "photos" / f"{name}.png", landmark, view)
    (tmp_path / "photos" / "labels.csv").write_text("image,label\na.png,x\nb.png,x")
    options = (*SMALL, *sets("codebook.words=4"))
    values = evaluate(tmp_path / "photos", *options)
    ties = values["ties"]["medium"]
    assert ties["share"] == 50
    assert values["map"]["medium"] - ties["expected_map"] == pytest.approx(100 * (1 - (1 + 1 / 4) / 2) / 2)
    line = f"medium: 50.00 % of the relevant images have the score of others; expected mAP {ties['expected_map']:.2f}"
    assert line in lrcr("evaluate", tmp_path / "photos", *options)


def test_without_equal_scores_nothing_is_told(photos):
    assert "ties" not in evaluate(photos, *SMALL, *ONE_WORD)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        (SMALL, "expansion", "rerank: expansion needs global vectors, and the index holds local descriptors"),
        (
            GLOBAL,
            "geometric",
            "rerank: geometric needs local descriptors, which the index does not own; build it with a model that has",
        ),
    ],
)
def test_a_rerank_step_that_does_not_fit_is_refused_before_any_work(photos, monkeypatch, options, kind, said):
    monkeypatch.setattr("lrcr.pipeline.prepare", lambda *_, **__: pytest.fail("it works"))
    assert refuse("evaluate", photos, *options, *sets(f"rerank=[{{kind: {kind}}}]")).startswith(said)
