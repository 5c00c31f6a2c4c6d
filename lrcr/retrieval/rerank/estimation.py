"""Robust estimation of the transformation between two images: matches that agree on it are inliers.

OpenCV's USAC (Raguram et al., TPAMI 2013) with MSAC scores (Torr, Zisserman, CVIU 2000) and local optimisation.
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import cv2

Transformation = Literal["affine", "homography"]
Points = npt.NDArray[np.floating[Any]]

_FEWEST = {"affine": 3, "homography": 4}  # matches that define a transformation: every set of so many agrees on one
_ITERATIONS, _CONFIDENCE = 1000, 0.999
_SEED = 0  # of the random samples, the same for every pair


def find_inliers(a: Points, b: Points, transformation: Transformation, tolerance: float) -> npt.NDArray[np.bool_]:
    """Which matches agree on one transformation of the points of one image to those of the other.

    The result depends on the arguments alone: not on the number of threads, nor on earlier calls.

    Args:
        a: points in one image, x and y, of shape (N, 2).
        b: the matching points in the other, of shape (N, 2).
        transformation: affine or homography.
        tolerance: largest distance of an inlier in the other image, in the unit of `b`.

    Returns:
        Of shape (N,); all False if no more matches agree than define a transformation.
    """
    import cv2

    none, fewest = np.zeros(len(a), bool), _FEWEST[transformation]
    if len(a) <= fewest:
        return none
    settings = _settings(cv2.UsacParams(), tolerance)
    estimate = cv2.estimateAffine2D if transformation == "affine" else cv2.findHomography
    found, mask = estimate(a.astype(np.float64), b.astype(np.float64), settings)
    if found is None or mask is None or int(mask.sum()) <= fewest:
        return none
    inliers: npt.NDArray[np.bool_] = mask.ravel().astype(bool)
    return inliers


def _settings(settings: "cv2.UsacParams", tolerance: float) -> "cv2.UsacParams":
    import cv2

    settings.threshold, settings.confidence, settings.maxIterations = tolerance, _CONFIDENCE, _ITERATIONS
    settings.randomGeneratorState, settings.isParallel = _SEED, False
    settings.score, settings.sampler = cv2.SCORE_METHOD_MSAC, cv2.SAMPLING_UNIFORM
    settings.loMethod, settings.loIterations, settings.loSampleSize = cv2.LOCAL_OPTIM_INNER_LO, 10, 14
    return settings
