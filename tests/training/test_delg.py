import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lrcr.data.dataset import open_dataset
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.features.extraction import extract_dataset
from lrcr.features.store import open_descriptors
from lrcr.losses.arcface import arcface_logits
from lrcr.models.factory import open_model
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.retrieval.queries import open_extractor
from lrcr.retrieval.searcher import Searcher
from lrcr.training.classification import ClassificationTrainer
from lrcr.training.classifier import ClassifierHead
from lrcr.training.crops import random_crop
from lrcr.training.tuples import labelled_images

from .small import copy_state, make_setup, moved, parts, run, small_global


def delg(*overrides: str):
    head = ("train.classification.head=arcface", "train.classification.scale=45.25", "train.classification.margin=0.1")
    return small_global("delg", "backbone.skip_layers=2", "pooling.projection=16", *head, *overrides)


def make_trainer(params, folder) -> ClassificationTrainer:
    setup = make_setup(params, folder)
    images, classes = labelled_images(setup.images)
    head = ClassifierHead(setup.model, int(classes.max()) + 1, 0, params.train.classification)
    return ClassificationTrainer(setup, params.train.classification, head, images, classes, 4)


@pytest.mark.parametrize("weight", [10.0, 0.5])
def test_the_loss_is_the_sum_of_its_three_parts(nine, weight):
    overrides = () if weight == 10 else (f"train.classification.reconstruction={weight}",)
    trainer = make_trainer(delg(*overrides), nine)
    head, model, ids = trainer.trained, trainer.setup.model, np.arange(18)
    images = torch.stack([random_crop(trainer.images.photos[i], 64, 0.3, seed=i) for i in ids])
    labels = torch.from_numpy(trainer.classes[ids])
    head.eval()
    with torch.no_grad():
        head.local_bias.copy_(torch.arange(9.0) / 9)
        features = model.backbone(images)
        cosines = model.embed(features) @ F.normalize(head.weights, dim=1).T
        errors, vectors = model.local_branch(features)
        local = F.cross_entropy(45.25 * vectors @ head.local_weights.T + head.local_bias, labels)
        whole = F.cross_entropy(arcface_logits(cosines, labels, 45.25, 0.1), labels)
    assert min(float(part) for part in (local, whole, errors.mean())) > 0
    found = trainer._step(ids, images)
    assert float(head.scale.detach()) != 45.25, "it is trained"
    assert found == pytest.approx((float(whole + local + weight * errors.mean()), 45.25, 0.1), rel=1e-4)


def test_every_part_and_the_scale_are_trained_in_one_phase(tmp_path, nine, changes_rewarded):
    trainer = make_trainer(delg(), nine)
    before = copy_state(trainer.trained)
    values = trainer.run_epoch(1)
    changed = moved(before, trainer.trained.state_dict())
    assert parts(changed) == {"model", "weights", "scale", "local_weights", "local_bias"}
    still = set(before) - changed
    assert {name.split(".")[-1] for name in still} <= {"running_mean", "running_var", "num_batches_tracked", "p"}
    assert values["scale"] != 45.25
    logged = run(delg("train.epochs=2", "train.classification.fine_epochs=3"), nine, tmp_path / "model.pt", nine)
    assert [line["epoch"] for line in logged] == [0, 1, 2]


def test_an_image_at_which_the_local_branch_diverges_is_named(nine):
    trainer = make_trainer(delg(), nine)
    with torch.no_grad():
        trainer.trained.local_bias[0] = torch.inf
    ids = np.arange(18)
    images = torch.zeros(18, 3, 32, 32)
    with pytest.raises(
        Exception, match=r"training: the loss is (nan|inf) at image .*\.png; lower train\.classification"
    ):
        trainer._step(ids, images)


@pytest.fixture(scope="module")
def made(tmp_path_factory, landmarks):
    folder = tmp_path_factory.mktemp("delg")
    params = delg(
        *("train.epochs=0", "extract.image_size=48", "extract.scales=[1.0, 0.7]", "extract.global_scales=[1.0, 0.5]"),
        *("extract.max_descriptors=20", "extract.min_strength=0.9", "extract.shard_size=5"),
    )
    run(params, landmarks, folder / "model.pt")
    extract_dataset(params, folder / "model.pt", landmarks, folder / "descriptors")
    make_codebook(params, folder / "fit", folder / "codebook")
    inputs = (folder / "model.pt", landmarks, folder / "descriptors", folder / "codebook")
    index_dataset(params, *inputs, folder / "index")
    return params, folder


def test_it_is_searched_by_its_vector(made, landmarks):
    params, folder = made
    result = evaluate_dataset(params, landmarks, folder / "descriptors", folder / "index")
    assert result.metrics["map"]["medium"] > 30 and result.metrics["dimensions"] == 16
    database, queries = (open_descriptors(folder / "descriptors" / part).read() for part in ("database", "queries"))
    scores = queries.vectors @ database.vectors.T
    for query in range(len(queries)):
        images, found = result.ranking.of_query(query)
        np.testing.assert_allclose(found, scores[query][images], rtol=1e-5)
    model, _ = open_model(folder / "model.pt")
    assert database.vectors.shape == (16, model.dim)


def test_its_local_descriptors_are_stored_and_the_weak_ones_are_left_out(made):
    _, folder = made
    store = open_descriptors(folder / "descriptors" / "database")
    assert store.manifest.facts["vector_dimensions"] == 16
    assert store.manifest.params["extract"]["vector_scales"] == [1.0, 0.5]
    found = store.read()
    sizes = np.diff(found.offsets)
    assert (sizes >= 1).all() and (sizes <= 20).all() and sizes.min() < 20
    assert found.strength.min() >= 0.9 and found.descriptors.shape[1] == 32
    assert set(found.scale) <= {np.float32(1.0), np.float32(0.7)}


def test_a_photo_is_described_and_found_by_the_index(made, landmarks):
    _, folder = made
    searcher = Searcher(folder / "index")
    photo = open_dataset(landmarks).photos()[3]
    found = open_extractor(searcher).describe([photo])
    assert found.vectors.shape == (1, 16)
    images, scores = searcher.search(found, 2).of_query(0)
    assert images[0] == 3 and scores[0] == pytest.approx(1, rel=1e-5)
