"""`kill -9` at random moments: each function of the stages ends as if it had not been killed, and leaves nothing over.

`make faults` kills often and tells what was survived; `make slow` kills each function a few times.
"""

import gzip
import io
import shutil
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lrcr.config.datasets import FolderParams, SyntheticParams
from lrcr.config.reading import load_params
from lrcr.datasets.checksums import Checksums
from lrcr.datasets.fetch import Fetched, Store
from lrcr.datasets.make import make_dataset
from lrcr.datasets.remote import Checksum, RemoteFile, RetryPolicy
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.retrieval.collection import add_photos, remove_photos, sync_photos
from lrcr.training.train import train

from .changing import compact, merge, remove
from .looking import look
from .survive import Survived, forking, survive
from .training import train_with_log

pytestmark = [pytest.mark.faults, pytest.mark.slow]

PARAMS = load_params(
    overrides=[
        *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
        "smoothing.kind=average",
        "whitening.dim=8",
        "whitening.images=6",
        "train.epochs=3",
        "train.pretrain.epochs=2",
        "train.pretrain.crop_size=24",
        "train.tuples.queries_per_epoch=4",
        "train.tuples.negative_pool=10",
        "train.tuples.negatives=2",
        "train.image_size=48",
        "train.validation.by=asmk",
        "train.validation.extract.image_size=48",
        "train.validation.extract.scales=[1.0]",
        "train.validation.codebook.words=8",
        "extract.image_size=64",
        "extract.compute=float32",
        "extract.scales=[1.0, 0.5]",
        "extract.max_descriptors=30",
        "extract.shard_size=4",
        "codebook.images=8",
        "codebook.words=8",
        "codebook.max_descriptors=40",
    ]
)
BOTH = pytest.mark.parametrize("threads", [1, 2])
UNTRAINED = PARAMS.model_copy(update={"train": PARAMS.train.model_copy(update={"epochs": 0})})


@pytest.fixture(scope="module")
def forker():
    with forking() as running:
        yield running


@pytest.fixture
def told(request, capsys):
    """Say in the terminal what was survived."""

    def tell(survived: Survived) -> None:
        with capsys.disabled():
            name = request.node.name.removeprefix("test_")
            print(f"\n{name}: {survived.kills} kills, {survived.midway} of them midway, all ended as undisturbed")

    return tell


