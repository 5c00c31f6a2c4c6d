"""The public benchmarks: addresses, sizes and counts of their files, and the licences of their images.

docs/datasets.md contains the same table; a test compares the two.
"""

from dataclasses import dataclass

from lrcr.datasets.remote import Checksum, RemoteFile

_MIB, _GIB = 1 << 20, 1 << 30
_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"
_CMP = "http://cmp.felk.cvut.cz"
_PTAK = "http://ptak.felk.cvut.cz"
_GOOGLE = "https://s3.amazonaws.com/google-landmark"
_HOW = f"{_PTAK}/personal/toliageo/share/how"


@dataclass(frozen=True)
class Benchmark:
    """One benchmark, or one split of a benchmark.

    Args:
        title: name and source.
        archives: tar archives of its images.
        annotations: role → file, of all other files (ground truth, labels, lists of images).
        size_gib: approximate size of all files in GiB; None if it is not published.
        counts: name of a count → its value; a dataset with other counts is incomplete and is refused.
        licence: note on the rights in the images.
    """

    title: str
    archives: tuple[RemoteFile, ...]
    annotations: dict[str, RemoteFile]
    size_gib: float | None
    counts: dict[str, int]
    licence: str


def _revisited(name: str, checksum: Checksum) -> RemoteFile:
    page = f"revisitop/data/datasets/{name}/gnd_{name}.pkl"
    return RemoteFile(f"gnd_{name}.pkl", (f"{_CMP}/{page}",), _MIB, checksum)


def _google(part: str, number: int) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(
            f"gldv2/{part}/images_{i:03}.tar",
            (f"{_GOOGLE}/{part}/images_{i:03}.tar",),
            4 * _GIB,
            md5_url=f"{_GOOGLE}/md5sum/{part}/md5.images_{i:03}.txt",
        )
        for i in range(number)
    )


def _google_table(name: str, folder: str = "metadata") -> RemoteFile:
    return RemoteFile(f"gldv2/{name}", (f"{_GOOGLE}/{folder}/{name}",), _GIB)


_FLICKR = "photos of Flickr's users, who own them; for research"
_SFM_IMAGES = (
    RemoteFile("retrieval-SfM-120k/ims.tar.gz", (f"{_CMP}/cnnimageretrieval/data/train/ims/ims.tar.gz",), 40 * _GIB),
)
_SFM_PAIRS = {
    "pairs": RemoteFile(
        "retrieval-SfM-120k/retrieval-SfM-120k.pkl",
        (f"{_CMP}/cnnimageretrieval/data/train/dbs/retrieval-SfM-120k.pkl",),
        256 * _MIB,
    )
}
_GOOGLE_RETRIEVAL = {
    "index": _google_table("index.csv"),
    "solution": _google_table("retrieval_solution_v2.1.csv", "ground_truth"),
}
_GOOGLE_LICENCE = "images under CC0 or in the public domain, annotations by Google under CC BY 4.0"
DISTRACTORS = "revisitop1m"

