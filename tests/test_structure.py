"""The walls of the house: imports go one way, and the pipeline names the files that each stage really imports."""

import ast
import runpy
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.models.factory import MODEL_SECTIONS
from lrcr.storage.artifacts import read_json
from lrcr.storage.sources import imported_files, imported_modules, module_file

ROOT = Path(__file__).parents[1]
ORDER = [
    ["errors"],
    ["progress"],
    ["storage"],
    ["runtime"],
    ["config"],
    ["data"],
    ["datasets", "models"],
    ["losses"],
    ["features"],
    ["retrieval"],
    ["asmk"],
    ["evaluation"],
    ["training"],
    ["report"],
    ["pipeline"],
    ["api", "collections", "comparison"],
    ["__init__"],
    ["app"],
    ["cli"],
]
"""A room imports from the levels above its own in this list, and from itself."""

ALWAYS = ["lrcr/errors.py", "lrcr/progress.py", *(f"lrcr/{room}/" for room in ("cli", "config", "runtime", "storage"))]
"""Not listed in dvc.yaml: what they decide is in the fingerprints of the artifacts."""

TERMINAL = {"dvc", "dvclive", "rich", "typer"}
FACTORIES = [
    *("lrcr/config/", "lrcr/models/factory.py", "lrcr/retrieval/backend.py", "lrcr/retrieval/codebook.py"),
    "lrcr/training/objective.py",
]
"""The only files that branch on which model or method the params name, or of which class an object is."""

LAYERS = {"lrcr/models/global_model.py": frozenset({"Whitening"})}
"""Classes of layers of its own that a model asks for."""

DATA = "datasets: {a: {kind: roxford5k}}\ndata: {train: a, val: a, fit: a}\n"
"""What a pipeline cannot do without."""

MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 300, 60


def path_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def room(file: Path) -> str:
    return file.relative_to(ROOT / "lrcr").parts[0].removesuffix(".py")


def is_in(path: str, places: list[str]) -> bool:
    """Whether a file is one of some places or lies in one of them, those that end with a slash."""
    return any(path == place or (place.endswith("/") and path.startswith(place)) for place in places)


def imports(file: Path) -> set[Path]:
    """The files of lrcr that a file imports itself."""
    return {target for module in imported_modules(file) if (target := module_file(module))}


def calls(file: Path) -> set[str]:
    return {ast.unparse(node.func) for node in nodes(file) if isinstance(node, ast.Call)}


@cache
def nodes(file: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(file.read_text())))


