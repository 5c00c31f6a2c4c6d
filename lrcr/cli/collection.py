"""The commands that change an index: `lrcr add`, `remove`, `update`, `sync`, `merge` and `compact`."""

from pathlib import Path
from typing import Annotated

import typer

from lrcr.cli.options import DescriptorsFile, MovedPhotos, TolerateTruncated
from lrcr.cli.terminal import progress, say
from lrcr.cli.wording import name_tolerance
from lrcr.errors import ParamsError, counted

Index = Annotated[Path, typer.Argument(metavar="INDEX", help="Index written by `lrcr index`.")]
Prefix = Annotated[str, typer.Option("--prefix", metavar="TEXT", help="Put TEXT before the names of these images.")]


def add(
    folder: Index,
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="PHOTOS...", help="Folders of photos, and single photos.")
    ] = None,
    descriptors: DescriptorsFile = None,
    prefix: Prefix = "",
    tolerate_truncated: TolerateTruncated = False,
) -> None:
    """Add photos, or images of --descriptors, to an index; only those that are not in it yet are described."""
    if (photos is None) == (descriptors is None):
        raise ParamsError("PHOTOS: name photos, or a file with --descriptors, and not both")
    if descriptors is not None:
        from lrcr.retrieval.own.images import add_features

        added, images = add_features(folder, descriptors, prefix, progress)
        say(f"{folder}: {added} added; {counted(images, 'image')}")
        return
    from lrcr.retrieval.collection import add_photos  # imports torch, which takes seconds

    with name_tolerance(tolerated=tolerate_truncated):
        change = add_photos(folder, photos or (), prefix, progress, tolerate_truncated=tolerate_truncated)
    say(f"{folder}: {change}")


def remove(
    folder: Index,
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Names, as `lrcr inspect INDEX --images` lists them."),
    ],
) -> None:
    """Remove images from an index; the photos themselves are left alone."""
    from lrcr.retrieval.collection import remove_photos

    say(f"{folder}: {remove_photos(folder, names)}")


def update(folder: Index, moved: MovedPhotos = None, tolerate_truncated: TolerateTruncated = False) -> None:
    """Describe the photos of an index again whose files have changed."""
    from lrcr.retrieval.collection import update_photos  # imports torch, which takes seconds

    say(f"{folder}: {update_photos(folder, moved or (), progress, tolerate_truncated=tolerate_truncated)}")


def sync(
    folder: Index,
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS", help="Folder of photos, with its subfolders.")],
    tolerate_truncated: TolerateTruncated = False,
) -> None:
    """Bring an index to the state of a folder: add new photos, replace changed ones, remove missing ones."""
    from lrcr.retrieval.collection import sync_photos  # imports torch, which takes seconds

    say(f"{folder}: {sync_photos(folder, photos, progress, tolerate_truncated=tolerate_truncated)}")


def merge(
    one: Annotated[Path, typer.Argument(metavar="A", help="Index written by `lrcr index`.")],
    other: Annotated[Path, typer.Argument(metavar="B", help="Another, built with the same model and codebook.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the new index.")],
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="Put TEXT before the names of the images of B.")
    ] = "",
) -> None:
    """Write an index of the images of two."""
    from lrcr.retrieval.collection import merge_indexes
    from lrcr.retrieval.searcher import Searcher

    merge_indexes(one, other, output, prefix)
    say(f"{output}: {Searcher(output).summary}")


def compact(folder: Index) -> None:
    """Give back the space of removed images, and join what was added: the index is smaller and searched faster."""
    from lrcr.retrieval.searcher import Searcher
    from lrcr.retrieval.writer import open_writer

    with open_writer(folder) as writer:
        writer.compact()
        writer.commit()
    say(f"{folder}: {Searcher(folder).summary}")