BENCHMARKS: dict[str, Benchmark] = {
    "roxford5k": Benchmark(
        title="Revisited Oxford (Radenović et al., CVPR 2018)",
        archives=(RemoteFile("oxbuild_images-v1.tgz", (f"{_OXFORD}/oxbuildings/oxbuild_images-v1.tgz",), 4 * _GIB),),
        annotations={
            "ground_truth": _revisited(
                "roxford5k",
                Checksum(149871, "ba7967754bd2d7d2210a5799f9c45ad5835e269a80ef9d3eba44caa35816c471"),
            )
        },
        size_gib=1.8,
        counts={"images": 4993, "queries": 70, "easy": 3029, "hard": 2497, "junk": 1356},
        licence=_FLICKR,
    ),
    "rparis6k": Benchmark(
        title="Revisited Paris (Radenović et al., CVPR 2018)",
        archives=tuple(
            RemoteFile(f"paris_{i}-v1.tgz", (f"{_OXFORD}/parisbuildings/paris_{i}-v1.tgz",), 4 * _GIB) for i in (1, 2)
        ),
        annotations={
            "ground_truth": _revisited(
                "rparis6k",
                Checksum(276508, "d2e729a5293dda7dda8a15c8383424a42e4964a2c4cfea2f32fa85d11d2df499"),
            )
        },
        size_gib=2.5,
        counts={"images": 6322, "queries": 70, "easy": 6874, "hard": 10350, "junk": 7153},
        licence=_FLICKR,
    ),
    DISTRACTORS: Benchmark(
        title="a million distractors for Revisited Oxford and Paris (Radenović et al., CVPR 2018)",
        archives=tuple(
            RemoteFile(
                f"revisitop1m/revisitop1m.{i}.tar.gz",
                (f"{_PTAK}/revisitop/revisitop1m/jpg/revisitop1m.{i}.tar.gz",),
                8 * _GIB,
            )
            for i in range(1, 101)
        ),
        annotations={
            "list": RemoteFile(
                "revisitop1m/revisitop1m.txt", (f"{_PTAK}/revisitop/revisitop1m/revisitop1m.txt",), 256 * _MIB
            )
        },
        size_gib=None,
        counts={"listed": 1_001_001},
        licence="photos of YFCC100M, under the Creative Commons licences that their owners chose",
    ),
    "sfm120k/train": Benchmark(
        title="retrieval-SfM-120k, training (Radenović, Tolias, Chum, TPAMI 2019)",
        archives=_SFM_IMAGES,
        annotations=_SFM_PAIRS,
        size_gib=None,
        counts={"images": 91_642, "labels": 551},
        licence=_FLICKR,
    ),
    "sfm120k/val": Benchmark(
        title="retrieval-SfM-120k, validation pairs (Radenović, Tolias, Chum, TPAMI 2019)",
        archives=_SFM_IMAGES,
        annotations=_SFM_PAIRS,
        size_gib=None,
        counts={"images": 6_403, "labels": 162},
        licence=_FLICKR,
    ),
    "sfm120k/val_eccv20": Benchmark(
        title="retrieval-SfM-120k, validation queries (Tolias, Jenicek, Chum, ECCV 2020)",
        archives=_SFM_IMAGES,
        annotations={
            "queries": RemoteFile(
                "retrieval-SfM-120k/retrieval-SfM-120k-val-eccv2020.pkl",
                (f"{_HOW}/dataset/retrieval-SfM-120k-val-eccv2020.pkl",),
                256 * _MIB,
            )
        },
        size_gib=None,
        counts={},
        licence=_FLICKR,
    ),
    "gldv2/train": Benchmark(
        title="Google Landmarks v2, clean training set (Weyand et al., CVPR 2020)",
        archives=_google("train", 500),
        annotations={"labels": _google_table("train_clean.csv")},
        size_gib=500,
        counts={"images": 1_580_470, "labels": 81_313},
        licence="images under CC BY, annotations by Google under CC BY 4.0",
    ),
    "gldv2/public": Benchmark(
        title="Google Landmarks v2, retrieval, public queries (Weyand et al., CVPR 2020)",
        archives=_google("index", 100) + _google("test", 20),
        annotations=_GOOGLE_RETRIEVAL,
        size_gib=95,
        counts={"images": 761_757, "queries": 379},
        licence=_GOOGLE_LICENCE,
    ),
    "gldv2/private": Benchmark(
        title="Google Landmarks v2, retrieval, private queries (Weyand et al., CVPR 2020)",
        archives=_google("index", 100) + _google("test", 20),
        annotations=_GOOGLE_RETRIEVAL,
        size_gib=95,
        counts={"images": 761_757, "queries": 750},
        licence=_GOOGLE_LICENCE,
    ),
}
"""`<kind>` or `<kind>/<split>` → the benchmark."""

HOW_MODELS: dict[str, RemoteFile] = {
    "how_r18": RemoteFile("how_r18.pth", (f"{_HOW}/models/how_r18.pth",), _GIB),
    "how_r50-": RemoteFile("how_r50-.pth", (f"{_HOW}/models/how_r50-.pth",), _GIB),
}
"""HOW's released models: ResNet-18, and ResNet-50 without its last block."""
