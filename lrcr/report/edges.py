"""The correlation of bandwidth and image gradient: whether bandwidth is large at edges."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from lrcr.report.inspection import Inspection, Values

_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8  # a slope of 1 per pixel gives 1


@dataclass(frozen=True)
class EdgeCorrelation:
    """The mean of `correlate_with_edges` over images and its standard error; None if there are too few images."""

    mean: float | None
    standard_error: float | None
    images: int


def gradient_magnitude(photo: Image.Image, shape: tuple[int, int]) -> Values:
    """The magnitude of the Sobel gradient, averaged over the cell of each location of a map of `shape` (H, W).

    The unit is grey levels (0–1) per pixel.
    """
    grey = torch.from_numpy(np.array(ImageOps.grayscale(photo), dtype=np.float32) / 255)[None, None]
    kernels = torch.stack([_SOBEL, _SOBEL.T])[:, None]
    gradient = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)
    magnitude: Tensor = torch.linalg.vector_norm(gradient, dim=1)
    cells: Values = F.adaptive_avg_pool2d(magnitude, shape)[0].numpy()
    return cells


def correlate_with_edges(inspection: Inspection) -> float | None:
    """Spearman's rank correlation, −1…1, of bandwidth and gradient magnitude over the locations of one photo.

    Ranks are used because bandwidth a has no natural unit: in exp(−a d²), all values that are large compared with
    1 / d² give the same filter. The result is None if the correlation is not defined: the model has no bandwidth for
    each location, or bandwidth or gradient is constant.
    """
    if inspection.bandwidth is None:
        return None
    left, top, right, bottom = (
        round(part * side) for part, side in zip(inspection.window, inspection.photo.size * 2, strict=True)
    )
    covered = inspection.photo.crop((left, top, right, bottom))
    return _spearman(inspection.bandwidth, gradient_magnitude(covered, inspection.attention.shape))


def summarise(correlations: Sequence[float]) -> EdgeCorrelation:
    """The mean of the correlations of images, and its standard error."""
    images = len(correlations)
    mean = float(np.mean(correlations)) if images else None
    error = float(np.std(correlations, ddof=1) / np.sqrt(images)) if images > 1 else None
    return EdgeCorrelation(mean, error, images)


def _spearman(a: Values, b: Values) -> float | None:
    """Pearson's correlation of the ranks; equal values get their mean rank. None if one of the arrays is constant."""
    ranks = np.stack([pd.Series(values.ravel()).rank() for values in (a, b)])
    if np.ptp(ranks, axis=1).min() == 0:
        return None
    return float(np.corrcoef(ranks)[0, 1])
