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
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
TINY = {
    "datasets.synthetic.landmarks": 8,
    "datasets.synthetic.images": 40,
    "datasets.synthetic.distractors": 8,
    "datasets.synthetic.queries": 8,
    "datasets.synthetic-train.landmarks": 8,
    "datasets.synthetic-train.images": 32,
    "datasets.synthetic-val.landmarks": 4,
    "datasets.synthetic-val.images": 16,
    "datasets.synthetic-val.distractors": 0,
    "datasets.synthetic-val.queries": 4,
    "backbone.skip_layers": 3,
    "whitening.dim": 16,
    "train.epochs": 1,
    "train.queries": 4,
    "train.image_size": 64,
    "train.labels.epochs": 1,
    "extract.image_size": 96,
    "extract.descriptors": 50,
    "codebook.words": 16,
    "codebook.descriptors": 50,
}


def make_project(folder: Path) -> Path:
    """A git repository with the real pipeline and tiny params."""
    folder.mkdir()
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("stages", "lrcr"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text())
    for key, value in TINY.items():
        *sections, last = key.split(".")
        section = params
        for name in sections:
            section = section[name]
        assert last in section, f"params.yaml has no {key}"
        section[last] = value
    with (folder / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    run(folder, "git init -q")
    run(folder, "dvc init -q")
    run(folder, "dvc config core.analytics false")
    commit(folder)
    return folder


def run(folder: Path, command: str, code: int | None = 0) -> str:
    """Run a command in the environment of the tests; standard output and error together."""
    bin_folder = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "LRCR_STATE": str(folder.parent / f"{folder.name}-state"),
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "user.name",
        "GIT_CONFIG_VALUE_0": "test",
        "GIT_CONFIG_KEY_1": "user.email",
        "GIT_CONFIG_VALUE_1": "test@example.org",
        "COLUMNS": "200",
    }
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert code is None or done.returncode == code, output
    return output


def commit(folder: Path) -> None:
    run(folder, "git add -A && git commit -q -m state")


def metrics(folder: Path) -> dict[str, bytes]:
    """Every file that must be equal bit for bit."""
    patterns = ("metrics/*.json", "metrics/ap/*.csv", "metrics/report/*.json", "data/rankings/*.parquet")
    files = [*(file for pattern in patterns for file in folder.glob(pattern)), *folder.glob("data/report/*/*.png")]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def unfinished(folder: Path) -> list[Path]:
    """What a run that came to its end may not leave behind."""
    state = folder.parent / f"{folder.name}-state"
    names = ("*.tmp", "*.old", "*.part")
    return [
        *state.glob("*"),
        *(file for name in names for place in ("data", "metrics") for file in (folder / place).rglob(name)),
    ]


def ran(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = make_project(tmp_path_factory.mktemp("pipeline") / "project")
    run(folder, "dvc repro")
    commit(folder)
    return folder


@pytest.mark.slow
def test_the_pipeline_run_twice_gives_the_same_bits(project, tmp_path):
    again = make_project(tmp_path / "again")
    run(again, "dvc repro")
    first = metrics(project)
    assert {"metrics/synthetic.json", "metrics/ap/synthetic.csv", "data/rankings/synthetic.parquet"} <= set(first)
    assert metrics(again) == first
    assert not list((tmp_path / "again-state").glob("*"))


@pytest.mark.slow
def test_metrics_cost_and_plots_have_their_layout(project):
    found = json.loads((project / "metrics/synthetic.json").read_text())
    statistics = {"words_per_image", "bytes_per_image", "descriptors_per_word", "imbalance", "empty_words"}
    assert set(found) == {"map", "mp@1", "mp@5", "mp@10", "queries", "localisation", *statistics}
    assert set(found["map"]) == {"easy", "medium", "hard"}
    assert set(found["localisation"]) == {"descriptors", "attention", "area", "images"}
    assert 0 < found["localisation"]["images"] <= 32
    cost = json.loads((project / "metrics/cost/synthetic.json").read_text())
    assert set(cost) == {"extract_images_per_second", "search_ms_per_query"}
    for name in ("loss", "rate", "negative_distance", "validation_map"):
        assert (project / f"metrics/training/plots/metrics/{name}.tsv").is_file()
    report = json.loads((project / "metrics/report/synthetic.json").read_text())
    assert set(report["bandwidth_gradient_correlation"]) == {"mean", "standard_error", "images"}
    shown = run(project, "dvc plots show && cat dvc_plots/index.html")
    assert "validation_map" in shown
    assert "data/report/synthetic/rankings.png" in shown


def test_stages_run_the_package_beside_them(tmp_path):
    """A queued experiment has its own copy of the code, which may differ from what is installed."""
    folder = make_project(tmp_path / "project")
    with (folder / "lrcr/config/params.py").open("a") as file:
        file.write("print('its own')\n")
    command = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]["check"]["cmd"]
    assert "its own" in run(folder, command)