def lines_of(function: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    docstring = function.body[0] if ast.get_docstring(function) else None
    return function.end_lineno - function.lineno + 1 - (docstring.end_lineno - docstring.lineno + 1 if docstring else 0)


LIBRARY = sorted((ROOT / "lrcr").rglob("*.py"))
SOURCES = [*LIBRARY, *sorted((ROOT / "stages").glob("*.py"))]
LEVEL = {name: number for number, names in enumerate(ORDER) for name in names}


def test_these_are_the_tests_of_the_package_beside_them():
    assert module_file("lrcr.errors") == ROOT / "lrcr/errors.py"


def test_every_room_has_its_place_in_the_order():
    assert {room(file) for file in LIBRARY} == set(LEVEL)


def test_imports_go_one_way():
    wrong = [
        f"{path_of(file)} imports {path_of(target)}"
        for file in LIBRARY
        for target in imports(file)
        if room(target) != room(file) and LEVEL[room(target)] >= LEVEL[room(file)]
    ]
    assert not wrong


def test_no_files_import_each_other_in_a_circle():
    todo, done = {file: imports(file) for file in LIBRARY}, set()
    while free := [file for file, needed in todo.items() if needed <= done]:
        done |= set(free)
        todo = {file: needed for file, needed in todo.items() if file not in done}
    assert not todo, f"in circles or behind one: {sorted(map(path_of, todo))}"


def test_imports_are_absolute():
    """`lrcr.storage.sources` reads no others."""
    relative = {path_of(f) for f in SOURCES for node in nodes(f) if isinstance(node, ast.ImportFrom) and node.level}
    assert not relative


def test_only_the_cli_knows_the_terminal():
    outside = {file: {module.split(".")[0] for module in imported_modules(file)} & TERMINAL for file in LIBRARY}
    assert not {path_of(file): names for file, names in outside.items() if names and room(file) != "cli"}


def test_the_library_prints_nothing_and_unpickles_nothing():
    forbidden = {"print", "eval", "exec", "pickle.load", "pickle.loads"}
    assert not {path_of(file): found for file in LIBRARY if (found := calls(file) & forbidden)}


def test_files_are_short():
    long = {path_of(file) for file in SOURCES if len(file.read_text().splitlines()) > MOST_LINES_OF_A_FILE}
    assert not long


def test_functions_are_short():
    functions = [(file, node) for file in SOURCES for node in nodes(file) if isinstance(node, ast.FunctionDef)]
    sizes = {f"{path_of(file)}: {node.name}": lines_of(node) for file, node in functions}
    assert not {name: size for name, size in sizes.items() if size > MOST_LINES_OF_A_FUNCTION}


MODEL_NAMES = {
    "local",
    "delf",
    "delg",
    "fire",
    "mac",
    "spoc",
    "gem",
    "rmac",
    "solar",
    "apgem",
    "cfcd",
    "tuples",
    "listwise",
    "classification",
}
CLASSES = {
    node.name
    for file in LIBRARY
    if room(file) in ("models", "retrieval", "training")
    for node in ast.walk(ast.parse(file.read_text()))
    if isinstance(node, ast.ClassDef)
}


def branches(source: str, allowed: frozenset[str] = frozenset()) -> list[str]:
    """Where a program asks which model, method or class it has before it; some classes may be asked for."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr == "is_local":
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Compare):
            constants = {side.value for side in ast.walk(node) if isinstance(side, ast.Constant)}
            asked = {getattr(side, "attr", getattr(side, "id", "")) for side in ast.walk(node)}
            by_name = constants & MODEL_NAMES and asked & {"name", "method", "kind"}
            if by_name or ("type" in asked and asked & CLASSES):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            asked = {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)}
            if asked & CLASSES - allowed:
                found.append(ast.unparse(node))
    return found


def test_only_factories_ask_which_model_there_is():
    others = [file for file in SOURCES if not is_in(path_of(file), FACTORIES)]
    found = {path_of(file): branches(file.read_text(), LAYERS.get(path_of(file), frozenset())) for file in others}
    assert not {file: texts for file, texts in found.items() if texts}


def test_every_factory_and_layer_on_the_lists_is_needed_there():
    for name in [*FACTORIES, *LAYERS]:
        assert any(branches(file.read_text()) for file in LIBRARY if is_in(path_of(file), [name])), name


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("params.model.is_local", 1),
        ("name == 'cfcd'", 1),
        ("params.method != 'tuples'", 1),
        ("'solar' == model.name", 1),
        ("name in ('gem', 'mac')", 1),
        ("isinstance(model, LocalModel)", 1),
        ("isinstance(index, int | FlatSearch)", 1),
        ("type(model) is LocalModel", 1),
        ("isinstance(value, dict)", 0),
        ("name == 'label'", 0),
        ("is_local_main()", 0),
        ("by == 'local'", 0),
    ],
)
def test_branches_are_found(source, expected):
    assert len(branches(source)) == expected


def stages() -> dict[str, dict]:
    defined = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in defined.items()}


def script_of(name: str) -> str:
    return f"{stages()[name]['cmd'].split()[2].replace('.', '/')}.py"


def needed_by(name: str) -> set[str]:
    """The files of lrcr that a stage imports, as paths below the project."""
    return {path_of(file) for file in imported_files(ROOT / script_of(name))}


def listed_in(name: str) -> list[str]:
    """The rooms and files of lrcr that dvc.yaml names for a stage; rooms end with a slash."""
    deps = [dep for dep in stages()[name]["deps"] if dep.startswith("lrcr/")]
    return [f"{dep}/" if (ROOT / dep).is_dir() else dep for dep in deps]


@pytest.mark.parametrize("name", stages())
def test_each_stage_lists_what_it_imports(name):
    listed = listed_in(name)
    needed = {file for file in needed_by(name) if not is_in(file, ALWAYS)}
    needed -= {file for file in needed if file.endswith("__init__.py") and not imported_modules(ROOT / file)}
    uncovered = sorted(file for file in needed if not is_in(file, listed))
    idle = [place for place in listed if not any(is_in(file, [place]) for file in needed)]
    assert not uncovered, f"dvc.yaml: {name}: add {uncovered} to deps"
    assert not idle, f"dvc.yaml: {name}: {idle} are not imported"
    assert not [place for place in listed if not (ROOT / place).exists() or is_in(place, ALWAYS)]
    assert script_of(name) in stages()[name]["deps"] or name == "check"


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("codebook", ["lrcr/data/", "lrcr/features/extract", "lrcr/retrieval/encoding.py", "lrcr/retrieval/build.py"]),
        ("evaluate", ["lrcr/features/extract", "lrcr/models/", "lrcr/data/loading.py", "lrcr/retrieval/build.py"]),
        ("extract", ["lrcr/retrieval/", "lrcr/training/", "lrcr/losses/", "lrcr/datasets/"]),
        ("download", ["lrcr/models/", "lrcr/features/"]),
        ("train", ["lrcr/datasets/", "lrcr/report/", "lrcr/retrieval/flat/"]),
        ("report", ["lrcr/report/maps.py", "lrcr/report/inspection.py", "lrcr/training/"]),
        ("maps", ["lrcr/features/", "lrcr/retrieval/", "lrcr/report/matches.py"]),
    ],
)
def test_an_edit_reruns_only_what_follows_from_it(name, places):
    """An edit of the image loader, say, learns no codebook again: neither by import nor by what dvc.yaml lists."""
    files = {path_of(file) for file in LIBRARY}
    for place in places:
        edited = {file for file in files if file.startswith(place)}
        assert edited, place
        assert not edited & needed_by(name)
        if name == "codebook":
            assert not {file for file in edited if is_in(file, listed_in(name))}


METHODS = {"tuples": "local", "listwise": "apgem", "classification": "cfcd"}


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    """Nested values by their dotted keys."""
    found = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def at(values: dict, key: str) -> dict:
    """The part of nested values at a dotted key, nested as it was."""
    first, _, rest = key.partition(".")
    return {first: at(values[first], rest) if rest else values[first]}


def listed_params(name: str) -> list[str]:
    return [param for param in stages()[name]["params"] if isinstance(param, str)]


@pytest.mark.parametrize("weights", ["imagenet", "none"])
@pytest.mark.parametrize(("method", "model"), METHODS.items())
def test_what_decides_a_model_reruns_its_training(tmp_path, monkeypatch, method, model, weights):
    """The params of the stage and `data/method.json` of the stage check are together those of the model's manifest."""
    monkeypatch.chdir(tmp_path)
    sections = f"model: {{name: {model}}}\nbackbone: {{weights: {weights}}}\ntrain: {{validation: {{every: 3}}}}\n"
    Path("params.yaml").write_text(sections + DATA)
    runpy.run_path(str(ROOT / "stages/check.py"), run_name="__main__")
    params = load_params(Path("params.yaml"))
    whole = params.model_dump(mode="json")
    assert whole["train"]["validation"]["by"] is None and "model" in listed_params("train"), "null: as the model says"
    whole["train"]["validation"]["by"] = params.validation
    decisive = [param for param in listed_params("train") if not param.startswith("data.")]
    rerun = flat({"train": read_json(Path("data/method.json"))})
    for param in decisive:
        rerun |= flat(at(whole, param))
    stored = flat(params.sections(*MODEL_SECTIONS))
    assert stored["train.method"] == method and ("train.pretrain.epochs" in stored) == (weights == "none")
    assert stored.items() <= rerun.items(), "an edit that the stage does not see"
    beyond = {key.split(".")[0] if not key.startswith("train.") else key for key in rerun.keys() - stored.keys()}
    others = {"super_features", *(("smoothing", "graph") if model != "local" else ("pooling",))}
    asmk = {key for key in beyond if key.startswith(("train.validation.extract", "train.validation.codebook"))}
    asmk |= {key for key in beyond if key.startswith("train.validation.search")}
    assert beyond - asmk == others, "an edit that trains again for nothing"


def test_each_method_is_read_by_a_model():
    """Only what a method reads is written into `data/method.json`."""
    for name, model in METHODS.items():
        params = load_params(overrides=[f"model.name={model}"])
        assert params.method == name
        assert set(METHODS) & params.sections("train")["train"].keys() == {name}


@pytest.mark.parametrize("name", [name for name, stage in stages().items() if "params" in stage])
def test_params_of_stages_exist(name):
    values = Params().model_dump(mode="json")
    for param in listed_params(name):
        if not param.startswith("datasets."):
            assert at(values, param)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("smoothing: {kernel: 4}", "params.yaml: smoothing.kernel: 4 is refused"),
        ("rerank: [{kind: expansion}]", "rerank: expansion needs global vectors, and the index holds local"),
        ("rerank: [{kind: geometric}]", "rerank: geometric needs local descriptors, which the index does not own"),
        ("{model: {name: gem}, rerank: [{kind: words}]}", "rerank: words needs visual words, and the index holds"),
        (DATA.replace("train: a", "train: null"), "params.yaml: data.train: null; name a dataset to train on"),
        (DATA.replace("val: a", "val: null"), "params.yaml: data.val: null; name a dataset to validate on"),
        (DATA.replace("fit: a", "fit: null"), "params.yaml: data.fit: null; name a dataset to learn the codebook on"),
    ],
)
def test_checking_wrong_params_writes_nothing(tmp_path, monkeypatch, capsys, written, said):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(written)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "stages/check.py"), run_name="__main__")
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.replace("\n", "")
    assert not Path("data").exists()


@pytest.mark.parametrize(("stage", "listed"), [("check", ""), ("check", "other"), ("list", "other")])
def test_folders_that_are_not_listed_are_told(tmp_path, monkeypatch, capsys, stage, listed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["list", "other"])
    Path("params.yaml").write_text(f"datasets: {{mine: {{kind: folder, path: .}}}}\ndata: {{folders: [{listed}]}}\n")
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / f"stages/{stage}.py"), run_name="__main__")
    said = f"params.yaml: data.folders: [{listed}], but the folders are [mine]; list these"
    if stage == "list":
        said = "params.yaml: data.folders: 'other' is no dataset of kind folder; leave it out"
    assert ended.value.code == 2 and said in capsys.readouterr().err.replace("\n", "")
    assert not Path("data").exists()
