"""`lrcr train`."""

import json
import re

import pytest

from lrcr.models.factory import open_model

from .command import TRUNK, lrcr, refuse, run, sets

SMALL = [
    *TRUNK,
    *sets("whitening.dim=8", "whitening.images=8", "train.epochs=1", "train.image_size=48"),
    *sets("train.pretrain.epochs=0", "train.tuples.queries_per_epoch=4", "train.tuples.negatives=1"),
]


def test_the_start_and_every_epoch_are_logged_and_the_model_says_what_it_was_trained_on(photos, tmp_path):
    file = tmp_path / "model.pt"
    code, out, err = run("train", photos, "--val", photos, "-o", file, *SMALL)
    assert (code, out) == (0, "")
    start, line = [line for line in err.splitlines() if re.match(r"epoch \d  ", line)]
    assert re.fullmatch(r"epoch 0  validation_map \d+(\.\d+)?", start) and line.startswith("epoch 1  ")
    logged = dict(pair.rsplit(" ", 1) for pair in line.split("  "))
    assert list(logged) == ["epoch", "loss", "rate", "negative_distance", "validation_map"]
    assert 0 < float(logged["loss"]) < 1 and 0 < float(logged["validation_map"]) <= 100
    written = rf"{file}: model written; best mAP on the validation photos: (.+) after epoch (\d) \((.+) at the start\)"
    best, epoch, first = re.search(written, " ".join(err.split())).groups()
    scores = [float(start.split()[-1]), float(logged["validation_map"])]
    assert (float(first), float(best)) == pytest.approx((scores[0], max(scores)), abs=0.06)
    assert int(epoch) == (scores[1] > scores[0])
    manifest = open_model(file)[1]
    assert set(manifest.inputs) == {"train", "val", "compute"}
    assert manifest.params["train"]["epochs"] == 1


def test_without_validation_photos_landmarks_are_held_out(model):
    assert set(open_model(model)[1].inputs) == {"train", "compute"}


def test_a_recipe_a_file_and_single_params(photos, tmp_path):
    """Each counts more than those before it."""
    (tmp_path / "params.yaml").write_text("seed: 5\ntrain: {tuples: {warmup_steps: 7}}\nwhitening: {dim: 24}")
    single = [*SMALL, *sets("train.tuples.group_size=1", "train.tuples.losses.asmk=0.5")]
    given = ("--recipe", "lrcr-r18", "--params", tmp_path / "params.yaml")
    lrcr("train", photos, "-o", tmp_path / "model.pt", *given, *single)
    params = open_model(tmp_path / "model.pt")[1].params
    assert (params["smoothing"]["kind"], params["graph"]["kind"]) == ("learnable", "gcn"), "of the recipe"
    assert (params["seed"], params["train"]["tuples"]["warmup_steps"]) == (5, 7), "of the file"
    assert (params["whitening"]["dim"], params["train"]["tuples"]["losses"]["asmk"]) == (8, 0.5), "of --set"
    assert json.loads(lrcr("inspect", tmp_path / "model.pt"))["params"] == params


def test_bad_input_is_one_line(photos, tmp_path):
    model = tmp_path / "model.pt"
    assert "no such folder" in refuse("train", tmp_path / "none", "-o", model)
    assert "--recipe: unknown recipe 'none'" in refuse("train", photos, "-o", model, "--recipe", "none")
    assert "train.epochs: -1 is refused" in refuse("train", photos, "-o", model, *sets("train.epochs=-1"))
    assert f"--output {tmp_path}: is a folder, not a file" in refuse("train", photos, "-o", tmp_path)
    (tmp_path / "file").touch()
    said = refuse("train", photos, "-o", tmp_path / "file/new/model.pt")
    assert said == f"--output {tmp_path}/file/new/model.pt: {tmp_path}/file is a file, not a folder; name another file"
    said = refuse("train", photos, "-o", model, *sets("extract.image_size=64"))
    assert said == "--set extract.image_size=64: has no effect on training; set extract when you index or evaluate"
    assert not model.exists()
