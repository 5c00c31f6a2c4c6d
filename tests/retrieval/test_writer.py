"""Random changes of an index, against the index that is built at once from the images that are left."""

import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from typer.testing import CliRunner

from lrcr.cli.main import app
from lrcr.config.retrieval import SearchParams
from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors
from lrcr.retrieval.asmk.codebook import Codebook, save_codebook
from lrcr.retrieval.contents import listed_names
from lrcr.retrieval.local_encoder import LocalPart
from lrcr.retrieval.lock import replaced_index
from lrcr.retrieval.searcher import Searcher
from lrcr.retrieval.writer import IndexWriter, open_writer
from lrcr.storage.artifacts import MANIFEST, open_manifest

from .living import KINDS, build_at_once, draw_all, make_source, tabulate
from .steps import small

SEQUENCES = int(os.environ.get("LRCR_SEQUENCES", "6"))
"""How many random sequences of changes are tried; `make faults` asks for more."""

NAMES = [f"{letter}{number}" for letter in "é/aZ" for number in range(6)]
QUERIES = {1: draw_all([3, 5, 11]), 2: draw_all(list(range(30, 55)))}
"""Few and many: faiss computes the inner products of more than 20 queries in another way."""

SETTINGS = [SearchParams(), SearchParams(idf=True, multiple_assignment=3)]
images = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 40), max_size=8)


def answers(folder: Path) -> list[Searcher]:
    return [Searcher(folder, search) for search in SETTINGS]


def rankings(searchers: list[Searcher]) -> list:
    """What indexes answer: rankings, and the local descriptors that they own of each image."""
    found = [searcher.search(queries) for searcher in searchers for queries in QUERIES.values()]
    owned = [searcher.local for searcher in searchers if searcher.local is not None]
    return [found, [local.of_image(image) for local in owned for image in range(len(local))]]


def assert_same(found: list, expected: list) -> None:
    for one, other in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(one.query, other.query)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.score.view(np.uint32), other.score.view(np.uint32))
    for one, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_array_equal(one.descriptors, other.descriptors)
        np.testing.assert_array_equal(one.xy, other.xy)


def local_part(writer: IndexWriter, described: Descriptors) -> list[LocalPart]:
    """The local descriptors of some images, if the index owns them."""
    return [] if writer.local_encoder is None else [writer.local_encoder.part(described)]


