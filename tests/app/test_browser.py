"""The page in a real browser: what a person does on it, with pointer and keyboard."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lrcr.api import build_index

from .browser import Server, find_browser, running

pytestmark = pytest.mark.app
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
_DROP = """([name, contents]) => {
    const bytes = Uint8Array.from(atob(contents), (letter) => letter.charCodeAt(0)), transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
    for (const kind of ["dragenter", "dragover", "drop"])
        document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""
_PASTE = """([name, contents]) => {
    const bytes = Uint8Array.from(atob(contents), (letter) => letter.charCodeAt(0)), transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
    document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
}"""


@pytest.fixture(scope="module")
def folder(rendered, tmp_path_factory) -> Path:
    """A folder with an index that owns local descriptors, and a second index; the photos are in `rendered`."""
    base = tmp_path_factory.mktemp("page")
    quick = ["extract.image_size=256", "extract.max_descriptors=300", "codebook.words=256"]
    build_index(rendered / "photos", base / "lrcr.index", overrides=[*quick, "index.local_descriptors=float16"])
    build_index(rendered / "photos", base / "how.index", overrides=["extract.image_size=160", *quick[1:]])
    return base


@pytest.fixture(scope="module")
def server(folder) -> Iterator[Server]:
    with running(folder / "lrcr.index", "--judged", folder / "judged") as started:
        yield started


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    program = find_browser()
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(chromium, server):
    """The page; errors in its scripts fail the test."""
    context = chromium.new_context(viewport=WIDE)
    opened, errors = context.new_page(), []
    opened.set_default_timeout(60_000)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(server.address)
    opened.wait_for_selector("#served:not(:empty)")
    yield opened
    context.close()
    assert not errors


@pytest.fixture(scope="module")
def query(rendered) -> Path:
    """A photo that is in the index."""
    return sorted((rendered / "photos/church").iterdir())[0]


def give(page, query: Path, how: str = _DROP) -> None:
    """Drop or paste a photo, and wait for its results."""
    page.evaluate(how, [query.name, base64.b64encode(query.read_bytes()).decode()])
    settle(page)


def settle(page) -> None:
    """Wait until the results are those of the last query."""
    page.wait_for_selector("#columns:not(:has(.wait)) .tile")


def names(page) -> list[str]:
    """The names of the results, in their order."""
    labels = page.locator(".tile .open").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    return [label.split(". ", 1)[1].split(",")[0] for label in labels]


def test_a_photo_is_dropped_or_pasted_and_the_same_landmark_comes_first(page, query):
    for how in (_DROP, _PASTE):
        page.click("#home")
        give(page, query, how)
        assert names(page)[0] == f"church/{query.name}" and names(page)[1].startswith("church/")
        assert page.locator(".tile").first.locator(".badge").inner_text() == "the query"


def test_a_box_is_drawn_moved_by_keys_and_typed(page, query):
    give(page, query)
    whole = names(page)
    area = page.locator("#photo").bounding_box()
    page.mouse.move(area["x"] + 0.3 * area["width"], area["y"] + 0.3 * area["height"])
    page.mouse.down()
    page.mouse.move(area["x"] + 0.8 * area["width"], area["y"] + 0.9 * area["height"], steps=4)
    page.mouse.up()
    page.wait_for_url("**box=**")
    settle(page)
    drawn = [int(value) for value in page.input_value("#box-text").split(",")]
    width, height = page.locator("#photo-name small").inner_text().split(" pixels")[0].split(" × ")
    expected = [0.3 * int(width), 0.3 * int(height), 0.8 * int(width), 0.9 * int(height)]
    assert drawn == pytest.approx(expected, abs=2)
    page.focus("#photo")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**box={drawn[0] - round(max(int(width), int(height)) / 50)},*")
    page.fill("#box-text", "1, 2, 90, 80")
    page.keyboard.press("Enter")
    page.wait_for_url("**box=1,2,90,80")
    page.click("#whole")
    page.wait_for_url(lambda address: "box" not in address)
    settle(page)
    assert names(page) == whole
    page.go_back()
    page.wait_for_url("**box=1,2,90,80")
    playwright.expect(page.locator("#box-text")).to_have_value("1, 2, 90, 80", timeout=60_000)


def test_a_result_is_explained_and_becomes_the_query(page, query):
    give(page, query)
    page.locator(".tile .open").nth(1).click()
    page.wait_for_selector("#matches .stage line")
    words = page.locator("#matches .stage line").count()
    page.check("#matches input[value=inliers]")
    assert page.locator("#matches .stage line").count() > 3 and words > 3
    second = names(page)[1]
    page.keyboard.press("s")
    page.wait_for_url("**photo=0-*")
    playwright.expect(page).to_have_title(f"{second} – lrcr", timeout=60_000)
    settle(page)
    assert names(page)[0] == second


def test_maps_of_the_query_are_shown(page, query):
    give(page, query)
    page.click("#query-maps")
    page.wait_for_selector("#maps canvas")
    captions = page.locator("#maps figcaption").all_inner_texts()
    assert captions[0] == "photo" and captions[1].startswith("attention")
    page.keyboard.press("Escape")
    assert not page.locator("#maps").is_visible()


def test_a_model_without_maps_has_no_button_for_them(page, query):
    def without_maps(route):
        answer = route.fetch()
        state = answer.json()
        state["indexes"] = [{**index, "maps": False} for index in state["indexes"]]
        route.fulfill(response=answer, json=state)

    page.route("**/api/state", without_maps)
    page.reload()
    page.wait_for_function("document.querySelector('#served').textContent")
    give(page, query)
    assert not page.locator("#query-maps").is_visible()
    page.locator(".tile .open").nth(1).click()
    page.wait_for_selector("#matches .stage line")
    assert page.locator("#matches button", has_text="Maps").count() == 0
    page.keyboard.press("m")
    assert not page.locator("#maps").is_visible()


def test_what_is_judged_by_keys_survives_a_reload_and_a_kill(page, query, server, folder):
    give(page, query)
    page.keyboard.press("r")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("1")
    page.wait_for_selector(".badge[data-mark=easy]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("2")
    page.wait_for_selector(".badge[data-mark=hard]")
    judged = names(page)[1:3]
    truth = json.loads((folder / "judged/ground_truth.json").read_text())
    [entry] = truth["queries"]
    assert entry["image"] == f"photos/church/{query.name}" and entry["bbox"] is None
    assert [entry["easy"], entry["hard"]] == [[f"photos/{name}"] for name in judged]
    page.reload()
    settle(page)
    assert page.locator(".badge[data-mark]").all_inner_texts() == ["easy", "hard"]
    server.kill()
    server.start()
    page.goto(server.address)
    page.click("#open-judged")
    page.click("#judged .list button")
    settle(page)
    assert page.locator(".badge[data-mark]").all_inner_texts() == ["easy", "hard"]


def test_refusals_are_shown(page, tmp_path):
    (tmp_path / "notes.jpg").write_text("no photo")
    page.set_input_files("#file", tmp_path / "notes.jpg")
    playwright.expect(page.locator("#status")).to_contain_text("notes.jpg", timeout=60_000)
    assert page.locator("#start").is_visible()


def test_narrow_screens_are_not_scrolled_sideways(chromium, server, query):
    context = chromium.new_context(viewport=NARROW, color_scheme="dark")
    page = context.new_page()
    page.goto(server.address)
    page.wait_for_selector("#served:not(:empty)", state="attached")
    give(page, query)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    page.locator(".tile .open").nth(1).click()
    page.wait_for_selector("#matches .stage line")
    assert page.evaluate(fits) and page.evaluate("document.getElementById('matches').scrollWidth <= innerWidth")
    context.close()


def test_two_indexes_stand_side_by_side(chromium, folder, query):
    with running(folder / "how.index", folder / "lrcr.index", "--judged", folder / "judged-two") as server:
        page = chromium.new_page(viewport=WIDE)
        page.set_default_timeout(60_000)
        page.goto(server.address)
        page.wait_for_selector("#served:not(:empty)")
        give(page, query)
        page.locator(".column .tile .other:not(:empty)").nth(10).wait_for()
        left, right = (page.locator(".column").nth(number).bounding_box() for number in (0, 1))
        assert left["x"] + left["width"] <= right["x"] and left["y"] == right["y"]
        page.set_viewport_size(NARROW)
        assert page.locator(".column").nth(0).is_visible() and not page.locator(".column").nth(1).is_visible()
        page.click("#tabs button:last-child")
        assert page.locator(".column").nth(1).is_visible() and not page.locator(".column").nth(0).is_visible()
        page.close()
