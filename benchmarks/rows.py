"""The rows of the comparison on one trunk: every row trains its context on the trunk's frozen maps, and all rows are
evaluated on the same photos, whose maps are computed once.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.bars import Value
from lrcr.asmk import Layout, build_index, learn_codebook, open_index
from lrcr.asmk.engine import aggregate_images
from lrcr.cli.terminal import track
from lrcr.datasets.dataset import Photo, open_dataset
from lrcr.descriptors import Descriptors, join
from lrcr.evaluation.metrics import evaluate
from lrcr.evaluation.per_query import tabulate_queries
from lrcr.evaluation.seeds import Side, compare_seeds
from lrcr.extraction import sample_photos
from lrcr.loading import load_batches
from lrcr.models.descriptors import resize
from lrcr.models.inference import ready_for_inference
from lrcr.models.local import LocalModel
from lrcr.models.zoo import open_model
from lrcr.params import Params, check_params
from lrcr.progress import ticking
from lrcr.ranking import Ranking
from lrcr.training.loop import train

CPU = torch.device("cpu")
COUNT = 1000  # descriptors an image in the tables
EQUAL_WORDS = 150  # an image, at which methods are compared at equal memory
CURVE = (200, 400, 700, 1000, 2000)
"""How many of an image's strongest descriptors are indexed, for mAP against words an image."""

_FILTER, _GCN = {"smoothing": {"kind": "learnable", "kernel": 3}}, {"graph": {"kind": "gcn"}}
KERNELS = (1, 3, 5, 7)
ROWS: dict[str, list[dict[str, Any]]] = {
    "no smoothing": [{"smoothing": {"kind": "none"}}],
    "average": [],
    "+ learnable filter": [_FILTER],
    "+ GCN": [_GCN],
    "+ both": [_FILTER, _GCN, {"train": {"merge": True}}],
    "self-attention": [{"graph": {"kind": "attention"}}],
}
"""What each row changes. The first two have nothing to train; "average" is given its kernel."""

BASELINES = ("no smoothing", "average")


@dataclass(frozen=True)
class Scored:
    """One model's evaluation at one number of descriptors: per-query AP and words an image."""

    table: pd.DataFrame
    words: float


class Arena:
    """Photos with ground truth on which models of one trunk are compared.

    Args:
        params: `extract`, `codebook`, `index` and `search` count.
        trunk: any model with the trunk.
        evaluated: folder of the dataset that is searched.
        fit: folder of the dataset the codebook is learned on; None takes the same.
    """

    def __init__(self, params: Params, trunk: LocalModel, evaluated: Path, fit: Path | None = None) -> None:
        self.params = params
        self.dataset = open_dataset(evaluated)
        extract, codebook = params.extract, params.codebook
        self.scales = list(params.scales)
        seen = sample_photos(open_dataset(fit or evaluated).photos(), codebook.images, params.seed)
        boxed = self.dataset.queries["x0"].notna() | self.dataset.queries["image"].isna()
        own = [photo for photo, alone in zip(self.dataset.query_photos(), boxed, strict=True) if alone]
        self.rows = self.dataset.queries["image"].to_numpy(float, na_value=-1).copy()
        self.rows[boxed.to_numpy()] = len(self.dataset.images) + np.arange(len(own))
        self.maps = _compute_maps(trunk, self.dataset.photos() + own, extract.image_size, self.scales)
        self.fit_maps = _compute_maps(trunk, seen, extract.image_size, params.fit_scales)

    def score(self, model: LocalModel, counts: Sequence[int], seed: int) -> dict[int, Scored]:
        """Evaluate a model at several numbers of descriptors, with the codebook of one seed."""
        settings = self.params.codebook
        fit = join([_describe(model, maps, self.params.fit_scales, settings.descriptors) for maps in self.fit_maps])
        rng = np.random.default_rng(seed)
        sample = np.sort(rng.permutation(len(fit.descriptors))[: settings.per_word * settings.words])
        codebook = learn_codebook(fit.descriptors[sample], settings.words, iterations=settings.iterations, seed=seed)
        every = [_describe(model, maps, self.scales, max(counts)) for maps in self.maps]
        scored = {}
        for count in counts:
            images = join([_strongest(image, count) for image in every])
            database = images.take(range(len(self.dataset.images)))
            queries = images.take([int(row) for row in self.rows])
            index, search = self.params.index, self.params.search
            with tempfile.TemporaryDirectory() as folder:
                aggregated = aggregate_images(database, codebook, index.assignment, binary=index.binary)
                layout = Layout(len(codebook.centroids), codebook.centroids.shape[1], index.binary)
                build_index(Path(folder), [aggregated], layout, params={}, inputs={})
                opened = open_index(Path(folder))
                asked = aggregate_images(queries, codebook, search.assignment, binary=index.binary)
                found, scores, offsets = opened.search(asked, alpha=search.alpha, tau=search.tau, idf=search.idf)
                words = float(opened.manifest.facts["words_per_image"])
            ranking = Ranking(np.repeat(np.arange(len(self.rows)), np.diff(offsets)), found, scores)
            evaluation = evaluate(ranking, self.dataset.relevance, len(self.dataset.queries))
            scored[count] = Scored(tabulate_queries(evaluation, self.dataset), words)
        return scored


