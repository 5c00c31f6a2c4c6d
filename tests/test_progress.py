from contextlib import contextmanager

import pytest

from lrcr.progress import SILENT, Progress


class Recorder(Progress):
    """Notes when tasks begin and end, and their steps."""

    def __init__(self):
        self.seen = []

    @contextmanager
    def task(self, description, total):
        self.seen.append(f"{description} of {total}")
        yield self
        self.seen.append("end")

    def advance(self, steps=1):
        self.seen.append(steps)


def test_each_item_is_a_step_once_it_is_done():
    progress = Recorder()
    for item in progress.over(["a", "b"], "read"):
        progress.seen.append(item)
    assert progress.seen == ["read of 2", "a", 1, "b", 1, "end"]


@pytest.mark.parametrize(("items", "given", "total"), [([1], None, 1), (iter([1]), None, None), (iter([1]), 7, 7)])
def test_the_total_is_the_number_of_items_where_it_is_known(items, given, total):
    progress = Recorder()
    assert list(progress.over(items, "read", given)) == [1]
    assert progress.seen[0] == f"read of {total}"


def test_an_item_that_fails_is_no_step():
    progress = Recorder()
    with pytest.raises(ValueError, match="b"):
        for item in progress.over(["a", "b"], "read"):
            if item == "b":
                raise ValueError(item)
    assert progress.seen[:2] == ["read of 2", 1]
    assert progress.seen.count(1) == 1


def test_silence_yields_the_items_and_prints_nothing(capfd):
    assert list(SILENT.over(range(3), "read")) == [0, 1, 2]
    with SILENT.task("read", None) as task:
        task.advance(5)
    assert capfd.readouterr() == ("", "")