@pytest.mark.slow
def test_a_second_repro_does_nothing(project):
    assert ran(run(project, "dvc repro")) == []


@pytest.mark.slow
def test_wrong_params_touch_nothing(project):
    before = sorted(project.glob("data/**/*"))
    try:
        output = run(project, "dvc repro -q", code=0) + run(
            project, "sed -i 's/kernel: 3/kernel: 4/' params.yaml && dvc repro", code=None
        )
    finally:
        run(project, "git checkout -q params.yaml")
    assert "params.yaml: smoothing.kernel: 4 is refused" in output
    assert "Traceback" not in output
    assert sorted(path for path in before if path.name != "checked.json") == sorted(
        path for path in project.glob("data/**/*") if path.name != "checked.json"
    )
    run(project, "dvc repro")


@pytest.mark.slow
def test_a_search_param_reruns_only_the_evaluation_and_the_report(project):
    output = run(project, "dvc exp run -S search.tau=0.25")
    assert [name for name in ran(output) if name != "check"] == ["evaluate@synthetic", "report@synthetic"]
    run(project, "git checkout -q . && dvc checkout -q")


@pytest.mark.slow
def test_another_kernel_trains_again_but_downloads_nothing(project):
    output = run(project, "dvc exp run -S smoothing.kernel=5")
    stages = ran(output)
    assert not [name for name in stages if name.startswith("download")]
    for name in ("train", "extract@synthetic", "extract_fit", "codebook", "index@synthetic", "evaluate@synthetic"):
        assert name in stages
    difference = run(project, "dvc metrics diff")
    assert "map.medium" in difference
    run(project, "git checkout -q . && dvc checkout -q")


@pytest.mark.slow
def test_a_global_model_goes_through_the_same_stages(project):
    output = run(project, "dvc exp run -S model.name=cfcd -S train.cfcd.fine_epochs=1 -S train.cfcd.batch=16")
    stages = ("check", "train", "extract@synthetic", "extract_fit", "codebook", "index@synthetic")
    assert ran(output) == [*stages, "evaluate@synthetic", "report@synthetic"]
    found = json.loads((project / "metrics/synthetic.json").read_text())
    assert set(found) == {"map", "mp@1", "mp@5", "mp@10", "queries", "dimensions", "bytes_per_image"}
    curves = {file.stem for file in (project / "metrics/training/plots/metrics").iterdir()}
    assert curves == {"epoch", "loss", "rate", "scale", "margin", "validation_map"}
    assert "failed to load" not in run(project, "dvc plots show")
    run(project, "git checkout -q . && git clean -qfd metrics && dvc checkout -q")


@pytest.mark.faults
def test_whole_runs_killed_at_random_moments_end_as_undisturbed(project, tmp_path, capsys):
    kills = int(os.environ.get("LRCR_PIPELINE_KILLS", "0"))
    if not kills:
        pytest.skip("LRCR_PIPELINE_KILLS is not set: `make faults` sets it")
    folder, rng = make_project(tmp_path / "killed"), random.Random("pipeline")
    start = time.perf_counter()
    run(folder, "dvc repro")
    seconds = time.perf_counter() - start
    for _ in range(kills):
        run(folder, "git clean -fdxq -e .dvc && git checkout -q . && rm -rf .dvc/cache")
        killed = start_and_kill(folder, rng.uniform(0.1, 0.9) * seconds)
        run(folder, "dvc repro")
        assert metrics(folder) == metrics(project)
        assert not unfinished(folder)
        with capsys.disabled():
            print(f"\nwhole run: killed during {killed}, ended as undisturbed")


def start_and_kill(folder: Path, seconds: float) -> str:
    """Start `dvc repro`, kill it and all that it has started after some seconds; returns the stage it was at."""
    log = folder.parent / "log"
    with log.open("w") as file:
        command = f"{Path(sys.executable).parent}/dvc repro"
        environment = {**os.environ, "LRCR_STATE": str(folder.parent / f"{folder.name}-state")}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        child = subprocess.Popen(
            command.split(), cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True
        )
        time.sleep(seconds)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return (ran(log.read_text()) or ["its start"])[-1]
