"""The page of an evaluation in a browser: at both widths, light, dark, on paper, by mouse and by keyboard."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lovasz.study.score.scores import score
from tests.pages.browser import chromium, open_page
from tests.study.evaluated import NAMES, blobs, count, report


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.mark.parametrize("expected", ["", "on"])
def test_without_a_browser_tests_are_skipped_unless_one_is_expected(
    expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setenv("LOVASZ_EXPECT_CHROMIUM", expected)
    with (
        pytest.raises(pytest.fail.Exception if expected else pytest.skip.Exception, match="no chromium"),
        chromium(),
    ):
        pass


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("<script>undefined_name()</script>", "undefined_name is not defined"),
        ("<script>console.error('a word')</script>", "a word"),
        ("<img src='http://localhost:9/a.png'>", "requests http://localhost:9/a.png"),
    ],
)
def test_a_page_with_errors_fails_its_test(browser: Any, tmp_path: Path, broken: str, said: str) -> None:
    (tmp_path / "page.html").write_text(f"<!doctype html><title>a</title>{broken}")
    with pytest.raises(AssertionError, match=said), open_page(browser, tmp_path / "page.html", 390):
        pass


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of six classes."""
    return report(tmp_path_factory.mktemp("small"), blobs(9, 5), NAMES, photos=True)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 150 classes."""
    names = tuple(f"a class with quite a long name {index}" for index in range(150))
    return report(tmp_path_factory.mktemp("large"), blobs(12, 150), names)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("which", ["small", "large"])
def test_it_opens_offline_and_nothing_sticks_out(
    browser: Any, which: str, width: int, dark: bool, request: pytest.FixtureRequest
) -> None:
    with open_page(browser, request.getfixturevalue(which), width, dark) as page:
        assert page.title().startswith("lovasz evaluate: mIoU ")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].every(i => (i.loading = 'eager', i.src.startsWith('data:')))")
        assert page.evaluate("Promise.all([...document.images].map(i => i.decode())).then(() => true)")


def column(page: Any, index: int) -> list[str]:
    """The text of a column of the first table."""
    return page.evaluate(
        "i => [...document.querySelector('table[data-sortable]').tBodies[0].rows].map(r => r.cells[i].innerText)",
        index,
    )


def test_tables_sort_by_mouse_and_by_keyboard(browser: Any, small: Path) -> None:
    with open_page(browser, small, 1280) as page:
        header = page.locator("table[data-sortable] th").nth(6)
        before = column(page, 6)
        assert before[-1] == "–"  # the absent class
        header.get_by_role("button").click()
        assert header.get_attribute("aria-sort") == "ascending"
        known = [float(value) for value in column(page, 6)[:-1]]
        assert known == sorted(float(value) for value in before[:-1])
        assert known != [float(value) for value in before[:-1]]
        header.get_by_role("button").focus()
        page.keyboard.press("Enter")
        assert header.get_attribute("aria-sort") == "descending"
        assert [float(value) for value in column(page, 6)[:-1]] == known[::-1]
        assert column(page, 6)[-1] == "–"
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Space")
        assert header.get_attribute("aria-sort") is None
        images = [float(value) for value in column(page, 5)[:-1]]
        assert images == sorted(images)
        # By value, not by letters: 0.25 before 0.5, and a sign counts.
        cells = "[...document.querySelector('table[data-sortable]').tBodies[0].rows].map(r => r.cells[4])"
        page.evaluate(f"{cells}.forEach((c, i) => c.dataset.v = ['0.5', '0.25', '-2', '-1', '1e1', ''][i])")
        page.locator("table[data-sortable] th").nth(4).get_by_role("button").click()
        assert page.evaluate(f"{cells}.map(c => c.dataset.v)") == ["-2", "-1", "0.25", "0.5", "1e1", ""]
        names = page.locator("table[data-sortable] th").first
        names.get_by_role("button").click()
        assert [value.split(" ", 1)[1] for value in column(page, 0)] == sorted(NAMES)


@pytest.mark.parametrize("which", ["small", "large"])
def test_the_navigation_has_every_section_in_order(
    browser: Any, which: str, request: pytest.FixtureRequest
) -> None:
    with open_page(browser, request.getfixturevalue(which), 1400) as page:
        links = page.eval_on_selector_all("nav a", "links => links.map(link => link.getAttribute('href'))")
        sections = page.eval_on_selector_all(".sections > section", "all => all.map(one => `#${one.id}`)")
        assert links == sections
        assert links[:2] == ["#classes", "#images"]
        assert page.eval_on_selector(
            ".class-table", "table => table.scrollWidth <= table.parentElement.clientWidth"
        )


def test_a_narrow_screen_keeps_the_class_and_its_iou(browser: Any, small: Path) -> None:
    with open_page(browser, small, 390) as page:
        cell = page.locator(".class-table tbody td:nth-child(2)").first.bounding_box()
        assert cell["x"] + cell["width"] < 390
        page.eval_on_selector("#classes .scroll", "box => { box.scrollLeft = 9999; }")
        name = page.locator(".class-table tbody td:first-child").first.bounding_box()
        assert 0 <= name["x"] < 30


def test_the_gallery_filters_by_class_and_text(browser: Any, small: Path) -> None:
    with open_page(browser, small, 1280) as page:
        items = page.locator("[data-items] > li")
        total = items.count()
        shown = "[...document.querySelectorAll('[data-items] > li')].filter(i => i.checkVisibility())"
        assert page.evaluate(f"{shown}.length") == total
        counter = page.locator("[data-gallery] output")
        assert counter.inner_text() == f"{total} of {total} shown"
        tags = items.evaluate_all("found => found.map(i => i.dataset.tags.split(' '))")
        few = min(range(5), key=lambda label: sum(str(label) in each for each in tags))
        page.get_by_label("Images with the class").select_option(str(few))
        expected = sum(str(few) in each for each in tags)
        assert expected < total
        assert page.evaluate(f"{shown}.length") == expected
        page.get_by_label("Images with the class").select_option("5")  # no image holds it
        assert counter.inner_text() == f"0 of {total} shown"
        page.get_by_label("Images with the class").select_option("")
        name = items.nth(2).get_attribute("data-text")
        page.get_by_label("Name contains").fill(name)
        assert page.evaluate(f"{shown}.map(i => i.dataset.text)") == [name]


@pytest.mark.parametrize("which", ["small", "large"])
def test_the_matrix_is_read_by_mouse_and_by_keyboard(
    browser: Any, which: str, request: pytest.FixtureRequest
) -> None:
    with open_page(browser, request.getfixturevalue(which), 1280) as page:
        readout = page.locator("#readout")
        cell = page.locator("table[data-matrix] tbody tr").nth(1).locator("td").nth(2)
        cell.hover()
        names = page.locator("table[data-matrix] tbody th").evaluate_all("all => all.map(h => h.dataset.name)")
        assert readout.inner_text().startswith(f"label {names[1]}, predicted as {names[2]}: ")
        page.locator("table[data-matrix] td[tabindex='0']").first.focus()
        for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowUp", "ArrowUp"):
            page.keyboard.press(key)
        assert readout.inner_text().startswith(f"label {names[0]}, predicted as {names[0]}: ")
        own = page.locator("table[data-matrix] tbody td.own").first
        pixels, of_label = (
            int(own.get_attribute("data-n")),
            int(page.locator("table[data-matrix] tbody th").first.get_attribute("data-n")),
        )
        assert readout.inner_text().endswith(f": {pixels:,} pixels, {100 * pixels / of_label:.2f} % of it")
        assert page.locator("table[data-matrix] td[tabindex='0']").count() == 1


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => {
    const part = c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const found = [];
  for (const element of document.querySelectorAll('main *')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    const style = getComputedStyle(element);
    if (!own || !element.checkVisibility() || style.fontSize === '0px' || element.closest('.picture')) continue;
    let behind = element;
    while (behind && rgba(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
    const back = rgba(getComputedStyle(behind ?? document.body).backgroundColor);
    const [a, b] = [light(rgba(style.color)), light(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([ratio, element.tagName + '.' + element.className + ': ' + element.textContent.slice(0, 30)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read_on_what_is_behind_it(browser: Any, small: Path, dark: bool) -> None:
    """Contrast of at least 4.5 to 1, as WCAG 2.2 AA asks for small text."""
    with open_page(browser, small, 1280, dark) as page:
        every_shade = "[...document.querySelectorAll('[data-matrix] td')].slice(0, 18).forEach((c, i) => "
        every_shade += "{ c.className = `${i < 9 ? 'own ' : ''}s${i % 9 + 1}`; c.textContent = '50'; })"
        page.evaluate(every_shade)
        found = page.evaluate(CONTRAST)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert len(found) > 100
    assert found[0][0] >= 4.5, found[:5]
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == dark


def test_paper_has_no_controls_and_cuts_nothing_off(browser: Any, small: Path) -> None:
    with open_page(browser, small, 800, dark=True) as page:
        page.emulate_media(media="print")
        assert not page.locator(".filters").is_visible()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
        assert len(page.pdf()) > 10_000


def test_every_control_has_a_name_and_is_reached_by_tab(browser: Any, small: Path) -> None:
    with open_page(browser, small, 1280) as page:
        reached = []
        for _ in range(200):
            page.keyboard.press("Tab")
            where = page.evaluate(
                "(e => e === document.body ? null : e.tagName + ' ' + (e.type || ''))(document.activeElement)"
            )
            if where is None:
                break
            reached.append(where)
        kinds = {"BUTTON button", "SELECT select-one", "INPUT search", "TD ", "SUMMARY ", "DIV "}
        assert kinds <= set(reached), reached
        unnamed = page.evaluate(
            "[...document.querySelectorAll('button, select, input, [role=grid], [role=region], img')]"
            ".filter(e => !(e.textContent || e.labels?.length || e.getAttribute('aria-label') || e.alt)).length"
        )
        assert unnamed == 0


def test_without_scripts_the_page_is_whole(browser: Any, small: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(small.resolve().as_uri())
    assert not page.locator(".filters").is_visible()
    assert page.locator("[data-items] > li").first.is_visible()
    assert page.locator("table[data-matrix] td").first.is_visible()
    context.close()


def test_numbers_of_the_page_are_those_of_the_scores(browser: Any, small: Path) -> None:
    folder = small.parent
    found = count(folder / "predictions", folder / "targets", NAMES)
    expected = score(found)
    with open_page(browser, small, 1280) as page:
        tiles = page.locator(".tiles b").all_inner_texts()
        written = page.locator("table[data-matrix] tbody tr").evaluate_all(
            "rows => rows.map(r => [...r.cells].slice(1).map(c => Number(c.dataset.n ?? 0)))"
        )
        bars = page.locator(".histogram li").evaluate_all("all => all.map(b => b.title)")
    shares = (expected.miou, expected.image_miou, expected.class_miou, expected.dice, expected.accuracy)
    assert tiles == [f"{100 * share:.2f}" for share in shares]
    assert json.dumps(written) == json.dumps(found.confusion.tolist())
    assert len(bars) == 20
    assert sum(int(re.search(r"(\d+) image", bar).group(1)) for bar in bars) == 9
