"""Maps of some photos of a dataset, and the correlation of bandwidth and edges; the search has no effect on them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from lrcr.config.params import MODEL_SECTIONS, Params
from lrcr.data.dataset import Dataset, open_dataset
from lrcr.models.factory import open_model
from lrcr.models.inference import ready_for_inference
from lrcr.models.local import LocalModel
from lrcr.progress import SILENT, Progress
from lrcr.report.edges import correlate_with_edges, summarise
from lrcr.report.inspection import has_bandwidth_map, inspect_photo
from lrcr.report.maps import draw_maps
from lrcr.runtime.device import resolve_device
from lrcr.runtime.seeds import generator
from lrcr.storage.artifacts import require_params, staged_folder

_IMAGES, _MAPS = 50, 4  # images for the correlation, and the number of them whose maps are drawn


def draw_dataset_maps(
    params: Params, model_file: Path, dataset_folder: Path, folder: Path, progress: Progress = SILENT
) -> dict[str, Any]:
    """Draw the maps of photos that are drawn by the seed, as `<image>.png` in `folder`, which is replaced as a whole.

    Global models have no maps; their folder is empty.

    Returns:
        The metrics: `bandwidth_gradient_correlation` (`lrcr.report.edges`) over at most 50 photos that are drawn by the
        seed: `mean`, `standard_error` and the number of `images`, which is 0 if the model has no map of bandwidth.

    Raises:
        ArtifactError: an input is damaged, or the model was made with other params.
        ImageError: a photo cannot be decoded.
    """
    dataset = open_dataset(dataset_folder)
    model, manifest = open_model(model_file)
    require_params(manifest, params.sections(*MODEL_SECTIONS), model_file)
    with staged_folder(folder) as temporary:
        correlations = []
        if model.supports("attention"):
            correlations = _inspect_photos(params, dataset, cast(LocalModel, model), temporary, progress)
    return {"bandwidth_gradient_correlation": asdict(summarise(correlations))}


def _inspect_photos(
    params: Params, dataset: Dataset, model: LocalModel, folder: Path, progress: Progress
) -> list[float]:
    """Inspect photos and draw the maps of the first of them; returns the edge correlations that are defined."""
    model = ready_for_inference(model, resolve_device(params.device))
    photos, names = dataset.photos(), dataset.images["path"]
    number = _IMAGES if has_bandwidth_map(model) else _MAPS
    drawn = generator(params.seed, "report images").permutation(len(photos))[:number].tolist()
    correlations = []
    for number_done, image in enumerate(progress.over(drawn, "drawing maps", len(drawn))):
        inspection = inspect_photo(model, photos[image], params.extract.image_size)
        if number_done < _MAPS:
            draw_maps(folder / f"{image:04}.png", names[image], inspection)
        correlations.append(correlate_with_edges(inspection))
    return [correlation for correlation in correlations if correlation is not None]
