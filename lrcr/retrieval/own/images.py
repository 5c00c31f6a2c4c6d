"""Images of an index of the user's own descriptors: they are read again from their features file, or added from one."""

from pathlib import Path

import pandas as pd

from lrcr.errors import ArtifactError
from lrcr.features.hloc import hash_features, list_images, read_features, read_images
from lrcr.features.store import Descriptors
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.contents import has_model
from lrcr.retrieval.searcher import Searcher
from lrcr.retrieval.writer import IndexWriter, open_writer


def features_of(searcher: Searcher, name: str) -> Descriptors:
    """The local descriptors of an image of an index, read from the file that it was built from.

    Raises:
        ArtifactError: the file is missing or damaged, or holds other descriptors by now.
    """
    images = searcher.images
    [(located, root, sha256)] = images.loc[images["name"] == name, ["path", "root", "sha256"]].to_numpy().tolist()
    file = Path(searcher.index.manifest.facts["roots"][root])
    path = located.removeprefix(f"{searcher.roots[root]}/")
    local = read_features(file, [path])
    if hash_features(local) != sha256:
        raise ArtifactError(f"{file}: {path!r}: not the descriptors of {searcher.folder}; index again")
    return local


def add_features(folder: Path, file: Path, prefix: str = "", progress: Progress = SILENT) -> tuple[int, int]:
    """Add the images of a features file to an index of such files; those that it holds already are left out.

    Args:
        folder: of the index.
        prefix: before the names of all images.

    Returns:
        The numbers of images that were added, and that the index has now.

    Raises:
        ArtifactError: the index was built from photos, has another image of the same name, or is damaged or being
            changed, or the file is refused (`lrcr.features.hloc`).
    """
    with open_writer(folder) as writer:
        if has_model(writer.manifest.facts):
            raise ArtifactError(f"{folder}: was built from photos; add photos, or merge two indexes of --descriptors")
        dim = int(writer.manifest.facts["dim"])
        found = _new_images(writer, file, prefix, dim, progress)
        if len(found):
            root, size = str(file.resolve()), writer.params.extract.shard_size
            writer.move([*writer.roots, *({root} - set(writer.roots))])
            shards = [found["path"][first : first + size].tolist() for first in range(0, len(found), size)]
            parts = (writer.backend.encode(read_features(file, paths, dim), paths) for paths in shards)
            encoder = writer.local_encoder
            local = () if encoder is None else (encoder.part(read_features(file, paths, dim)) for paths in shards)
            writer.add(found.assign(root=writer.roots.index(root)), parts, local)
            writer.commit()
        return len(found), len(writer.images)


def _new_images(writer: IndexWriter, file: Path, prefix: str, dim: int, progress: Progress) -> pd.DataFrame:
    """The table of the images of a features file that an index does not hold; raises as `add_features`."""
    known = set(zip(writer.images["name"], writer.images["sha256"], strict=True))
    names, rows = list_images(file), []
    images = progress.over(read_images(file, names, dim, writer.folder), f"reading {file.name}", len(names))
    for path, image in zip(names, images, strict=True):
        if (prefix + path, sha256 := hash_features(image.local)) not in known:
            rows.append((prefix + path, path, *image.size, sha256))
    found = pd.DataFrame(rows, columns=["name", "path", "width", "height", "sha256"])
    taken = found.loc[found["name"].isin(writer.images["name"]), "name"]
    if len(taken):
        remedy = "remove it first, or give these images a --prefix"
        raise ArtifactError(f"{writer.folder}: has another image {taken.iloc[0]!r}; {remedy}")
    return found
