"""The embedded dataset: drawn buildings in three dimensions, photographed from many sides in all weathers.

It is a retrieval problem whose truth is known exactly. Buildings share styles, palettes and neighbourhoods and differ
in their layout; viewpoint, light, weather and passers-by change from view to view; grades follow from the surface that
two views really share (`grading.grade`).
"""

from lrcr.datasets.synthetic.split import RENDERER_VERSION, make_synthetic

__all__ = ["RENDERER_VERSION", "make_synthetic"]