def changed(params: Params, *changes: dict[str, Any]) -> Params:
    """The params with some keys of some sections replaced."""
    values = params.model_dump(mode="json")
    for change in changes:
        for section, keys in change.items():
            values[section] = {**values[section], **keys}
    return check_params(values, "benchmark")


def train_row(params: Params, train_on: Path, work: Path, val: Path | None = None) -> LocalModel:
    """Train as `lrcr train` does, and return the model ready to describe."""
    train(params, train_on, val, work / "model.pt", track=track)
    model, _ = open_model(work / "model.pt")
    return ready_for_inference(model, CPU)


def choose_kernel(params: Params, train_on: Path, validation: Arena, work: Path) -> int:
    """The kernel of the average with the best mAP (medium) on photos that are not those of the table."""
    scores = {}
    for kernel in KERNELS:
        own = changed(params, {"smoothing": {"kernel": kernel}, "train": {"epochs": 0}})
        scored = validation.score(train_row(own, train_on, work), [COUNT], params.seed)
        scores[kernel] = float(np.nanmean(scored[COUNT].table["medium"]))
    return max(scores, key=lambda kernel: scores[kernel])


@dataclass(frozen=True)
class Match:
    """Where a row learns, where the kernel of the average is chosen, and where the row is evaluated."""

    train_on: Path
    validation: Arena
    evaluated: Arena


def compare_rows(
    name: str, params: Params, matches: Sequence[Match], seeds: Sequence[int], work: Path
) -> Iterator[Value]:
    """Every row in each match under each seed, the matches' queries taken together."""
    kernels = [choose_kernel(params, match.train_on, match.validation, work / "row") for match in matches]
    for kernel in kernels:
        yield Value(f"{name}, kernel of the average, chosen on validation", kernel)
    rows: dict[str, list[dict[int, Scored]]] = {row: [] for row in ROWS}
    for seed in seeds:
        for row, changes in ROWS.items():
            parts = []
            for match, kernel in zip(matches, kernels, strict=True):
                own = changed(params, {"smoothing": {"kernel": kernel}}, *changes).model_copy(update={"seed": seed})
                model = train_row(own, match.train_on, work / "row")
                parts.append(match.evaluated.score(model, CURVE, seed))
            rows[row].append({count: _together([part[count] for part in parts]) for count in CURVE})
    yield from tell(name, rows)


def _together(parts: Sequence[Scored]) -> Scored:
    table = pd.concat([part.table for part in parts], ignore_index=True)
    return Scored(table.assign(query=range(len(table))), sum(part.words for part in parts) / len(parts))


