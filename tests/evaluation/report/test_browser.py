"""The page in a real browser, without a network: it loads without a fault, and its controls change pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from petrt.evaluation.report.index import write_index
from petrt.evaluation.report.page import case_page
from tests.browser import ABSENT, Browser
from tests.evaluation.report.cases import case, truth

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ABSENT, reason="needs Selenium, chromium, chromedriver"),
]
# The letters that planes get when they are drawn, each place once.
LETTERS = """
new Promise((done) => {
  const nv = niivue.Niivue.prototype, draw = nv.drawText, seen = new Set();
  nv.drawText = function (at, letter, ...more) {
    seen.add(letter + at.map(Math.round));
    draw.call(this, at, letter, ...more);
  };
  document.getElementById("reset").click();
  setTimeout(() => { nv.drawText = draw; done([...seen].map((each) => each[0])); }, 300);
})"""
READY = "document.documentElement?.matches('.all-ready, .still')"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "case.html"
    path.write_text(case_page(case(coarse=0.5 * truth(), reference=truth())))
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory, path):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.size(1200, 1000)
        browser.open(path, READY)
        yield browser


@pytest.fixture(autouse=True)
def reset(browser):
    browser.run("document.getElementById('reset').click()")
    browser.run("document.querySelector('[data-layer=output]').click()")
    browser.run("document.getElementById('stage').scrollIntoView({block: 'center'})")
    settle(browser)


def settle(browser: Browser) -> None:
    """Wait until what was drawn is shown."""
    browser.run("new Promise(r => setTimeout(() => requestAnimationFrame(() => r(1)), 150))")


def stage(browser: Browser) -> np.ndarray:
    """The pixels of the planes, grey values from 0 to 1."""
    box = browser.run(
        "(() => { const b = document.getElementById('stage').getBoundingClientRect();"
        " return {x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height}; })()"
    )
    return imread(io.BytesIO(browser.picture(box)))[..., :3].mean(-1)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


def shows(browser: Browser, expected: np.ndarray) -> bool:
    """Whether the planes become ``expected``; a slow machine draws late."""
    for _ in range(20):
        if apart(stage(browser), expected) < 1e-4:
            return True
        settle(browser)
    return False


def press(browser: Browser, *keys: str) -> None:
    browser.run("document.getElementById('upper').focus()")
    for key in keys:
        browser.press(key)
    settle(browser)


def test_it_loads_without_network_and_faults(browser, path):
    assert not browser.run("document.documentElement.classList.contains('still')")
    assert browser.run("document.getElementById('viewer-fault').textContent") == ""
    assert browser.requests == [path.as_uri()]
    assert browser.faults == []
    shown = stage(browser)
    assert shown.std() > 0.05  # the planes are not empty


def test_the_slider_goes_from_input_to_output(browser):
    def slide(value: int) -> np.ndarray:
        browser.run(
            f"(() => {{ const s = document.getElementById('slider'); s.value = {value};"
            " s.dispatchEvent(new Event('input')); })()"
        )
        settle(browser)
        return stage(browser)

    output, middle, source = slide(100), slide(50), slide(0)
    assert apart(source, output) > 0.005
    # Half way is the mean of both, to a grey value or two.
    assert np.abs(middle - (source + output) / 2).mean() < 0.01
    slide(100)
    assert shows(browser, output)


def test_keys(browser):
    output = stage(browser)
    press(browser, " ")
    assert apart(stage(browser), output) > 0.005
    press(browser, " ")
    assert shows(browser, output)
    press(browser, "ARROW_LEFT", "ARROW_LEFT")
    assert browser.run("document.getElementById('slider').value") == "90"
    press(browser, "r")
    press(browser, *["ARROW_UP"] * 4)
    moved = browser.run("document.getElementById('place').textContent")
    press(browser, "r")
    assert browser.run("document.getElementById('place').textContent") != moved
    press(browser, "-")
    assert apart(stage(browser), output) > 0.01  # a narrower window is darker
    press(browser, "r")
    named = "document.getElementById('window').selectedOptions[0].textContent"
    assert browser.run(named) == "0 – 300"
    press(browser, "2")
    assert browser.run("document.getElementById('right-name').textContent") == "coarse"
    assert apart(stage(browser), output) > 0.01


def test_arrows_work_at_once_and_scroll_where_no_planes_are(browser, path):
    def place() -> str:
        return browser.run("document.getElementById('place').textContent")

    browser.open(path, READY)
    browser.run("scrollTo(0, 0)")
    assert browser.run("document.activeElement === document.body")
    browser.run(
        "void (window.taken = [], window.addEventListener('keydown',"
        " (event) => setTimeout(() => taken.push(event.defaultPrevented)), true))"
    )
    begun = place()
    browser.press("ARROW_LEFT")
    browser.press("ARROW_UP")
    settle(browser)
    assert browser.run("document.getElementById('slider').value") == "95"
    moved = place()
    assert moved != begun
    assert browser.run("scrollY") == 0
    browser.run("document.getElementById('upper').focus({preventScroll: true})")
    browser.run("scrollTo(0, document.body.scrollHeight / 2)")
    settle(browser)
    browser.press("ARROW_UP")
    settle(browser)
    assert place() == moved
    assert browser.run("taken") == [
        True,
        True,
        False,
    ]  # the last is left to the browser: it scrolls
    browser.run("document.querySelector('[data-go]').click()")
    settle(browser)
    begun = place()
    browser.press("ARROW_UP")
    settle(browser)
    assert place() != begun


def test_letters_that_do_not_fit_are_left_out(browser, path, tmp_path):
    """The coronal and sagittal planes of three slices have letters at their sides only."""
    slices = truth()[:, :, 17:20]
    thin = {"input": slices, "output": slices}
    page = tmp_path / "thin.html"
    page.write_text(case_page(case(std=None, record={}, **thin)))
    browser.open(page, READY)
    assert sorted(browser.run(LETTERS)) == sorted("APRL" + "RL" + "AP")  # axial, coronal, sagittal
    browser.open(path, READY)
    assert sorted(browser.run(LETTERS)) == sorted("APRL" + "SIRL" + "SIAP")


def test_blink(browser):
    press(browser, "b")
    seen = set()
    for _ in range(8):
        seen.add(browser.run("getComputedStyle(document.getElementById('upper')).opacity"))
        browser.run("new Promise(r => setTimeout(() => r(1), 250))")
    assert seen == {"0", "1"}
    press(browser, "b")
    assert browser.run("document.getElementById('upper').style.opacity") == "1"


def test_values_at_the_cross(browser):
    """A click on a hot spot moves the cross there, and the values are those of the volumes."""
    browser.run("document.querySelector('[data-go]').click()")
    settle(browser)
    values = {
        name: float(browser.run(f"document.getElementById('value-{name}').textContent"))
        for name in ("output", "coarse", "std", "error")
    }
    peak = float(truth().max())
    for name, value in values.items():
        assert value == round(value, 1), name  # a step is 1.17, 0.12 or 0.47
    assert browser.run("document.getElementById('place').textContent") == "x 12  y 10  z 10 mm"
    assert values["output"] == pytest.approx(peak, rel=0.01)
    assert values["coarse"] == pytest.approx(peak / 2, rel=0.01)
    assert values["std"] == pytest.approx(5, abs=0.2)
    assert values["error"] == pytest.approx(0, abs=0.5)


def test_the_index(browser, path):
    index = write_index(path.parent)
    browser.open(index, "document.readyState === 'complete' && !!document.querySelector('td a')")
    assert browser.run("document.querySelector('td a').getAttribute('href')") == "case.html"
    assert browser.faults == []
    browser.open(path, READY)


def test_without_webgl_and_on_paper_there_is_a_picture(browser, path, tmp_path):
    shown = "getComputedStyle(document.querySelector('.picture')).display"
    assert browser.run(shown) == "none"
    browser.scheme("dark", "print")
    settle(browser)
    assert browser.run(shown) == "block"
    browser.scheme("light")
    assert browser.faults == []
    with Browser(tmp_path, "--disable-3d-apis") as plain:
        plain.open(path, READY)
        assert plain.run("document.documentElement.classList.contains('still')")
        assert "no WebGL 2" in plain.run("document.getElementById('viewer-fault').textContent")
        assert plain.run(shown) == "block"
        assert plain.run("document.querySelector('.picture').naturalWidth") == 1200
