"""Pages in a real browser: what is seen on a phone and a screen, in light and dark, by keyboard, without a script.

Needs Selenium, Chromium and its driver (Debian: `apt install chromium chromium-driver`); skipped where one is missing.
"""

import base64
import shutil

import cv2
import numpy as np
import pytest

from distill.cli import main
from distill.report.charts import line_chart
from distill.report.page import chart_section, origin_sections, pictures_section, results_section, write_page
from distill.report.pictures import Panel, depth_scale
from distill.report.tables import Row

PHONE, DESKTOP = (390, 844), (1280, 900)
COLOURS = {"teacher": (200, 20, 20), "student": (20, 200, 20), "ground truth": (20, 20, 200)}


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.common import WebDriverException

    programs = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not all(programs):
        pytest.skip("no chromium and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    except WebDriverException as error:
        pytest.skip(f"the browser does not start: {error.msg}")
    yield Page(driver)
    driver.quit()


class Page:
    """One browser, and what a person sees in it."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, size=DESKTOP, scheme="light", script=True):
        command = self.driver.execute_cdp_cmd
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        command("Emulation.setDeviceMetricsOverride", screen)
        scheme = {"name": "prefers-color-scheme", "value": scheme}
        command("Emulation.setEmulatedMedia", {"features": [scheme]})
        command("Emulation.setScriptExecutionDisabled", {"value": not script})
        self.driver.get(path.as_uri())
        return self

    def ask(self, script, *arguments):
        return self.driver.execute_script(f"return {script}", *arguments)

    def press(self, *names):
        from selenium.webdriver import ActionChains, Keys

        for name in names:
            ActionChains(self.driver).send_keys(getattr(Keys, name)).perform()

    def picture(self, selector):
        """What is seen of an element, RGB (H, W, 3)."""
        place = self.ask(
            "(e => {e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = e.getBoundingClientRect();"
            "return {x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height, scale: 1}})"
            f"(document.querySelector('{selector}'))"
        )
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": place, "captureBeyondViewport": True})
        raw = np.frombuffer(base64.b64decode(shot["data"]), np.uint8)
        return cv2.cvtColor(cv2.imdecode(raw, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def contrast(self, selector):
        """Between a text and the page behind it, as WCAG counts it: 4.5 is readable."""
        colours = self.ask(
            f"[getComputedStyle(document.querySelector('{selector}')).color, getComputedStyle(document.body)"
            ".backgroundColor].map(c => c.match(/[\\d.]+/g).slice(0, 3).map(Number))"
        )
        shares = np.array(colours) / 255
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
        return (light + 0.05) / (dark + 0.05)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A page whose pictures are plain colours."""
    path = tmp_path_factory.mktemp("colours") / "report.html"
    pictures = {label: np.full((90, 320, 3), colour, np.uint8) for label, colour in COLOURS.items()}
    panel = Panel("a_street_with_a_rather_long_name_0000000005", pictures, "", (depth_scale(1, 80),), tuple(COLOURS))
    metrics = dict.fromkeys(("d1", "d2", "d3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog"), 0.1234)
    rows = [Row("teacher", metrics, "abc"), Row("student", metrics, "abc")]
    sections = [
        results_section(rows, "kitti_eigen_garg_full"),
        pictures_section("Pictures", [panel]),
        chart_section("Curves", [line_chart({"loss": [(0, 2), (1, 1)]}, title="Losses", size=(380, 240))]),
        *origin_sections({"PyTorch": "2.4"}, "distill train " + 40 * "runs/", "seed: 0\n" + "key: " + 200 * "x"),
    ]
    write_page(path, "disdepth: tf_efficientnet_b0 on kitti", "Two models.", sections)
    return path


def assert_fits(browser, size):
    """The page is no wider than the screen, its letters are legible, it asked for nothing and complained of nothing."""
    assert browser.ask("document.documentElement.scrollWidth") <= size[0]
    letters = "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
    assert min(browser.ask(letters)) >= 9  # pixels
    assert browser.driver.get_log("browser") == []
    asked = browser.ask("performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in asked if not name.startswith("data:")] == []


def headings(browser):
    return browser.ask("[...document.querySelectorAll('h2')].filter(h => h.offsetHeight).map(h => h.textContent)")


@pytest.fixture(scope="module")
def illustrated(browser, trained):
    """The folder of a run with pictures."""
    return trained("eval.pictures=1")


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_a_runs_page_shows_all_its_parts(browser, illustrated, size):
    browser.open(illustrated / "report.html", size)
    assert_fits(browser, size)
    parts = ["Results", "Where the errors are", "Pictures", "Worst images", "Curves", "Configuration", "Environment"]
    assert headings(browser) == [*parts, "Reproduce"]
    charts = browser.ask("[...document.querySelectorAll('svg')].map(s => s.getAttribute('aria-label'))")
    for name in ("Training losses", "Validation abs_rel", "LAM entropy", "Learning rate", "Relative error"):
        assert any(chart.startswith(name) for chart in charts), name
    damaged = browser.ask("(async () => {for (const i of document.images) {i.loading = 'eager'; await i.decode()}})()")
    assert damaged is None
    assert browser.ask("document.images.length") > 10
    assert "fingerprint" in browser.ask("document.querySelector('#results').innerText")


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_a_benchmarks_page_wears_the_same_dress(browser, finished, tmp_path, size):
    figures = ["--size", "32x64", "--runs", "1", "--ways", "fp32", "--results", finished / "results.json"]
    assert main(["benchmark", *map(str, [finished, *figures, "--report", tmp_path / "benchmark.html"])]) == 0
    browser.open(tmp_path / "benchmark.html", size)
    assert_fits(browser, size)
    assert headings(browser) == ["Results", "Costs", "Plots", "Environment", "Reproduce"]
    own, runs = browser.ask("getComputedStyle(document.body).font"), finished / "report.html"
    assert browser.open(runs, size).ask("getComputedStyle(document.body).font") == own


@pytest.mark.parametrize(("scheme", "paper"), [("light", range(200, 256)), ("dark", range(0, 60))])
def test_a_page_is_readable_in_light_and_dark(browser, colours, scheme, paper):
    browser.open(colours, PHONE, scheme)
    assert int(np.median(browser.picture("#results"))) in paper
    for text in (".lead", "td", "thead th", ".quiet", "nav a", "pre", ".ticks span", "td b", "figcaption", ".stops"):
        assert browser.contrast(text) >= 4.5, text


def test_the_slider_shows_teacher_student_and_truth_by_keyboard(browser, colours):
    browser.open(colours, PHONE)
    browser.ask("document.querySelector('.compare input').focus()")
    seen = {}
    for key, label in (("HOME", "teacher"), ("END", "ground truth")):
        browser.press(key)
        seen[label] = browser.picture(".layers")
    browser.ask("document.querySelector('.compare input').focus({preventScroll: true})")
    browser.press("HOME", *["PAGE_UP"] * 5)
    assert browser.ask("document.querySelector('.compare input').value") == "100"
    seen["student"] = browser.picture(".layers")
    for label, colour in COLOURS.items():
        assert np.abs(np.median(seen[label], axis=(0, 1)) - colour).max() < 12, label
    assert browser.ask("document.querySelector('.compare input').getAttribute('aria-valuetext')") == "student"
    browser.press("ARROW_RIGHT", "ARROW_RIGHT")
    ten = browser.picture(".layers")
    third = ten.shape[1] // 20, ten.shape[1] // 2
    below = ten.shape[0] - 5  # the names are at the top
    for column, label in zip(third, ("ground truth", "student"), strict=True):
        assert np.abs(ten[below, column].astype(int) - COLOURS[label]).max() < 12
    text = browser.ask("document.querySelector('.compare input').getAttribute('aria-valuetext')")
    assert text == "10 % ground truth, 90 % student"


def test_without_a_script_every_picture_stands_for_itself(browser, colours):
    browser.open(colours, PHONE, script=False)
    for number, colour in enumerate(COLOURS.values(), start=1):
        shown = browser.picture(f".layers figure:nth-child({number}) img")
        assert np.abs(np.median(shown, axis=(0, 1)) - colour).max() < 12
    assert browser.ask("document.querySelector('.compare input').offsetHeight") == 0


def test_all_that_can_be_used_is_reached_by_tab(browser, colours):
    browser.open(colours)
    reached = {}
    while True:
        browser.press("TAB")
        place = browser.ask("[...document.querySelectorAll('*')].indexOf(document.activeElement)")
        if place in reached or browser.ask("document.activeElement === document.body"):
            break
        reached[place] = browser.ask("document.activeElement.outerHTML")
    reached = list(reached.values())
    assert reached[0].startswith('<a class="skip"')
    for wanted in ('<a href="#results"', '<div class="scroll"', '<input type="range"', "<summary", "<pre"):
        assert any(one.startswith(wanted) for one in reached), wanted
    browser.ask("document.querySelector('summary').focus()")
    browser.press("ENTER")
    assert browser.ask("document.querySelector('details').open")
