"""The whole pipeline under DVC, on a tiny embedded dataset: reproducible, cached, and careful with wrong params."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from lrcr.config.reading import load_params
from lrcr.evaluation.protocol import SETUPS

from .forkserver import forkserver
from .project import ROOT, Project, common_environment, make_project, ran

pytestmark = pytest.mark.slow

DOWNLOADS = [f"download@{name}" for name in ("synthetic", "synthetic-train", "synthetic-val")]
FROM_TRAINING_ON = [
    "train",
    "extract@synthetic",
    "extract_fit",
    "codebook",
    "index@synthetic",
    "evaluate@synthetic",
    "maps@synthetic",
    "report@synthetic",
]
ALL = {"check", *DOWNLOADS, *FROM_TRAINING_ON}


@pytest.fixture(scope="session")
def commands():
    """A folder with the command `python` of a fork server: the stages are many processes that import torch."""
    with forkserver(common_environment()) as folder:
        yield folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory, commands):
    """The project after its first run, and what it ran."""
    project = make_project(tmp_path_factory.mktemp("pipeline") / "project", commands)
    stages = ran(project.dvc("repro"))
    project.commit()
    return project, stages


@pytest.fixture
def project(finished):
    """The project after its first run; whatever a test changes in it is undone."""
    yield finished[0]
    finished[0].restore()


def test_the_first_run_runs_every_stage_once_and_leaves_nothing_unfinished(finished):
    project, stages = finished
    assert (len(stages), set(stages)) == (len(ALL), ALL)
    assert stages[0] == "check" and stages[-len(FROM_TRAINING_ON) :] == FROM_TRAINING_ON
    assert not project.unfinished()


def test_the_pipeline_run_twice_gives_the_same_bits(finished, tmp_path):
    again = make_project(tmp_path / "again", finished[0].commands)
    again.dvc("repro")
    first = finished[0].results()
    assert {"metrics/synthetic.json", "metrics/ap/synthetic.csv", "data/rankings/synthetic.parquet"} <= set(first)
    assert again.results() == first
    assert not again.unfinished()


def test_a_second_repro_does_nothing(project):
    assert project.changed() == {}
    assert ran(project.dvc("repro")) == []


def test_metrics_cost_and_plots_have_their_layout(finished):
    folder = finished[0].folder
    found = json.loads((folder / "metrics/synthetic.json").read_text())
    statistics = {"words_per_image", "bytes_per_image", "descriptors_per_word", "imbalance", "empty_words"}
    assert set(found) == {"map", "mp@1", "mp@5", "mp@10", "queries", "localisation", *statistics}
    for name in ("map", "mp@1", "mp@5", "mp@10"):
        assert set(found[name]) == {"easy", "medium", "hard"}
        assert all(value is None or 0 <= value <= 100 for value in found[name].values())
    assert found["map"]["medium"] > 0 and found["queries"] == 4
    assert set(found["localisation"]) == {"descriptors", "attention", "area", "images"}
    assert 0 < found["localisation"]["images"] <= 12, "views of landmarks; distractors have none"
    cost = json.loads((folder / "metrics/cost/synthetic.json").read_text())
    steps = {"extract_images_per_second", "search_ms_per_query", "extract_threads", "search_threads"}
    assert set(cost) == steps and min(cost.values()) > 0
    curves = {file.stem for file in (folder / "metrics/training/plots/metrics").iterdir()}
    assert {"epoch", "loss", "rate", "negative_distance", "validation_map"} <= curves
    maps = json.loads((folder / "metrics/maps/synthetic.json").read_text())
    assert set(maps["bandwidth_gradient_correlation"]) == {"mean", "standard_error", "images"}


def test_plots_show_the_curves_and_the_report(finished):
    project = finished[0]
    assert "failed to load" not in project.dvc("plots show")
    page = (project.folder / "dvc_plots/index.html").read_text()
    shutil.rmtree(project.folder / "dvc_plots")
    assert "validation_map" in page
    assert "data/report/synthetic/rankings.png" in page and "data/maps/synthetic/00" in page
    assert "report-page" not in page


def test_the_page_of_the_first_run_has_nothing_to_compare_with(finished):
    page = (finished[0].folder / "data/report-page/synthetic.html").read_text()
    assert "HEAD has no evaluation of this dataset" in page
    assert all(f'<section id="{name}">' in page for name in ("metrics", "curves", "queries", "maps", "time"))


@pytest.mark.parametrize("stage", ["check", "codebook", "index synthetic", "evaluate synthetic", "report synthetic"])
def test_a_stage_that_runs_no_network_imports_none(project, stage):
    output = project.run(f"'{sys.executable}' -X importtime -m stages.{stage}")
    imported = {line.rpartition("|")[2].strip() for line in output.splitlines() if line.startswith("import time:")}
    assert "lrcr.config.params" in imported
    assert not imported & {"torch", "torchvision", "timm", "dvc", "dvclive"}


def test_stages_run_the_package_beside_them(tmp_path):
    """A queued experiment has its own copy of the code, which may differ from what is installed."""
    for name in ("stages", "lrcr"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with (tmp_path / "lrcr/config/params.py").open("a") as file:
        file.write("print('its own')\n")
    command = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]["check"]["cmd"]
    assert Project(tmp_path).run(command) == "its own\n"
    found = {file.stem: json.loads(file.read_text()) for file in (tmp_path / "data/checked").iterdir()}
    valid = {"params": "valid", "listed": None}
    assert found == {name.partition("@")[2]: valid for name in DOWNLOADS}


def test_wrong_params_touch_nothing(project):
    before = contents(project.folder / "data")
    project.set("smoothing.kernel=4")
    output = project.dvc("repro", code=255)
    assert "params.yaml: smoothing.kernel: 4 is refused: must be odd" in output
    assert "Traceback" not in output
    assert ran(output) == ["check"]
    after = contents(project.folder / "data")
    outputs_of_check = {"method.json", *(f"checked/{name.partition('@')[2]}.json" for name in DOWNLOADS)}
    assert {name for name in before if name not in outputs_of_check} == set(after) - outputs_of_check
    assert all(before[name] == after[name] for name in after)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_change_of_the_users_photos_is_noticed(commands, tmp_path):
    project, photos = make_project(tmp_path / "project", commands), tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        Image.new("RGB", (40, 30), (99, number, 0)).save(photos / f"{number}.png")
    yaml, file = YAML(), project.folder / "params.yaml"
    params = yaml.load(file.read_text())
    params["datasets"]["mine"] = {"kind": "folder", "path": str(photos)}
    params["data"]["folders"] = ["mine"]
    yaml.dump(params, file)
    both = "repro download@mine download@synthetic-val"
    stages = ran(project.dvc(both))
    assert (stages[:2], set(stages[2:])) == (["list@mine", "check"], {"download@mine", "download@synthetic-val"})
    assert ran(project.dvc(both)) == ["list@mine"]
    (photos / "labels.csv").write_text("image,label\n0.png,one\n")
    assert ran(project.dvc(both)) == ["list@mine", "check", "download@mine"], "the other dataset is not made again"


@pytest.fixture
def edited(finished):
    """The project after its first run; changes of params.yaml and of the code are undone, which is quicker."""
    yield finished[0]
    finished[0].run("git checkout -q .")


@pytest.mark.parametrize(
    ("override", "stages"),
    {
        "smoothing.kernel=5": ["train"],
        "model.name=cfcd": ["train"],
        "whitening.dim=8": ["train"],
        "train.epochs=2": ["train"],
        "train.validation.every=2": ["train"],
        "train.validation.codebook.words=8": ["train"],
        "extract.max_descriptors=40": ["extract@synthetic"],
        "extract.compute=bfloat16": ["extract@synthetic", "extract_fit"],
        "extract.decoded_images=40": ["extract@synthetic", "extract_fit"],
        "extract.image_size=80": ["extract@synthetic", "extract_fit", "maps@synthetic"],
        "codebook.images=20": ["codebook", "extract_fit"],
        "codebook.iterations=5": ["codebook"],
        "index.binary=false": ["index@synthetic"],
        "search.multiple_assignment=2": ["evaluate@synthetic", "report@synthetic"],
        "datasets.synthetic.queries=3": ["download@synthetic"],
        "seed=1": [*DOWNLOADS, "extract_fit", "maps@synthetic", "report@synthetic", "train"],
        "device=cpu": [],
        "threads=2": [],
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_param_changes_the_stages_that_read_it(edited, override, stages):
    """Beside `check`, which reads all. What follows them runs again if their outputs differ."""
    edited.set(override)
    assert sorted(edited.changed()) == sorted(["check", *stages])


@pytest.mark.parametrize(
    ("override", "stages"),
    {
        "train.tuples.margin=0.7": ["train"],
        "train.tuples.learning_rates.context=0.001": ["train"],
        "train.validation.search.tau=0.25": ["train"],
        "train.classification.alpha=0.03": [],
        "train.listwise.bins=20": [],
        "search.tau=0.25": ["evaluate@synthetic", "report@synthetic"],
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_of_the_methods_of_training_only_the_chosen_one_is_read(project, override, stages):
    project.set(override)
    assert ran(project.dvc("repro check")) == ["check"]
    assert sorted(project.changed()) == stages


@pytest.mark.parametrize(
    ("file", "stages"),
    {
        "lrcr/data/loading.py": {*FROM_TRAINING_ON} - {"codebook"},
        "lrcr/datasets/folder.py": {*DOWNLOADS},
        "lrcr/report/maps.py": {"maps@synthetic"},
        "lrcr/report/matches.py": {"report@synthetic"},
        "lrcr/retrieval/flat/fit.py": {"codebook", "index@synthetic", "evaluate@synthetic", "report@synthetic"},
        "lrcr/cli/searching.py": set(),
        "lrcr/storage/artifacts.py": set(),
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_edit_changes_the_stages_that_import_the_file(edited, file, stages):
    with (edited.folder / file).open("a") as opened:
        opened.write("\n# an edit\n")
    changed = edited.changed()
    assert set(changed) == stages
    causes = {dep for reasons in changed.values() for reason in reasons for dep in reason["changed deps"]}
    assert all(file == dep or file.startswith(f"{dep}/") for dep in causes)


def test_an_edit_of_the_image_loader_learns_no_codebook_again(edited):
    stage = YAML(typ="safe").load((edited.folder / "dvc.yaml").read_text())["stages"]["codebook"]
    assert not [dep for dep in stage["deps"] if dep.startswith("lrcr/data")]
    with (edited.folder / "lrcr/data/loading.py").open("a") as opened:
        opened.write("\n# an edit\n")
    assert json.loads(edited.dvc("status --json codebook")) == {}


def test_another_kernel_trains_again_but_downloads_nothing(finished, project):
    output = project.dvc("exp run -S smoothing.kernel=5")
    assert ran(output) == ["check", *FROM_TRAINING_ON]
    assert all(f"Stage '{name}' didn't change, skipping" in output for name in DOWNLOADS)
    committed = json.loads(project.run("git show HEAD:metrics/synthetic.json"))
    found = json.loads((project.folder / "metrics/synthetic.json").read_text())
    commit = project.run("git rev-parse --short HEAD").strip()
    assert f"HEAD ({commit})" in (project.folder / "data/report-page/synthetic.html").read_text()
    difference = json.loads(project.dvc("metrics diff --json"))["metrics/synthetic.json"]
    assert found["words_per_image"] != committed["words_per_image"]
    for name in ("words_per_image", "bytes_per_image"):
        assert difference[name] == {
            "old": committed[name],
            "new": found[name],
            "diff": pytest.approx(found[name] - committed[name]),
        }


def test_a_global_model_goes_through_the_same_stages(project):
    output = project.dvc("exp run -S model.name=cfcd")
    assert ran(output) == ["check", *FROM_TRAINING_ON]
    found = json.loads((project.folder / "metrics/synthetic.json").read_text())
    assert set(found) == {"map", "mp@1", "mp@5", "mp@10", "queries", "dimensions", "bytes_per_image"}
    assert (found["dimensions"], found["queries"]) == (512, 4)
    curves = {file.stem for file in (project.folder / "metrics/training/plots/metrics").iterdir()}
    assert curves == {"epoch", "loss", "rate", "scale", "margin", "validation_map"}
    assert "failed to load" not in project.dvc("plots show")
    shutil.rmtree(project.folder / "dvc_plots")


def test_lists_that_are_ranked_again_lie_beside_the_first_one(project):
    lists, index = project.folder / "data/rankings", "index.local_descriptors=float16"
    before = {file.name: file.read_bytes() for file in lists.iterdir()}
    project.set(index, "rerank=[{kind: geometric, top: 5}]")
    stages = ["check", "index@synthetic", "evaluate@synthetic", "report@synthetic"]
    assert ran(project.dvc("repro")) == stages
    after = {file.name: file.read_bytes() for file in lists.iterdir()}
    assert set(after) == set(before) == {"synthetic.parquet", *(f"synthetic-{name}.parquet" for name in SETUPS)}
    assert {name for name in after if after[name] != before[name]} == set(after) - {"synthetic.parquet"}
    found = json.loads((project.folder / "metrics/synthetic.json").read_text())
    assert {"map", "mp@1", "mp@5", "mp@10"} <= set(found["reranked"])
    cost = json.loads((project.folder / "metrics/cost/synthetic.json").read_text())
    assert cost["rerank_ms_per_query"] > 0


def test_a_queued_grid_over_models_and_smoothing_has_valid_params(project):
    names, kinds = ("local", "gem", "cfcd"), ("none", "average")
    grid = f"-S train.tuples.losses.asmk=0.0 -S model.name={','.join(names)} -S smoothing.kind={','.join(kinds)}"
    try:
        queued = [line for line in project.dvc(f"exp run --queue {grid}").splitlines() if line.startswith("Queued")]
        assert len(queued) == len(names) * len(kinds)
        stashed = project.run("git log --walk-reflogs --format=%H refs/exps/celery/stash").split()
        found = set()
        for number, revision in enumerate(stashed):
            file = project.folder.parent / f"queued-{number}.yaml"
            file.write_text(project.run(f"git show {revision}:params.yaml"))
            params = load_params(file)
            found.add((params.model.name, params.smoothing.kind))
        assert found == {(name, kind) for name in names for kind in kinds}
    finally:
        project.dvc("queue remove --queued")


@pytest.mark.faults
def test_whole_runs_killed_at_random_moments_end_as_undisturbed(finished, tmp_path, capsys):
    kills = int(os.environ.get("LRCR_PIPELINE_KILLS", "0"))
    if not kills:
        pytest.skip("LRCR_PIPELINE_KILLS is not set: `make faults` sets it")
    project, rng = make_project(tmp_path / "killed", share_compiled=False), random.Random("pipeline")
    start = time.perf_counter()
    project.dvc("repro")
    seconds = time.perf_counter() - start
    for _ in range(kills):
        project.run("git clean -fdxq -e .dvc && git checkout -q . && rm -rf .dvc/cache")
        killed = start_and_kill(project, rng.uniform(0.1, 0.9) * seconds)
        project.dvc("repro")
        assert project.results() == finished[0].results()
        assert not project.unfinished()
        with capsys.disabled():
            print(f"\nwhole run: killed during {killed}, ended as undisturbed")


def start_and_kill(project: Project, seconds: float) -> str:
    """Start `dvc repro`, kill it and all that it has started after some seconds; returns the stage it was at."""
    log = project.folder.with_name("log")
    with log.open("w") as file:
        command = [sys.executable, "-m", "dvc", "repro"]
        child = subprocess.Popen(
            command, cwd=project.folder, env=project.environment, stdout=file, stderr=file, start_new_session=True
        )
        time.sleep(seconds)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return (ran(log.read_text()) or ["its start"])[-1]
