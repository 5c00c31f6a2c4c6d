"""Whether bandwidth is large at edges: its correlation with the gradient of the image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from lrcr.report.inspection import Inspection, Values

_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8  # a ramp of one a pixel gives one


@dataclass(frozen=True)
class EdgeCorrelation:
    """Mean over images of `correlate_with_edges` (None of no image) and its standard error (None of fewer than two)."""

    mean: float | None
    standard_error: float | None
    images: int


def gradient_magnitude(photo: Image.Image, shape: tuple[int, int]) -> Values:
    """Length of the grey image's Sobel gradient, averaged over the cell of each location of a map of `shape` (H, W).

    In grey levels (0–1) a pixel.
    """
    grey = torch.from_numpy(np.array(ImageOps.grayscale(photo), dtype=np.float32) / 255)[None, None]
    kernels = torch.stack([_SOBEL, _SOBEL.T])[:, None]
    gradient = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)
    magnitude: Tensor = torch.linalg.vector_norm(gradient, dim=1)
    cells: Values = F.adaptive_avg_pool2d(magnitude, shape)[0].numpy()
    return cells


def correlate_with_edges(insight: Inspection) -> float | None:
    """Spearman's correlation, −1…1, over one photo's locations, of bandwidth and gradient magnitude.

    Of ranks, as a bandwidth has no natural unit: exp(−a d²) turns any growth beyond the range of d² into the same
    filter. None where it is not defined: no bandwidth of each location, or the same bandwidth or gradient everywhere.
    """
    if insight.bandwidth is None:
        return None
    left, top, right, bottom = (
        round(part * side) for part, side in zip(insight.window, insight.photo.size * 2, strict=True)
    )
    covered = insight.photo.crop((left, top, right, bottom))
    return _spearman(insight.bandwidth, gradient_magnitude(covered, insight.attention.shape))


def summarise(correlations: Sequence[float]) -> EdgeCorrelation:
    """Mean and standard error of the images' correlations."""
    images = len(correlations)
    mean = float(np.mean(correlations)) if images else None
    error = float(np.std(correlations, ddof=1) / np.sqrt(images)) if images > 1 else None
    return EdgeCorrelation(mean, error, images)


def _spearman(a: Values, b: Values) -> float | None:
    """Pearson's correlation of ranks, equal values sharing their mean rank."""
    ranks = np.stack([pd.Series(values.ravel()).rank() for values in (a, b)])
    if np.ptp(ranks, axis=1).min() == 0:
        return None
    return float(np.corrcoef(ranks)[0, 1])
