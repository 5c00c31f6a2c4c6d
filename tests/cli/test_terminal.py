"""What the command and the stages write to the terminal, and how they end."""

import gc
import logging
import sys

import pytest

from lrcr.cli import terminal
from lrcr.cli.terminal import one_line_errors, progress, run_stage
from lrcr.config.params import Params
from lrcr.errors import ParamsError

from .command import refuse, run


def end(code: int, work) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        work()
    assert ended.value.code == code


def fail(error: BaseException) -> None:
    raise error


def test_an_error_of_lrcr_is_printed_as_it_is(capsys):
    text = f"[bold]a.jpg[/]: {'long ' * 40}; remove it"
    end(2, lambda: fail(ParamsError(text)))
    assert capsys.readouterr() == ("", f"error: {text}\n")


def test_an_interrupted_command_can_be_continued(capsys):
    end(130, lambda: fail(KeyboardInterrupt()))
    assert capsys.readouterr() == ("", "interrupted; the same command continues where it stopped\n")


def test_an_interrupted_command_of_lrcr_can_be_continued(monkeypatch):
    monkeypatch.setattr("lrcr.api.train", lambda *_, **__: fail(KeyboardInterrupt()))
    code, _, err = run("train", "photos", "-o", "model.pt")
    assert (code, err) == (130, "interrupted; the same command continues where it stopped\n")


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        fail(ZeroDivisionError())


def test_garbage_is_collected_as_usual_while_a_command_works():
    gc.set_threshold(100_000)
    with one_line_errors():
        assert gc.get_threshold()[0] < 10_000 and gc.isenabled()


def test_warnings_of_the_library_are_shown(capsys, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    with one_line_errors():
        logging.getLogger("lrcr.retrieval").warning("few [images]")
        logging.getLogger("lrcr.retrieval").info("all is well")
    shown = capsys.readouterr().err
    assert "WARNING" in shown and "few [images]" in shown and "all is well" not in shown


def test_progress_is_shown_on_standard_error(capsys):
    assert list(progress.over("abc", "spell")) == ["a", "b", "c"]
    with progress.task("count", None) as task:
        task.advance(2)
        task.advance()
    shown = capsys.readouterr()
    assert shown.out == ""
    spelled, counted = shown.err.splitlines()
    assert spelled.startswith("spell") and "3/3" in spelled
    assert counted.startswith("count") and "3/?" in counted


def test_a_stage_reads_its_params_from_the_working_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: 4")
    seen: list[Params] = []
    run_stage(seen.append)
    assert [params.seed for params in seen] == [4]
    (tmp_path / "params.yaml").write_text("seed: -4")
    with pytest.raises(SystemExit):
        run_stage(seen.append)
    assert len(seen) == 1
    assert capsys.readouterr().err.startswith("error: params.yaml: seed: -4 is refused")


@pytest.fixture
def torchrun(monkeypatch):
    """Let this process look like rank 1 of 2."""
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    waits: list[float] = []
    monkeypatch.setattr(terminal.time, "sleep", waits.append)
    return waits


def test_several_ranks_are_refused_where_they_would_all_do_the_same(torchrun, tmp_path, monkeypatch):
    said = "torchrun: 2 ranks, but only stages.train can use several; start one process"
    assert refuse("inspect", tmp_path) == said
    assert torchrun == [3], "rank 0 has printed the same error before"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: 4")
    end(2, lambda: run_stage(lambda params: None))
    run_stage(lambda params: None, several=True)


def test_without_torchrun_no_rank_waits(torchrun, tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert "not an artifact" in refuse("inspect", tmp_path)
    assert torchrun == []


def test_one_rank_of_torchrun_is_as_good_as_none(torchrun, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert "not an artifact" in refuse("inspect", tmp_path)
    assert torchrun == []
    assert "torch" in sys.modules
