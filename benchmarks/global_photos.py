"""Real photos: global vectors without training, with PCA whitening, compared with HOW and ASMK.

All methods use the same trunk, weights, image size, and photos to learn whitening and codebook from (those that are
searched). Local and global models use their own scales. Needs `LRCR_TEST_DATA`: a folder with `photos/` and `weights/`.
"""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.photos import recipe, test_data
from benchmarks.tables import markdown, rounded
from benchmarks.values import RESULTS, Value
from lrcr.cli.terminal import progress
from lrcr.config.datasets import FolderParams
from lrcr.config.params import Params
from lrcr.datasets.make import make_dataset
from lrcr.evaluation.evaluate import Result, evaluate_dataset
from lrcr.evaluation.protocol import SETUPS
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.storage.artifacts import staged_file
from lrcr.training.train import train

_ROWS = {
    "MAC": ("model.name=mac",),
    "SPoC": ("model.name=spoc",),
    "GeM": ("model.name=gem",),
    "R-MAC": ("model.name=rmac",),
    "HOW + ASMK": ("codebook.words=2048",),
    "HOW + ASMK, border cropped": ("codebook.words=2048", "backbone.crop_border=1"),
}
_SIZES = {"dimensions": "dimensions", "words_per_image": "words per image", "bytes_per_image": "bytes per image"}


def run() -> Iterator[Value]:
    """A row for each method with mAP, size and cost; writes the table to `results/global_photos.md`."""
    data, lines = test_data(), []
    with tempfile.TemporaryDirectory() as folder:
        photos = FolderParams(kind="folder", path=str(data / "photos"))
        make_dataset("photos", photos, Path(folder, "dataset"), seed=0, progress=progress)
        for number, (name, overrides) in enumerate(_ROWS.items()):
            result, images_per_second = evaluate(
                recipe(data, *overrides), Path(folder, "dataset"), Path(folder, f"{number}")
            )
            values = {f"mAP ({setup})": result.evaluation.map[setup] or 0.0 for setup in SETUPS}
            values |= {title: float(result.metrics.get(key, math.nan)) for key, title in _SIZES.items()}
            values |= {"images/s": images_per_second, "ms per query": result.cost["search_ms_per_query"]}
            yield from (Value(f"{name}: {what}", value) for what, value in values.items() if not math.isnan(value))
            lines.append([name, *(rounded(value) for value in values.values())])
    with staged_file(RESULTS / "global_photos.md") as temporary:
        temporary.write_text(markdown(["", *values], lines), encoding="utf-8")


def evaluate(params: Params, dataset: Path, work: Path) -> tuple[Result, float]:
    """Train, extract, index and evaluate.

    Returns:
        The result, and the speed of extraction in images per second.
    """
    model, descriptors = work / "model.safetensors", work / "descriptors"
    train(params, dataset, None, model, progress=progress)
    cost = extract_dataset(params, model, dataset, descriptors, progress)
    extract_fit(params, model, dataset, work / "fit", progress)
    make_codebook(params, work / "fit", work / "codebook", progress)
    index_dataset(params, model, dataset, descriptors, work / "codebook", work / "index", progress)
    evaluate_dataset(params, dataset, descriptors, work / "index")  # warm-up: compiles the kernels that are timed below
    return evaluate_dataset(params, dataset, descriptors, work / "index"), cost["extract_images_per_second"]
