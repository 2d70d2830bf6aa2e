"""The report of a comparison in a browser: tables sort, the gallery filters, everything by keyboard too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lovasz.study.data.parts import TEST
from lovasz.study.report.confusions import WRITTEN
from lovasz.study.report.report import write_report
from tests.pages.browser import chromium, open_page
from tests.study.made_up import made_up, pictures

NAMES = ("Ground with a name too long for any table or chart", "Wall", "Door", "Roof & gutter", "<b>Sky</b>")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three losses, two seeds, images of two sizes."""
    path = tmp_path_factory.mktemp("few") / "report.html"
    data = pictures(5, 8, ((40, 60), (60, 40)), NAMES)
    write_report(made_up(("ce", "lovasz", "ce+lovasz"), 2, data, lr=(0.01, 0.02)), path)
    return path


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More classes than a matrix of numbers holds."""
    path = tmp_path_factory.mktemp("many") / "report.html"
    write_report(made_up(("ce", "lovasz"), 1, pictures(60, 3, ((40, 60),))), path)
    return path


def column(page: Any, table: str, place: int) -> list[str]:
    cells: list[str] = page.eval_on_selector_all(
        f"{table} tbody tr td:nth-child({place})", "cells => cells.map(cell => cell.dataset.v)"
    )
    return cells


def shown(page: Any) -> list[str]:
    items: list[str] = page.eval_on_selector_all(
        "[data-items] > li:not([hidden])", "items => items.map(item => item.dataset.tags)"
    )
    return items


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_fits_any_width_light_and_dark(browser: Any, report: Path, many: Path, width: int, dark: bool) -> None:
    grounds = []
    for path in (report, many):
        with open_page(browser, path, width, dark) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
            grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    bright = [sum(map(int, ground[4:-1].split(", "))) > 380 for ground in grounds]
    assert bright == [not dark] * 2


def test_tables_sort_by_mouse_and_by_keyboard(browser: Any, report: Path) -> None:
    with open_page(browser, report, 1280) as page:
        gains = [float(gain) for gain in column(page, ".by-class", 2)]
        assert gains == sorted(gains, reverse=True)
        page.click(".by-class th:nth-child(6) button")
        pixels = [int(number) for number in column(page, ".by-class", 6)]
        assert pixels == sorted(pixels)
        page.click(".by-class th:nth-child(6) button")
        assert [int(number) for number in column(page, ".by-class", 6)] == pixels[::-1]
        page.focus("#losses th:nth-child(2) button")
        page.keyboard.press("Enter")
        means = [float(mean) for mean in column(page, "#losses table", 2)]
        assert means == sorted(means)
        assert page.get_attribute("#losses th:nth-child(2)", "aria-sort") == "ascending"


INSIDE = """box => {
  const [cell, frame] = [box, box.closest('.scroll')].map(one => one.getBoundingClientRect());
  return frame.left - 1 <= cell.left && cell.right <= frame.right + 1;
}"""


def test_a_wide_screen_shows_the_tables_whole(browser: Any, report: Path) -> None:
    """At 1400 pixels the column of your own loss was cut off, beside a third of a screen of nothing."""
    with open_page(browser, report, 1400) as page:
        for table in ("#losses", "#differences", "#classes", "#decisions"):
            box = page.locator(f"{table} .scroll").first
            assert box.evaluate("box => box.scrollWidth <= box.clientWidth"), table
            assert box.get_attribute("data-more") == "", table
        assert (
            page.evaluate("Math.max(...[...document.querySelectorAll('p:not(.readout)')].map(p => p.clientWidth))")
            < 760
        )


def test_a_narrow_screen_keeps_names_means_and_intervals(browser: Any, report: Path) -> None:
    """At 390 pixels the interval was the column that was cut."""
    with open_page(browser, report, 390) as page:
        for cell in ("td:nth-child(1)", "td:nth-child(2)", "td:nth-child(3)"):
            assert page.eval_on_selector(f"#losses tbody tr:nth-child(2) {cell}", INSIDE), cell
        assert "to" in page.inner_text("#losses tbody tr:nth-child(2) td:nth-child(3) i")
        assert page.eval_on_selector(".by-class tbody td:nth-child(2)", INSIDE)
        box = page.locator("#losses .scroll")
        assert box.get_attribute("data-more") == "right"
        box.evaluate("box => { box.scrollLeft = 9999; }")
        page.wait_for_function("document.querySelector('#losses .scroll').dataset.more === 'left'")
        assert page.eval_on_selector("#losses tbody td:nth-child(1)", INSIDE)


def test_nothing_is_painted_over_digits(browser: Any, report: Path) -> None:
    """A shadow inside the box lay on the digits that it cut."""
    with open_page(browser, report, 390) as page:
        assert page.eval_on_selector("#losses .scroll", "box => getComputedStyle(box).backgroundImage") == "none"
        shadow = page.eval_on_selector("#losses .scroll", "box => getComputedStyle(box).boxShadow")
        assert shadow != "none"
        assert "inset" not in shadow


def test_every_link_of_the_navigation_shows_its_section(browser: Any, report: Path) -> None:
    with open_page(browser, report, 1280) as page:
        links = page.eval_on_selector_all("nav a", "links => links.map(link => link.getAttribute('href'))")
        assert links.index("#images") == links.index("#classes") + 1
        starts = [
            page.evaluate("id => document.querySelector(id).getBoundingClientRect().top", one) for one in links
        ]
        assert starts == sorted(starts)
        assert page.locator("details.folded[open]").count() == 0
        for link in links:
            page.click(f"nav [href='{link}']")
            assert page.locator(f"{link} > :not(summary):visible").count(), link
        # Closed again, it opens though the address is the same.
        page.click("nav [href='#jaccard']")
        page.click("#jaccard > summary")
        assert not page.locator("#jaccard svg").first.is_visible()
        page.click("nav [href='#jaccard']")
        assert page.locator("#jaccard svg").first.is_visible()
        page.goto("about:blank")
        page.goto(f"{report.resolve().as_uri()}#jaccard")
        assert page.locator("#jaccard svg").first.is_visible()


def test_gallery_filters(browser: Any, report: Path) -> None:
    with open_page(browser, report, 1280) as page:
        everything = shown(page)
        assert len(everything) == 8
        assert page.inner_text("#images output") == "8 of 8 shown"
        page.select_option("[data-tag]", label=NAMES[3])
        held = [tags for tags in everything if "3" in tags.split()]
        assert shown(page) == held
        assert 0 < len(held) < 8
        page.select_option("[data-change]", label="gained with ce+lovasz")
        both = [tags for tags in held if "gained2" in tags.split()]
        assert shown(page) == both
        assert page.inner_text("#images output") == f"{len(both)} of 8 shown"
        page.select_option("[data-tag]", "")
        gained = [tags for tags in everything if "gained2" in tags.split()]
        assert shown(page) == gained
        page.select_option("[data-change]", "")
        assert shown(page) == everything
        page.fill("[data-text]", "test 003")
        assert len(shown(page)) == 1
        page.select_option("[data-change]", "lost1" if "gained1" in shown(page)[0] else "gained1")
        assert shown(page) == []


def test_loss_of_the_confusion_is_chosen_by_keyboard(browser: Any, report: Path) -> None:
    visible = "panels => panels.filter(panel => panel.checkVisibility()).map(panel => panel.dataset.panel)"
    with open_page(browser, report, 1280) as page:
        page.focus("nav [href='#confusion']")
        page.keyboard.press("Enter")
        assert page.eval_on_selector_all("[data-panel]", visible) == ["0"]
        page.focus("[data-panels]")
        page.keyboard.press("ArrowDown")
        assert page.eval_on_selector_all("[data-panel]", visible) == ["1"]
        page.focus("[data-panel='1'] .matrix td")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#readout1").startswith("label Wall, predicted as Wall: ")


def test_cells_of_a_matrix_of_many_classes_tell_what_they_are(browser: Any, many: Path) -> None:
    assert WRITTEN < 60
    with open_page(browser, many, 1280) as page:
        page.click("nav [href='#confusion']")
        page.locator(".confusion").first.scroll_into_view_if_needed()
        cell = page.evaluate(
            "(() => { const matrix = document.querySelector('[data-cells]').getScreenCTM();"
            "const place = new DOMPoint(2.5, 2.5).matrixTransform(matrix); return [place.x, place.y]; })()"
        )
        page.mouse.move(*cell)
        said = page.inner_text("#readout0")
        assert said.startswith("label Class 2, predicted as Class 2: ")
        assert " % " in said


def test_whole_without_scripts_and_on_paper(browser: Any, report: Path, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.resolve().as_uri())
    page.click("#confusion > summary")
    assert page.locator("[data-panel]:visible").count() == 3
    assert page.locator("[data-items] > li:visible").count() == 8
    assert page.locator("select:visible").count() == 0
    context.close()
    with open_page(browser, report, 1280) as page:
        page.emulate_media(media="print")
        assert page.locator("select:visible").count() == 0
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details:not([open])").count() > 0
        assert len(page.pdf(path=str(tmp_path / "report.pdf"))) > 10_000


def test_names_are_text(browser: Any, report: Path) -> None:
    with open_page(browser, report, 1280) as page:
        assert page.locator(".by-class b").count() == 0
        assert NAMES[4] in page.inner_text(".by-class")
        assert page.locator(f"#images li[data-text='{TEST} 003']").count() == 1
