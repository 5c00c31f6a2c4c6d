"""`lrcr compile`."""

from pathlib import Path
from tempfile import TemporaryDirectory

import typer


def compile() -> None:
    """Compile the engine now and store the result; otherwise the first use of each part does it, which takes longer."""
    with TemporaryDirectory() as folder:
        _search(Path(folder))
    typer.echo("the engine is compiled")


def _search(folder: Path) -> None:
    """Learn words; index a few random descriptors with the default params, search, evaluate, write the index again."""
    import numpy as np
    import pandas as pd

    from lrcr.config.retrieval import IndexParams, SearchParams
    from lrcr.evaluation.metrics import evaluate
    from lrcr.features.store import Descriptors
    from lrcr.retrieval.asmk.codebook import POINTS_PER_WORD, learn_codebook, save_codebook
    from lrcr.retrieval.asmk.engine import AsmkBackend
    from lrcr.storage.artifacts import Manifest

    points = np.random.default_rng(0).normal(size=(8 * POINTS_PER_WORD, 64)).astype(np.float32)
    xy = np.zeros((len(points), 2), np.float32)
    images = Descriptors(points, xy[:, 0], xy, xy[:, 0], np.array([0, len(points) // 2, len(points)]))
    for name in ("codebook", "index"):
        (folder / name).mkdir()
    codebook = learn_codebook(points, 8, iterations=3, seed=0, exact=False)
    save_codebook(folder / "codebook", codebook, Manifest("codebook", {}, {}))
    backend = AsmkBackend(folder / "codebook", IndexParams(), seed=0)
    part = backend.encode(images, ["a", "b"])
    backend.build([part], len(images), lambda count, rng: points, folder / "index", {})
    index = backend.open(folder / "index", SearchParams())
    ranking = index.rank(index.prepare(images), None)
    evaluate(ranking, pd.DataFrame({"query": [0], "image": [1], "grade": ["easy"]}), len(images))
    restored = backend.restore(folder / "index", index.manifest.facts["segments"], np.array([1, 0]))
    backend.append(folder / "index", restored, len(images), number=1)
