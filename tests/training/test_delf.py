import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lrcr.data.dataset import open_dataset
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.models.factory import open_model
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.training.classification import ClassificationTrainer
from lrcr.training.classifier import ClassifierHead
from lrcr.training.crops import random_crop
from lrcr.training.methods import method_of
from lrcr.training.phases import Phases
from lrcr.training.train import train
from lrcr.training.tuples import labelled_images
from lrcr.training.validation import make_validator
from lrcr.training.whitening import learn_whitening

from .small import (
    Killed,
    copy_state,
    kill_after_line,
    make_setup,
    moved,
    run,
    same,
    small_global,
)
from .small import weights as read_weights


def delf(*overrides: str):
    return small_global("delf", "train.classification.head=linear", *overrides)


@pytest.fixture
def phases(tmp_path, nine, monkeypatch):
    """The weights before the training, after its first phase and after its second one; the last epochs are kept."""
    params = delf()
    setup = make_setup(params, nine)
    weights, run_phase = [copy_state(setup.model)], Phases.run

    def kept(self, *given, **named):
        state = run_phase(self, *given, **named)
        weights.append(copy_state(setup.model))
        return state

    monkeypatch.setattr(Phases, "run", kept)
    scores = iter(range(9))
    method_of(params).train(setup, Phases(tmp_path, lambda: float(next(scores)), 1, lambda values: None))
    return weights


def test_the_trunk_is_trained_first_and_then_the_attention_alone(phases):
    start, first, second = phases
    names = {name for name in start if not name.endswith("num_batches_tracked")}
    trunk = {name for name in names if name.startswith("backbone.trunk.")}
    attention = {name for name in names if name.startswith("attention.")}
    assert moved(start, first) & names == trunk
    assert moved(first, second) & names == attention


def test_both_phases_are_trained_by_their_crops_and_rates(nine):
    params = delf("train.classification.crop_size=24", "train.classification.fine_crop_size=40")
    setup = make_setup(params, nine)
    images, classes = labelled_images(setup.images)
    head = ClassifierHead(setup.model, int(classes.max()) + 1, 0, params.train.classification)
    settings = params.train.classification.model_copy(update={"fine_learning_rate": 0.5})
    first, second = (
        ClassificationTrainer(setup, settings, head, images, classes, 4, attends=attends) for attends in (False, True)
    )
    assert (first.crop_size, first.rate) == (24, 0.05)
    assert (second.crop_size, second.rate) == (40, 0.5)
    assert not second.fine and second.width == 1


def test_the_loss_is_the_cross_entropy_of_a_linear_layer(nine):
    params = delf()
    setup = make_setup(params, nine)
    images, classes = labelled_images(setup.images)
    head = ClassifierHead(setup.model, int(classes.max()) + 1, 0, params.train.classification)
    with torch.no_grad():
        head.bias.copy_(torch.arange(9.0) / 9)
    trainer = ClassificationTrainer(setup, params.train.classification, head, images, classes, 4)
    ids = np.arange(18)
    batch = torch.stack([random_crop(images.photos[i], 64, 0.3, seed=i) for i in ids])
    head.eval()
    with torch.no_grad():
        logits = 32 * setup.model(batch) @ head.weights.T + head.bias
    expected = F.cross_entropy(logits, torch.from_numpy(classes[ids]))
    assert trainer._step(ids, batch) == pytest.approx((float(expected), 1.0, 0.0), rel=1e-5)
    assert head.bias.grad.norm() > 0


def test_pca_is_learned_last_from_the_trained_features(tmp_path, nine, changes_rewarded):
    params = delf("train.epochs=1", "whitening.shrinkage=0")
    run(params, nine, tmp_path / "model.pt", nine)
    setup = make_setup(params, nine)
    setup.model = open_model(tmp_path / "model.pt")[0]
    setup.maps.backbone = setup.model.backbone
    stored = copy_state(setup.model)
    setup.model.whitening.assign(np.zeros((8, 64), np.float32), np.zeros(8, np.float32))
    learn_whitening(setup.model, setup.maps, setup.images.photos, params.whitening, params.seed)
    for name, value in setup.model.state_dict().items():
        torch.testing.assert_close(value, stored[name], rtol=1e-4, atol=1e-5)
    rows = stored["whitening.weight"]
    torch.testing.assert_close(rows @ rows.T, torch.eye(8), rtol=0, atol=1e-5)  # shrinkage 0 rotates only


def test_a_killed_training_continues(tmp_path, nine, changes_rewarded):
    params = delf("train.epochs=1")
    run(params, nine, tmp_path / "whole.pt", nine)
    with pytest.raises(Killed):
        train(params, nine, nine, tmp_path / "model.pt", log=kill_after_line(3))  # the start, an epoch, the start
    run(params, nine, tmp_path / "model.pt", nine)
    assert same(read_weights(tmp_path / "whole.pt"), read_weights(tmp_path / "model.pt"))


def test_epochs_are_chosen_by_asmk_with_the_pca_of_the_moment(nine):
    params = delf("train.validation.by=null", "whitening.shrinkage=0", "train.validation.codebook.words=8")
    setup, dataset = make_setup(params, nine), open_dataset(nine)
    model, scores = setup.model, []
    assert params.validation == "asmk"
    for _ in range(2):
        model.whitening.assign(np.zeros((8, 64), np.float32), np.zeros(8, np.float32))
        scores.append(make_validator(params.train.validation, setup, dataset, params.whitening).score())
        rows = model.whitening.weight
        torch.testing.assert_close(rows @ rows.T, torch.eye(8), rtol=0, atol=1e-5)
    assert scores[0] == scores[1] > 40
    without = make_validator(params.train.validation, setup, dataset)
    model.whitening.assign(np.zeros((8, 64), np.float32), np.zeros(8, np.float32))
    assert without.score() < scores[0], "descriptors of zeros match nothing"


def test_it_goes_from_photos_to_map(tmp_path, landmarks):
    params = delf(
        *("train.epochs=0", "extract.image_size=48", "extract.scales=[1.0, 0.7]", "extract.max_descriptors=20"),
        *("codebook.words=6", "codebook.max_descriptors=20", "search.multiple_assignment=3", "search.tau=0.25"),
        *("search.idf=true", "index.binary=false"),
    )
    model, descriptors, codebook, index = (tmp_path / name for name in ("model.pt", "descriptors", "codebook", "index"))
    run(params, landmarks, model)
    extract_dataset(params, model, landmarks, descriptors)
    extract_fit(params, model, landmarks, tmp_path / "fit")
    make_codebook(params, tmp_path / "fit", codebook)
    index_dataset(params, model, landmarks, descriptors, codebook, index)
    metrics = evaluate_dataset(params, landmarks, descriptors, index).metrics
    assert metrics["map"]["medium"] > 30 and metrics["words_per_image"] > 1