def tell(name: str, rows: dict[str, list[dict[int, Scored]]]) -> Iterator[Value]:
    """The table's values: mAP ± over seeds, words, and the difference to the better baseline with its interval."""
    best = max(BASELINES, key=lambda row: _mean_map(rows[row], COUNT, "medium"))
    for row, seeds in rows.items():
        yield Value(f"{name}, {row}: words an image", float(np.mean([scored[COUNT].words for scored in seeds])))
        for setup in ("medium", "hard"):
            sides = ([Side(r, scored[COUNT].table) for scored in rows[r]] for r in (row, best))
            comparison = compare_seeds(*sides, setup)
            assert comparison.a is not None and comparison.difference is not None, "these datasets have many landmarks"
            yield Value(f"{name}, {row}: mAP ({setup})", comparison.a.mean)
            if comparison.a.deviation is not None:
                yield Value(f"{name}, {row}: its deviation over seeds ({setup})", comparison.a.deviation)
            if row in BASELINES:
                continue
            difference = comparison.difference
            yield Value(f"{name}, {row}: difference to {best} ({setup})", difference.mean, at_least=0)
            yield Value(f"{name}, {row}: lower end of its 95 % interval ({setup})", difference.low)
            yield Value(f"{name}, {row}: upper end of its 95 % interval ({setup})", difference.high)
    for row, seeds in rows.items():
        for setup in ("medium", "hard"):
            yield Value(f"{name}, {row}: mAP ({setup}) at {EQUAL_WORDS} words an image", _at_words(seeds, setup))
        for at in CURVE:
            words = float(np.mean([scored[at].words for scored in seeds]))
            yield Value(f"{name}, {row}: mAP (medium) at {words:.0f} words", _mean_map(seeds, at, "medium"))


def _mean_map(seeds: Sequence[dict[int, Scored]], count: int, setup: str) -> float:
    return float(np.mean([np.nanmean(scored[count].table[setup]) for scored in seeds]))


def _at_words(seeds: Sequence[dict[int, Scored]], setup: str) -> float:
    """The mAP at equal memory: interpolated on the curve of mAP against words."""
    words = [float(np.mean([scored[at].words for scored in seeds])) for at in CURVE]
    return float(np.interp(EQUAL_WORDS, words, [_mean_map(seeds, at, setup) for at in CURVE]))


@torch.inference_mode()
def _compute_maps(
    model: LocalModel, photos: Sequence[Photo], image_size: int, scales: Sequence[float]
) -> list[list[torch.Tensor]]:
    """The trunk's map of each photo at each scale at which a pixel is left, float16 of shape (1, C, H, W)."""
    found: dict[int, list[torch.Tensor]] = {}
    with ticking(track, "compute maps", len(photos)) as tick:
        for batch in load_batches(photos, image_size, 8):
            images = batch.images.contiguous(memory_format=torch.channels_last)
            maps = [model.backbone(resize(images, s)).half() for s in scales if min(images.shape[2:]) * s >= 1]
            for row, position in enumerate(batch.positions):
                found[position] = [m[row : row + 1].clone() for m in maps]
                tick()
    return [found[position] for position in range(len(photos))]


@torch.inference_mode()
def _describe(model: LocalModel, maps: Sequence[torch.Tensor], scales: Sequence[float], count: int) -> Descriptors:
    wide = [m.float().contiguous(memory_format=torch.channels_last) for m in maps]
    [local] = model.strongest(wide, list(scales)[: len(maps)], count)
    return Descriptors(
        local.descriptors.numpy(),
        local.strength.numpy(),
        local.position.numpy(),
        local.scale.numpy(),
        np.array([0, len(local.strength)], np.int64),
    )


def _strongest(image: Descriptors, count: int) -> Descriptors:
    kept = slice(0, count)
    rows = len(image.strength[kept])
    return Descriptors(
        image.descriptors[kept], image.strength[kept], image.xy[kept], image.scale[kept], np.array([0, rows], np.int64)
    )
