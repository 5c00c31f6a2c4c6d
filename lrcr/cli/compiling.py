"""`lrcr compile`."""

from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from lrcr.config.retrieval import IndexParams, SearchParams


def compile() -> None:
    """Compile search and evaluation now and store the result; otherwise their first use does it, which takes longer."""
    with TemporaryDirectory() as folder:
        _search(Path(folder))
    typer.echo("search and evaluation are compiled")


def _search(folder: Path) -> None:
    """Index a few random descriptors with the default params, search for them, and evaluate the ranking."""
    import numpy as np
    import pandas as pd

    from lrcr.evaluation.metrics import evaluate
    from lrcr.features.store import Descriptors
    from lrcr.retrieval.asmk.codebook import Codebook, save_codebook
    from lrcr.retrieval.asmk.engine import AsmkBackend
    from lrcr.storage.artifacts import Manifest

    points = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    xy = np.zeros((len(points), 2), np.float32)
    images = Descriptors(points, xy[:, 0], xy, xy[:, 0], np.array([0, 4, 8]))
    for name in ("codebook", "index"):
        (folder / name).mkdir()
    save_codebook(folder / "codebook", Codebook(points), Manifest("codebook", {}, {}))
    backend = AsmkBackend(folder / "codebook", IndexParams(), seed=0)
    part = backend.encode(images, ["a", "b"])
    backend.build([part], len(images), lambda count, rng: points, folder / "index", {})
    index = backend.open(folder / "index", SearchParams())
    ranking = index.rank(index.prepare(images), None)
    evaluate(ranking, pd.DataFrame({"query": [0], "image": [1], "grade": ["easy"]}), len(images))
