"""The notebook in docs/ runs from its first cell to its last, on rendered photos, and shows what it says."""

import ast
import json
import shlex
from pathlib import Path

import pytest
from PIL import Image

from lrcr.cli.main import main
from lrcr.evaluation.compare import Difference

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[1] / "docs/search.ipynb"


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run(cell: str, names: dict, monkeypatch) -> object:
    """Run a cell as a notebook does; returns the value of its last line."""
    if cell.startswith("!"):
        words = shlex.split(cell[1:].format(**names))
        monkeypatch.setattr("sys.argv", words)
        assert words[0] == "lrcr"
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return None
    lines = ast.parse(cell).body
    last = lines.pop() if isinstance(lines[-1], ast.Expr) else None
    exec(compile(ast.Module(lines, []), "cell", "exec"), names)
    return last and eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_the_notebook_stores_no_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if "outputs" in cell)
    assert len({cell["id"] for cell in cells}) == len(cells)


def test_the_notebook_runs_on_rendered_photos(rendered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").symlink_to(rendered / "photos")
    names: dict = {}
    shown = [value for cell in code_cells() if (value := run(cell, names, monkeypatch)) is not None]
    assert shown[0].startswith("12 images, ")
    assert [hit[0] for hit in shown[1]] == [1, 2, 3, 4, 5] and shown[1][0][3] == "castle"
    pictures = [value for value in shown if isinstance(value, Image.Image)]
    assert [Path(picture.filename).name for picture in pictures] == ["results.png", "matches.png", "maps.png"]
    assert all(min(picture.size) > 200 for picture in pictures)
    locations = next(value for value in shown if hasattr(value, "shape"))
    assert locations.shape == (5, 4)
    assert set(shown[-2]) == {"local", "R-MAC"} and all(0 < value <= 100 for value in shown[-2].values())
    assert isinstance(shown[-1], Difference)
