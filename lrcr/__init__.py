"""Instance-level image retrieval: the photos of a collection that show the same thing as a query photo.

This is the whole public API; every other name of the package is private. Nothing heavy is imported before it is used.

Example:
    >>> import lrcr
    >>> index = lrcr.open_index("my.index")  # of lrcr.build_index("photos", "my.index")
    >>> index.search("photos/church/00.jpg", top=1)[0].label
    'church'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lrcr.asmk as asmk
    from lrcr.api import build_index, evaluate, load_model, open_index, train
    from lrcr.collections import cluster, duplicates, pairs
    from lrcr.comparison import compare
    from lrcr.errors import LrcrError
    from lrcr.progress import Progress

__version__ = "0.1.0"
__all__ = [
    "LrcrError",
    "Progress",
    "asmk",
    "build_index",
    "cluster",
    "compare",
    "duplicates",
    "evaluate",
    "load_model",
    "open_index",
    "pairs",
    "train",
]

_COLLECTIONS = dict.fromkeys(("cluster", "duplicates", "pairs"), "collections")
_MODULES = {"LrcrError": "errors", "Progress": "progress", "asmk": "asmk", "compare": "comparison", **_COLLECTIONS}
"""The modules of the names that are not in `lrcr.api`."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'lrcr' has no attribute {name!r}")
    module = import_module(f"lrcr.{_MODULES.get(name, 'api')}")
    return module if name == "asmk" else getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
