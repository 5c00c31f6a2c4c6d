"""The synthetic dataset: three-dimensional buildings, rendered from many viewpoints in varying light and weather.

The ground truth is exact: a grade is computed from the surface that two views share (`grading.grade`). Buildings share
styles, palettes and neighbouring buildings, and differ in their layout; viewpoint, light, weather and occluders change
from view to view.
"""

from lrcr.datasets.synthetic.split import RENDERER_VERSION, make_synthetic

__all__ = ["RENDERER_VERSION", "make_synthetic"]
