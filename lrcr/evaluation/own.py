"""Evaluation of local descriptors that were computed elsewhere (`lrcr.retrieval.own`)."""

from pathlib import Path

from lrcr.config.params import Params
from lrcr.config.steps import require_steps
from lrcr.evaluation.evaluate import Result, evaluate_dataset, require_queries
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.own.build import prepare_features


def evaluate_features(
    params: Params, file: Path, photos: Path, *, fit: Path | None = None, progress: Progress = SILENT
) -> Result:
    """Measure mAP of the descriptors of a features file: codebook, index, search.

    Args:
        file: with the database and the queries; of a query with a box the keypoints in it are searched with.
        photos: a user's folder with `labels.csv` or `ground_truth.json`.
        fit: another features file, from which the codebook is learned; None: the images of the database.

    Raises:
        LrcrError: as `prepare_features`, a step of re-ranking does not fit, or there are no queries.
    """
    require_steps(params)
    with prepare_features(params, file, photos=photos, fit=fit, check=require_queries, progress=progress) as work:
        return evaluate_dataset(params, work / "dataset", work / "descriptors", work / "index")
