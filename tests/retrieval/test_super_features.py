"""Super-features go from photos to mAP by the same functions as other local descriptors."""

import numpy as np

from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.features.store import open_descriptors

from .steps import make_all, small


def test_super_features_go_from_photos_to_map(tmp_path, landmarks):
    params = small("model.name=fire", "super_features={templates: 12, dim: 32}")
    make_all(tmp_path, params, landmarks)
    store = open_descriptors(tmp_path / "descriptors" / "database")
    one = store.image(0)
    assert one.descriptors.shape == (20, 8), "the strongest of 24 at two scales"
    assert (np.diff(one.strength) <= 0).all() and one.strength[0] == 1
    assert set(one.scale.tolist()) <= {1.0, np.float32(0.7)} and (one.xy >= 0).all()
    result = evaluate_dataset(params, landmarks, tmp_path / "descriptors", tmp_path / "index")
    assert result.metrics["map"]["medium"] > 30
    assert result.metrics["words_per_image"] > 1
