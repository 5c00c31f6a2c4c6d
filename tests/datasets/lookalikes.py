"""Small look-alikes of the public benchmarks, in the formats of the published files."""

import csv
import gzip
import hashlib
import io
import pickle
import tarfile
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from PIL import Image

from lrcr.datasets.remote import Checksum, RemoteFile
from lrcr.datasets.sources import BENCHMARKS, Benchmark

from .server import Server, ranged, whole

CORRUPT = b"<!DOCTYPE HTML><html><head><title>302 Found</title></head></html>\n"


def photo(landmark: int, view: int, size: tuple[int, int] = (96, 72)) -> bytes:
    """A JPEG of coloured blocks that depend on the landmark, with noise that depends on landmark and view."""
    blocks = np.random.default_rng(landmark).integers(0, 256, (6, 8, 3))
    pixels = np.kron(blocks, np.ones((-(-size[1] // 6), -(-size[0] // 8), 1)))[: size[1], : size[0]]
    pixels = pixels + np.random.default_rng((landmark, view)).normal(0, 20, pixels.shape)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "jpeg", quality=90)
    return buffer.getvalue()


def tar(members: dict[str, bytes], folders: Iterable[str] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in folders:
            info = tarfile.TarInfo(folder)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        for name, contents in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            archive.addfile(info, io.BytesIO(contents))
    return buffer.getvalue()


def publish(server: Server, name: str, files: dict[str, bytes], counts: dict[str, int]) -> Benchmark:
    """The benchmark `name` as published, but with these files (by their names) and counts."""
    benchmark = BENCHMARKS[name]
    archives = tuple(serve_file(server, file, files[file.name]) for file in benchmark.archives if file.name in files)
    annotations = {role: serve_file(server, file, files[file.name]) for role, file in benchmark.annotations.items()}
    assert {file.name for file in (*archives, *annotations.values())} == set(files)
    return replace(benchmark, archives=archives, annotations=annotations, counts=counts)


def serve_file(server: Server, file: RemoteFile, contents: bytes) -> RemoteFile:
    """The file at this server, pinned or with an MD5 if the published one is."""
    pinned = Checksum(len(contents), hashlib.sha256(contents).hexdigest()) if file.pinned else None
    url = server.url(f"/{file.name}", ranged(contents))
    digest = f"{hashlib.md5(contents).hexdigest()}  {file.name}\n".encode()
    md5_url = server.url(f"/{file.name}.md5", whole(digest)) if file.md5_url else None
    return replace(file, urls=(url,), pinned=pinned, md5_url=md5_url)


def revisited(server: Server, name: str) -> Benchmark:
    """Three landmarks with four database images each, five other images, and a query with a box for each landmark."""
    prefix = {"roxford5k": "oxford", "rparis6k": "paris"}[name]
    database = {f"{prefix}_place_{10 * mark + view:06}": photo(mark, view) for mark in range(3) for view in range(4)}
    database |= {f"{prefix}_general_{i:06}": photo(100 + i, 0) for i in range(5)}
    queries = {f"{prefix}_place_{10 * mark + 9:06}": photo(mark, 9) for mark in range(3)}
    order = list(np.random.default_rng(1).permutation(list(database)).tolist())
    ids = {image: order.index(image) for image in order}
    graded = [
        {
            "bbx": [4.5, 2, 90, 71.2],
            "easy": [ids[f"{prefix}_place_{10 * mark + view:06}"] for view in (0, 1)],
            "hard": [ids[f"{prefix}_place_{10 * mark + 2:06}"]],
            "junk": [ids[f"{prefix}_place_{10 * mark + 3:06}"]],
        }
        for mark in range(3)
    ]
    truth = {"gnd": graded, "imlist": order, "qimlist": list(queries)}
    images = database | queries
    if name == "roxford5k":
        flat = {f"{image}.jpg": contents for image, contents in images.items()}
        archives = {"oxbuild_images-v1.tgz": gzip.compress(tar(flat))}
    else:
        deep = {f"paris/{image.split('_')[1]}/{image}.jpg": contents for image, contents in images.items()}
        deep |= {"paris/louvre/paris_louvre_000136.jpg": CORRUPT}
        halves = list(deep.items())[:8], list(deep.items())[8:]
        archives = {
            f"paris_{i}-v1.tgz": gzip.compress(tar(dict(half), ["paris", "paris/place"]))
            for i, half in enumerate(halves, 1)
        }
    counts = {"images": 17, "queries": 3, "easy": 6, "hard": 3, "junk": 3}
    return publish(server, name, {f"gnd_{name}.pkl": pickle.dumps(truth, 3), **archives}, counts)


def distractors(server: Server) -> Benchmark:
    """Six listed images in two archives: one is missing, one is damaged."""
    names = [f"{i:02x}/d{i:05x}.jpg" for i in range(6)]
    images = {f"jpg/{name}": photo(200 + i, 0) for i, name in enumerate(names)}
    del images[f"jpg/{names[2]}"]
    images[f"jpg/{names[4]}"] = images[f"jpg/{names[4]}"][:300]
    images["jpg/ff/unlisted.jpg"] = photo(300, 0)
    halves = list(images.items())[:3], list(images.items())[3:]
    files = {f"revisitop1m/revisitop1m.{i}.tar.gz": gzip.compress(tar(dict(half))) for i, half in enumerate(halves, 1)}
    listed = "".join(f"{name}\n" for name in names).encode()
    return publish(server, "revisitop1m", {**files, "revisitop1m/revisitop1m.txt": listed}, {"listed": 6})


def sfm120k(server: Server) -> dict[str, Benchmark]:
    """Clusters of four images for training and for validation, and three validation queries."""
    clusters = {split: range(first, first + count) for split, first, count in (("train", 400, 8), ("val", 500, 3))}
    cids = {
        split: [hashlib.md5(f"{mark} {view}".encode()).hexdigest() for mark in marks for view in range(4)]
        for split, marks in clusters.items()
    }
    members = {
        f"ims/{cid[-2:]}/{cid[-4:-2]}/{cid[-6:-4]}/{cid}": photo(mark, view)
        for split, marks in clusters.items()
        for cid, (mark, view) in zip(cids[split], [(mark, view) for mark in marks for view in range(4)], strict=True)
    }
    pairs = {
        split: {
            "cids": cids[split],
            "cluster": [mark for mark in marks for _ in range(4)],
            "qidxs": [4 * i for i in range(len(marks))],
            "pidxs": [4 * i + 1 for i in range(len(marks))],
        }
        for split, marks in clusters.items()
    }
    graded = [{"ok": np.array([4 * i + 1, 4 * i + 2]), "junk": np.array([4 * i])} for i in range(3)]
    validation = {"cids": cids["val"], "qidx": np.array([0, 4, 8]), "gnd": graded}
    images = {"retrieval-SfM-120k/ims.tar.gz": gzip.compress(tar(members, ["ims"]))}
    as_pairs = {**images, "retrieval-SfM-120k/retrieval-SfM-120k.pkl": pickle.dumps(pairs, 2)}
    as_queries = {**images, "retrieval-SfM-120k/retrieval-SfM-120k-val-eccv2020.pkl": pickle.dumps(validation, 4)}
    return {
        "sfm120k/train": publish(server, "sfm120k/train", as_pairs, {"images": 32, "labels": 8}),
        "sfm120k/val": publish(server, "sfm120k/val", as_pairs, {"images": 12, "labels": 3}),
        "sfm120k/val_eccv20": publish(server, "sfm120k/val_eccv20", as_queries, {}),
    }


def google_id(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()[:16]


def gldv2(server: Server) -> dict[str, Benchmark]:
    """Five training landmarks with one damaged image; an index of twelve images with queries of every usage."""

    def archive(images: dict[str, bytes]) -> bytes:
        return tar({f"{image[0]}/{image[1]}/{image[2]}/{image}.jpg": photo for image, photo in images.items()})

    train = {google_id(f"train {mark} {view}"): photo(600 + mark, view) for mark in range(5) for view in range(3)}
    labels = {mark: [google_id(f"train {mark} {view}") for view in range(3)] for mark in range(5)}
    train[labels[4][2]] = train[labels[4][2]][:400]
    index = {google_id(f"index {mark} {view}"): photo(700 + mark, view) for mark in range(3) for view in range(4)}
    tests = {google_id(f"test {i}"): photo(700 + i, 9) for i in range(4)}
    relevant = {i: " ".join(google_id(f"index {i} {view}") for view in range(4)) for i in range(3)}
    usages = {0: "Private", 1: "Private", 2: "Public", 3: "Ignored"}
    solution = [(google_id(f"test {i}"), relevant.get(i, "None"), usage) for i, usage in usages.items()]
    retrieval = {
        "gldv2/index/images_000.tar": archive(dict(list(index.items())[:7])),
        "gldv2/index/images_001.tar": archive(dict(list(index.items())[7:])),
        "gldv2/test/images_000.tar": archive(tests),
        "gldv2/index.csv": table(["id"], [(image,) for image in index]),
        "gldv2/retrieval_solution_v2.1.csv": table(["id", "images", "Usage"], solution),
    }
    training = {
        "gldv2/train/images_000.tar": archive(train),
        "gldv2/train_clean.csv": table(
            ["landmark_id", "images"], [(mark, " ".join(images)) for mark, images in labels.items()]
        ),
    }
    return {
        "gldv2/train": publish(server, "gldv2/train", training, {"images": 15, "labels": 5}),
        "gldv2/public": publish(server, "gldv2/public", retrieval, {"images": 12, "queries": 1}),
        "gldv2/private": publish(server, "gldv2/private", retrieval, {"images": 12, "queries": 2}),
    }


def table(columns: list[str], rows: Iterable[tuple[object, ...]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([columns, *rows])
    return buffer.getvalue().encode()
