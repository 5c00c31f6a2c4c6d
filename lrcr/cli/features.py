"""The queries of `lrcr search --descriptors`: images of a features file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lrcr.cli.queries import QueryPhoto
from lrcr.errors import ArtifactError, ParamsError

if TYPE_CHECKING:
    from lrcr.retrieval.hits import Hit
    from lrcr.retrieval.photos import PhotoIndex


def find_images(file: Path, given: Sequence[Path] | None) -> list[QueryPhoto]:
    """The images of a features file that are given, each once.

    Args:
        given: names of images, and groups whose images are all taken; None: all images of the file.

    Raises:
        ArtifactError: the file is refused (`lrcr.features.hloc`), or holds no such image or group.
    """
    from lrcr.features.hloc import list_images

    names = list_images(file)
    found: list[str] = []
    for name in map(Path.as_posix, given or ()):
        images = [image for image in names if image == name or image.startswith(f"{name}/")]
        if not images:
            raise ArtifactError(f"{file}: {name!r}: no such image or group; `lrcr inspect {file} --images` lists all")
        found += images
    return [QueryPhoto(Path(name), named=True) for name in (names if given is None else dict.fromkeys(found))]


def search_features(
    index: "PhotoIndex", file: Path, top: int, *, exclude_self: bool, min_confidence: float | None
) -> "Callable[[Path], list[Hit]]":
    """A function that searches an index with the image of a name; its local descriptors are read from a file.

    Raises:
        ParamsError: the index holds global vectors.
    """
    from lrcr.features.hloc import read_features

    if not index.explains:
        raise ParamsError(f"--descriptors {file}: {index.searcher.folder} holds global vectors; search with photos")
    folder, dim = index.searcher.folder, int(index.searcher.index.manifest.facts["dim"])
    return lambda name: index.search_features(
        read_features(file, [name.as_posix()], dim, folder),
        top,
        exclude_self=exclude_self,
        min_confidence=min_confidence,
    )


def require_photos(pictures: dict[str, Path | None], moved: Sequence[Path] | None) -> None:
    """Refuse to draw images whose descriptors are the user's own if no photos of them are named.

    Raises:
        ParamsError: naming the option.
    """
    for option, picture in pictures.items():
        if picture is not None and not moved:
            raise ParamsError(
                f"--{option} {picture}: descriptors of your own have no photos; name their folder with --photos"
            )