@pytest.fixture(scope="module")
def made(tmp_path_factory, draw_dataset) -> Path:
    """What each function reads: a dataset, and all that is made of it."""
    base = tmp_path_factory.mktemp("made")
    draw_dataset(base / "dataset", [(64, 48)] * 12, [f"landmark {i % 4}" for i in range(12)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRCR_STATE", str(base / "state"))
        train(UNTRAINED, base / "dataset", None, base / "model.pt")
        extract_dataset(UNTRAINED, base / "model.pt", base / "dataset", base / "descriptors")
        extract_fit(UNTRAINED, base / "model.pt", base / "dataset", base / "fit")
        make_codebook(UNTRAINED, base / "fit", base / "codebook")
    return base


def test_rendering(forker, tmp_path, told):
    params = SyntheticParams(kind="synthetic", split="eval", landmarks=2, images=6, queries=2, distractors=2)
    told(survive(forker, _make, lambda work: ("drawn", params, work / "drawn"), tmp_path, "rendering"))


def test_reading_a_folder(forker, made, tmp_path, told):
    params = FolderParams(kind="folder", path=str(made / "dataset" / "images"))
    told(survive(forker, _make, lambda work: ("photos", params, work / "photos"), tmp_path, "folder"))


_make = partial(make_dataset, seed=0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """A compressed archive of 60 images, served."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for i in range(60):
            image = io.BytesIO()
            pixels = np.random.default_rng(i).integers(0, 256, (200, 300, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(image, "jpeg", quality=95)
            info = tarfile.TarInfo(f"{i}.jpg")
            info.size = len(image.getvalue())
            tar.addfile(info, io.BytesIO(image.getvalue()))
    path = tmp_path_factory.mktemp("served") / "photos.tgz"
    path.write_bytes(gzip.compress(buffer.getvalue(), 1))
    return path


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_downloading(forker, archive, tmp_path, told):
    handler = partial(_Quiet, directory=str(archive.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        file = RemoteFile("photos.tgz", (f"http://127.0.0.1:{server.server_port}/photos.tgz",), 10**8)

        def arguments(work: Path) -> tuple:
            return Store(work, Checksums(work / "checksums.json"), None, RetryPolicy(5, 3, 0.1)), file

        try:
            told(survive(forker, Store.fetch_archive, arguments, tmp_path, "downloading"))
        finally:
            server.shutdown()


def test_looking_into_archives(forker, archive, tmp_path, told):
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "photos.tar").write_bytes(gzip.decompress(archive.read_bytes()))
    fetched = [Fetched(plain / "photos.tar", Checksum(1, "ab"))]
    told(survive(forker, look, lambda work: (fetched, plain, work / "table"), tmp_path / "runs", "looking"))


@BOTH
def test_training(forker, made, tmp_path, told, threads):
    """Validation searches by ASMK, so compiled functions run between the epochs."""

    def arguments(work: Path) -> tuple:
        return PARAMS, made / "dataset", work / "model.pt"

    told(survive(forker, train_with_log, arguments, tmp_path, "training", threads))


@BOTH
def test_extraction(forker, made, tmp_path, told, threads):
    def arguments(work: Path) -> tuple:
        return UNTRAINED, made / "model.pt", made / "dataset", work / "descriptors"

    told(survive(forker, extract_dataset, arguments, tmp_path, "extraction", threads))


def test_extraction_to_learn_from(forker, made, tmp_path, told):
    def arguments(work: Path) -> tuple:
        return UNTRAINED, made / "model.pt", made / "dataset", work / "fit"

    told(survive(forker, extract_fit, arguments, tmp_path, "fit"))


@BOTH
def test_codebook(forker, made, tmp_path, told, threads):
    def arguments(work: Path) -> tuple:
        return UNTRAINED, made / "fit", work / "words"

    told(survive(forker, make_codebook, arguments, tmp_path, "codebook", threads))


def test_index_without_storing_descriptors(forker, made, tmp_path, told):
    params = UNTRAINED.model_copy(update={"extract": UNTRAINED.extract.model_copy(update={"store_descriptors": False})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRCR_STATE", str(tmp_path / "state"))
        extract_dataset(params, made / "model.pt", made / "dataset", tmp_path / "descriptors")

    def arguments(work: Path) -> tuple:
        inputs = (made / "model.pt", made / "dataset", tmp_path / "descriptors", made / "codebook")
        return params, *inputs, work / "index"

    told(survive(forker, index_dataset, arguments, tmp_path / "runs", "photos"))


@pytest.fixture(scope="module")
def indexes(made) -> Path:
    """`my.index` of twelve photos; `changed.index`, of which some were removed; and eight more photos.

    Both own their local descriptors.
    """
    photos = sorted((made / "dataset/images").glob("*.png"))
    for number in range(8):
        (made / f"more/{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.open(photos[number]).rotate(180).save(made / f"more/{number % 2}/{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRCR_STATE", str(made / "state"))
        inputs = (made / "model.pt", made / "dataset", made / "descriptors", made / "codebook")
        owning = {"index": UNTRAINED.index.model_copy(update={"local_descriptors": "float16"})}
        index_dataset(UNTRAINED.model_copy(update=owning), *inputs, made / "my.index")
        shutil.copytree(made / "my.index", made / "changed.index")
        add_photos(made / "changed.index", [made / "more/0"])
        remove_photos(made / "changed.index", ["images/3.png", "images/7.png", "2.png"])
    return made


def own(index: Path, work: Path) -> Path:
    """A copy of an index, unless it is there since the last call."""
    if not (work / index.name).exists():
        shutil.copytree(index, work / index.name)
    return work / index.name


def test_adding(forker, indexes, tmp_path, told):
    def arguments(work: Path) -> tuple:
        return own(indexes / "my.index", work), [indexes / "more"]

    told(survive(forker, add_photos, arguments, tmp_path, "adding"))


def test_bringing_up_to_date(forker, indexes, tmp_path, told):
    def arguments(work: Path) -> tuple:
        return own(indexes / "my.index", work), indexes / "more"

    told(survive(forker, sync_photos, arguments, tmp_path, "bringing up to date"))


def test_removing(forker, indexes, tmp_path, told):
    def arguments(work: Path) -> tuple:
        return own(indexes / "my.index", work), [f"images/{number}.png" for number in (0, 5, 11)]

    told(survive(forker, remove, arguments, tmp_path, "removing"))


def test_merging(forker, indexes, tmp_path, told):
    def arguments(work: Path) -> tuple:
        copies = (own(indexes / name, work) for name in ("my.index", "changed.index"))
        return *copies, work / "merged.index"

    told(survive(forker, merge, arguments, tmp_path, "merging"))


def test_compacting(forker, indexes, tmp_path, told):
    told(survive(forker, compact, lambda work: (own(indexes / "changed.index", work),), tmp_path, "compacting"))


def test_index(forker, made, tmp_path, told):
    def arguments(work: Path) -> tuple:
        inputs = (made / "model.pt", made / "dataset", made / "descriptors", made / "codebook")
        return UNTRAINED, *inputs, work / "index"

    told(survive(forker, index_dataset, arguments, tmp_path, "index"))