class Changes(RuleBasedStateMachine):
    """Adds, removes, replaces, merges and compacts; keeps an open searcher of every state."""

    @initialize(kind=st.sampled_from(list(KINDS)), first=images.filter(bool))
    def build(self, kind, first):
        self.stack = ExitStack()
        self.stack.enter_context(mock.patch("lrcr.retrieval.confidence.FEWEST", 8))
        self.work = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.params, self.source = KINDS[kind], make_source(self.work / "source", kind)
        self.index = build_at_once(self.work / "index", self.source, self.params, first)
        self.images, self.ids = dict(first), {name: place for place, name in enumerate(sorted(first))}
        self.files = {name: f"/photos/{name}" for name in first}
        self.used, self.indexes = set(self.ids.values()), 0
        self.opened = [(answers(self.index), rankings(answers(self.index)))]
        self.open()

    def open(self):
        self.session = ExitStack()
        self.writer = self.session.enter_context(open_writer(self.index))

    def teardown(self):
        if hasattr(self, "stack"):
            for searchers, expected in self.opened:
                assert_same(rankings(searchers), expected)
            self.session.close()
            self.stack.close()

    def at_once(self, wanted):
        self.indexes += 1
        return build_at_once(self.work / f"other-{self.indexes}", self.source, self.params, wanted)

    def add_to_writer(self, wanted):
        described = draw_all([wanted[name] for name in sorted(wanted)])
        parts = [self.writer.backend.encode(described, sorted(wanted))]
        root = f"/photos-{len(wanted) % 3}"
        roots = self.writer.roots
        if root not in roots:
            self.writer.move([*roots, root])
        local = local_part(self.writer, described)
        self.writer.add(tabulate(wanted).assign(root=self.writer.roots.index(root)), parts, local)
        self.files |= {name: f"{root}/{name}" for name in wanted}

    @rule(wanted=images.filter(bool))
    def add(self, wanted):
        known = sorted(wanted.keys() & self.images.keys())
        if known:
            with pytest.raises(ArtifactError, match="already; remove it first, or rename one"):
                self.add_to_writer(wanted)
        wanted = {name: seed for name, seed in wanted.items() if name not in known}
        if wanted:
            self.add_to_writer(wanted)
            self.images |= wanted

    @rule(places=st.sets(st.integers(0, 30), min_size=1, max_size=4), committed=st.booleans())
    def remove(self, places, committed):
        here = [name for place, name in enumerate(sorted(self.images)) if place in places]
        self.writer.remove(here)
        for name in here:
            del self.images[name]
        if committed:
            self.commit()

    @rule(wanted=images)
    def replace(self, wanted):
        wanted = {name: seed for name, seed in wanted.items() if name in self.images}
        if wanted:
            self.writer.remove(sorted(wanted))
            self.add_to_writer(wanted)
            self.images |= wanted

    @rule(wanted=images.filter(bool))
    def merge(self, wanted):
        other = self.at_once({**wanted, "left out": 7})
        with open_writer(other) as writer:
            writer.remove(["left out"])
            writer.commit()
        differ = [name for name in wanted if self.images.get(name, wanted[name]) != wanted[name]]
        if differ:
            with pytest.raises(ArtifactError, match=r"than the one of this name; give its images a --prefix"):
                self.writer.merge(other)
            self.writer.merge(other, prefix=f"{self.indexes}/")
            self.images |= {f"{self.indexes}/{name}": seed for name, seed in wanted.items()}
            self.files |= {f"{self.indexes}/{name}": f"/photos/{name}" for name in wanted}
        else:
            self.writer.merge(other)
            self.files |= {name: f"/photos/{name}" for name in wanted if name not in self.images}
            self.images |= wanted

    @rule()
    def compact(self):
        self.writer.compact()

    @rule()
    def commit(self):
        assert_same(rankings(answers(self.index)), self.opened[-1][1])
        self.writer.commit()
        found, expected = answers(self.index), answers(self.at_once(self.images))
        self.opened.append((found, rankings(expected)))
        assert_same(rankings(found), rankings(expected))
        tables = [searchers[0].images.set_index("name") for searchers in (found, expected)]
        assert tables[0].index.tolist() == tables[1].index.tolist() == sorted(self.images)
        assert tables[0][["label", "sha256"]].equals(tables[1][["label", "sha256"]])
        facts = [searchers[0].index.manifest.facts["confidence"] for searchers in (found, expected)]
        assert facts[0] == facts[1]
        self.check_files(found[0])
        self.check_ids(tables[0]["image"])
        found[0].index.verify()
        listed = listed_names(found[0].index.manifest.facts)
        assert {file.name for file in self.index.iterdir()} == {*listed, MANIFEST, ".lock"}

    def check_files(self, searcher):
        files = [self.files[name] for name in sorted(self.images)]
        assert searcher.images["path"].tolist() == files
        roots = sorted({file[1:].split("/")[0] for file in files})
        assert sorted(root.name for root in searcher.roots) == roots

    def check_ids(self, ids):
        assert ids.is_unique
        fresh = {name: image for name, image in ids.items() if name not in self.ids}
        assert all(ids[name] == image for name, image in self.ids.items() if name in ids.index)
        assert not self.used & set(fresh.values()), "an id is used again"
        self.ids, self.used = dict(ids.items()), self.used | set(ids)

    @rule()
    def leave_without_commit(self):
        self.commit()
        self.writer.remove(sorted(self.images)[:1])
        self.writer.compact()
        self.session.close()
        assert_same(rankings(answers(self.index)), self.opened[-1][1])
        self.open()


TestChanges = pytest.mark.faults(Changes.TestCase)
TestChanges.settings = settings(max_examples=SEQUENCES, stateful_step_count=10, deadline=None, database=None)


@pytest.fixture
def owning(tmp_path):
    """An index of three images that owns their local descriptors."""
    kind, images = "local descriptors", {"a": 1, "b": 3, "c": 5}
    return build_at_once(tmp_path / "own", make_source(tmp_path / "own source", kind), KINDS[kind], images)


