"""The part of the page on time: what extraction, search and re-ranking took on this machine."""

from dataclasses import dataclass
from html import escape
from typing import Any

from lrcr.evaluation.protocol import SETUPS


@dataclass(frozen=True)
class _Step:
    """A step, its speed in words, its threads if they are known, and the seconds that it took in total."""

    name: str
    speed: str
    threads: int | None
    seconds: float


def show_cost(cost: dict[str, Any], images: int, queries: int) -> str:
    """A table of the measured steps, with a bar by their share of the time.

    Args:
        cost: the contents of `metrics/cost/<dataset>.json`.
        images: number of images of the database.
        queries: number of queries.
    """
    steps = _steps(cost, images, queries)
    if not steps:
        return "<p>Nothing was measured.</p>"
    longest = max(step.seconds for step in steps) or 1.0
    rows = "".join(
        f'<tr><th scope="row">{step.name}</th><td>{escape(step.speed)}</td><td>{step.threads or "–"}</td>'
        f'<td>{_duration(step.seconds)}</td><td class="wide"><div class="share"'
        f' style="width:{100 * step.seconds / longest:.1f}%"></div></td></tr>'
        for step in steps
    )
    names = ("", "speed", "threads", "total")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    table = f'<table class="time"><thead><tr>{head}<td></td></tr></thead><tbody>{rows}</tbody></table>'
    note = "Measured after a warm-up; not compared, because it depends on the machine."
    return f'<div class="scroll">{table}</div><p>{note}</p>'


def _steps(cost: dict[str, Any], images: int, queries: int) -> list[_Step]:
    steps = []
    if speed := cost.get("extract_images_per_second"):
        steps.append(_Step("extraction", f"{speed:,.1f} images/s", cost.get("extract_threads"), images / speed))
    if milliseconds := cost.get("search_ms_per_query"):
        seconds = milliseconds * queries / 1000
        steps.append(_Step("search", f"{milliseconds:,.2f} ms a query", cost.get("search_threads"), seconds))
    if milliseconds := cost.get("rerank_ms_per_query"):
        seconds = milliseconds * queries * len(SETUPS) / 1000
        steps.append(_Step("re-ranking", f"{milliseconds:,.2f} ms a query", cost.get("search_threads"), seconds))
    return steps


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 60:,.0f} min"
