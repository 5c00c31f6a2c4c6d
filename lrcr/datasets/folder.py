"""A user's folder of photos as a dataset. The folder is read, never written.

    photos/images/**            the images (formats: `lrcr.data.formats`); hidden files and folders are skipped
    photos/labels.csv           optional: columns `image,label`; an empty label means no label
    photos/ground_truth.json    optional: {"database": [names]?, "queries": [{"image": name, "bbox": [x0, y0, x1, y1]?,
                                "easy": [names]?, "hard": [names]?, "junk": [names]?}]}
    photos/regions.csv          optional: columns `image,x0,y0,x1,y1,score`; boxes of objects, one a line

Names are relative to `images/`, with `/` between folders; without a folder `images/` they are relative to the user's
folder itself. They are UTF-8 and case-sensitive, and compared in Unicode normal form. A box is in pixels of the image
as a viewer shows it, with EXIF orientation, and so are widths and heights; messages count queries from 0.

The database is the list `database`, in the given order; without that key it is all images, sorted by name. Without
`ground_truth.json` each image that shares its label with another is a query: the others of its label are easy, the
query itself is junk. A query of `ground_truth.json` that is in the database is junk for itself too.
"""

from pathlib import Path

import pandas as pd

from lrcr.config.datasets import FolderParams
from lrcr.data.dataset import leave_one_out, write_dataset
from lrcr.data.hashes import CONTENTS, hash_contents
from lrcr.datasets.ground_truth import graded_tables, read_ground_truth, read_labels, read_regions
from lrcr.datasets.photos import Photos, warn_of
from lrcr.datasets.scanning import remove_scan, scan_photos
from lrcr.progress import SILENT, Progress


def make_folder(folder: Path, name: str, params: FolderParams, *, progress: Progress = SILENT) -> None:
    """Read the user's folder `params.path` and write the dataset `name` into the existing, empty `folder`.

    The facts of `dataset.json` list the refused images with their reasons, the truncated ones that were accepted, and
    the number of skipped files.

    Raises:
        DatasetError: there are no images, or labels or ground truth are malformed or contradict the images.
    """
    source = Path(params.path).expanduser()
    photos = scan_photos(source, tolerate_truncated=params.tolerate_truncated, progress=progress)
    write_folder(folder, name, photos, source, params.path)
    remove_scan(photos, tolerate_truncated=params.tolerate_truncated)


def write_folder(folder: Path, name: str, photos: Photos, source: Path, shown: str) -> None:
    """Write the dataset of images that were found, with the labels and the ground truth of the user's folder `source`.

    Args:
        folder: of the dataset, existing and empty.
        shown: the source as the user names it.

    Raises:
        DatasetError: labels or ground truth are malformed or contradict the images.
    """
    labels = read_labels(source / "labels.csv", photos)
    file = source / "ground_truth.json"
    truth = read_ground_truth(file, photos)
    warn_of(photos)
    database = (truth and truth.database) or list(photos.accepted)
    rows = [(image, path, *photos.accepted[path][:2], labels.get(path)) for image, path in enumerate(database)]
    images = pd.DataFrame(rows, columns=["image", "path", "width", "height", "label"])
    hashes = {image: photo.sha256 for image, photo in photos.accepted.items()}
    queries, relevance = leave_one_out(images) if truth is None else graded_tables(truth, database, photos, file)
    regions = read_regions(source / "regions.csv", database, photos)
    write_dataset(
        folder,
        name=name,
        kind="folder",
        params={},  # the fingerprint depends on the contents of the images, not on the path of the folder
        root=photos.root,
        orient=True,
        contents=hash_contents(hashes),
        licence="the user's own folder; whoever shares it answers for the rights in its images",
        tables={"images": images, "queries": queries, "relevance": relevance}
        | ({} if regions is None else {"regions": regions}),
        facts={
            "source": shown,
            "refused": photos.refused,
            "truncated": photos.truncated,
            "skipped": len(photos.skipped),
        },
    )
    pd.DataFrame(hashes.items(), columns=["path", "sha256"]).to_parquet(folder / CONTENTS, index=False)