def test_local_descriptors_are_added_with_the_images_and_few_folders_hold_them(owning, tmp_path):
    for number in range(12):
        with open_writer(owning) as writer:
            described = draw_all([number])
            parts = [writer.backend.encode(described, ["n"])]
            writer.add(tabulate({f"n{number}": number}), parts, local_part(writer, described))
            writer.commit()
    searcher = Searcher(owning)
    assert len(searcher.local) == 15 and len(searcher.index.manifest.facts["local"]) <= 4
    other = build_at_once(tmp_path / "none", tmp_path / "own source", KINDS["binary"], {"a": 1})
    with open_writer(owning) as writer:
        with pytest.raises(ArtifactError, match=r"local_descriptors = none, but .* with float16; build one of them"):
            writer.merge(other)
        with pytest.raises(ArtifactError, match=r"own: local descriptors of 0 images, not of 1; give those of each"):
            writer.add(tabulate({"d": 2}), [writer.backend.encode(draw_all([2]), ["d"])])
        writer.remove(["a"])
        writer.commit()
    assert len(Searcher(owning).local) == 14 and Searcher(owning).images["name"].tolist()[:2] == ["b", "c"]


def test_a_merge_leaves_out_segments_without_a_new_image(owning, tmp_path):
    other = build_at_once(tmp_path / "other", tmp_path / "own source", KINDS["local descriptors"], {"a": 1, "c": 5})
    with open_writer(other) as writer:
        described = draw_all([7])
        parts = [writer.backend.encode(described, ["d"])]
        writer.add(tabulate({"d": 7}), parts, local_part(writer, described))
        writer.commit()
    with open_writer(owning) as writer:
        writer.merge(other)
        facts = writer.commit().facts
    for name in ("segments", "local"):
        assert [entry["images"] for entry in facts[name]] == [3, 1]
    searcher, expected = Searcher(owning), draw_all([7])
    np.testing.assert_array_equal(searcher.local.of_image(3).xy, expected.xy)
    assert "bytes of local descriptors" in " ".join(CliRunner().invoke(app, ["compact", str(owning)]).output.split())


def test_a_merge_leaves_out_own_segments_of_removed_images(owning, tmp_path):
    source, described = tmp_path / "own source", draw_all([7])
    other = build_at_once(tmp_path / "other", source, KINDS["local descriptors"], {"e": 9})
    with open_writer(owning) as writer:
        writer.add(tabulate({"d": 7}), [writer.backend.encode(described, ["d"])], local_part(writer, described))
        writer.remove(["a", "b", "c"])
        assert writer.commit().facts["segments"][0]["images"] == 3
        writer.merge(other)
        facts = writer.commit().facts
    for name in ("segments", "local"):
        assert [entry["images"] for entry in facts[name]] == [1, 1]
    expected = build_at_once(tmp_path / "both", source, KINDS["local descriptors"], {"d": 7, "e": 9})
    assert_same(rankings(answers(owning)), rankings(answers(expected)))
    np.testing.assert_array_equal(Searcher(owning).local.of_image(0).xy, described.xy)


@pytest.fixture
def index(tmp_path):
    """An index of three images."""
    source = make_source(tmp_path / "source", "binary")
    return build_at_once(tmp_path / "index", source, KINDS["binary"], {"a": 1, "b": 3, "c": 5})


def test_two_writers_exclude_each_other(index):
    with open_writer(index):
        with (
            pytest.raises(ArtifactError, match="index: another process is changing it; try again when that has ended"),
            open_writer(index),
        ):
            pytest.fail("two writers")
        assert len(Searcher(index).search(QUERIES[1])) == 9
    with open_writer(index):
        pass


