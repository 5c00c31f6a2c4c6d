"""`lrcr evaluate` says where the model looks, in the process of the tests."""

import json

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from lrcr.cli.main import app

SMALL = [
    *("--set", "backbone.weights=none", "--set", "backbone.skip_layers=3", "--set", "whitening.dim=8"),
    *("--set", "extract.image_size=64", "--set", "extract.scales=[1.0]", "--set", "extract.descriptors=20"),
    *("--set", "codebook.words=2", "--set", "search.assignment=1"),
]


def test_boxes_of_a_folder_tell_where_a_model_looks(tmp_path):
    (tmp_path / "images").mkdir()
    for image in range(4):
        pixels = np.random.default_rng(image).integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{image}.png")
    query = {"image": "0.png", "bbox": [0, 0, 32, 48], "easy": ["1.png"]}
    (tmp_path / "ground_truth.json").write_text(json.dumps({"queries": [query]}))
    found = CliRunner().invoke(app, ["evaluate", str(tmp_path), *SMALL], catch_exceptions=False)
    assert "of attention on the landmark, which covers 50.0 % (1 images)" in " ".join(found.stdout.split())