def test_an_index_behind_a_symbolic_link_is_replaced_where_it_is(index, tmp_path):
    (tmp_path / "link").symlink_to(index)
    with replaced_index(tmp_path / "link") as temporary:
        (temporary / "new").touch()
    assert (tmp_path / "link").is_symlink() and [file.name for file in index.iterdir()] == ["new"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index", "link", "source"]


def test_a_folder_that_is_no_index_has_no_writer(tmp_path):
    with pytest.raises(ArtifactError, match=r"manifest\.json: no such file"), open_writer(tmp_path):
        pytest.fail("no index")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_is_removed_and_other_files_are_not(index):
    (index / "segment-0007").mkdir()
    (index / "segment-0007/codes.npy").write_bytes(b"unfinished")
    for name in (".weights-0008.tmp", ".view-0009.tmp", ".segment-0003.old"):
        (index / name).mkdir()
    for name in ("images-0008.parquet", ".images-0008.parquet.tmp", ".manifest.json.tmp", "notes.txt", "segment-a"):
        (index / name).write_text("mine")
    before = listed_names(open_manifest(index, "index").facts)
    with open_writer(index):
        assert {file.name for file in index.iterdir()} == {*before, MANIFEST, ".lock", "notes.txt", "segment-a"}


def test_an_image_that_is_not_there_cannot_be_removed(index):
    with (
        open_writer(index) as writer,
        pytest.raises(ArtifactError, match=r"index: has no image 'd'; `lrcr inspect .* --images` lists all"),
    ):
        writer.remove(["a", "d"])
    assert Searcher(index).index.images == 3


def test_many_small_additions_leave_few_segments(index):
    for number in range(12):
        with open_writer(index) as writer:
            name = f"n{number}"
            writer.add(tabulate({name: number}), [writer.backend.encode(draw_all([number]), [name])])
            writer.commit()
    index = Searcher(index).index
    assert index.images == 15 and len(index.manifest.facts["segments"]) <= 4


def test_a_compacted_index_holds_what_one_built_at_once_holds(index, tmp_path):
    with open_writer(index) as writer:
        writer.remove(["b"])
        writer.compact()
        writer.commit()
    fresh = build_at_once(tmp_path / "fresh", tmp_path / "source", KINDS["binary"], {"a": 1, "c": 5})
    facts = [Searcher(folder).index.manifest.facts for folder in (index, fresh)]
    for name in ("offsets", "images", "codes", "norm"):
        files = [fact["segments"][0]["files"][f"{name}.npy"] for fact in facts]
        assert files[0] == files[1], name
    assert [facts[0][key] for key in ("images", "postings", "words_per_image", "bytes_per_image", "imbalance")] == [
        facts[1][key] for key in ("images", "postings", "words_per_image", "bytes_per_image", "imbalance")
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model", "its model\\.safetensors is not that of .*; build it with the same model and codebook"),
        ("codebook", "its codebook/centroids.npy is not that of .*; build it with the same model and codebook"),
        ("params", "built with extract.image_size = 77, but .* with 48; build one of them again"),
    ],
)
def test_indexes_of_different_sources_are_not_merged(index, tmp_path, change, said):
    source, params = shutil.copytree(tmp_path / "source", tmp_path / "changed"), KINDS["binary"]
    if change == "model":
        (source / "model").write_bytes(b"Weights")
    elif change == "codebook":
        manifest = open_manifest(source / "codebook", "codebook")
        save_codebook(source / "codebook", Codebook(np.eye(10, 6, dtype=np.float32)), replace(manifest, facts={}))
    else:
        params = small("extract.image_size=77", "extract.shard_size=9", "index.memory_gib=1.0")
    other = build_at_once(tmp_path / "other", source, params, {"d": 2})
    with open_writer(index) as writer, pytest.raises(ArtifactError, match=said):
        writer.merge(other)
    assert Searcher(index).index.images == 3


@pytest.mark.parametrize("step", ["calibrate", "write_manifest"])
def test_a_commit_that_failed_can_be_repeated(owning, monkeypatch, step):
    def fail(*_):
        raise OSError("disk full")

    with open_writer(owning) as writer:
        writer.remove(["a"])
        with monkeypatch.context() as patched:
            patched.setattr(f"lrcr.retrieval.writer.{step}", fail)
            with pytest.raises(OSError, match="disk full"):
                writer.commit()
        assert len(Searcher(owning).images) == 3
        writer.commit()
    assert Searcher(owning).images["name"].tolist() == ["b", "c"]


def test_local_descriptors_that_were_not_joined_are_not_kept(owning, monkeypatch):
    described = draw_all([7])

    def add(writer: IndexWriter) -> None:
        writer.add(tabulate({"d": 7}), [writer.backend.encode(described, ["d"])], local_part(writer, described))

    with open_writer(owning) as writer:
        writer.remove(["b", "c"])
        writer.compact()
        with monkeypatch.context() as patched:
            patched.setattr("lrcr.retrieval.local_writer.open_local", lambda *_: pytest.fail("disk full"))
            with pytest.raises(pytest.fail.Exception):
                add(writer)
        add(writer)
        writer.commit()
    assert len(Searcher(owning).local) == 2
