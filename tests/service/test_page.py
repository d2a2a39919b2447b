"""The page for people, in a real browser: what one types and what one gets to see."""

import base64
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import jp2batch
from jp2batch.image.preview import to_png
from support.services import Service, serving

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")

FLAGS = (
    "headless no-sandbox disable-gpu disable-quic disable-dev-shm-usage no-first-run disable-background-networking "
    "disable-component-update disable-sync window-size=1000,900"
)
TOKEN = "a-token-of-decent-length"
KEY, QUOTED = "band.jp2", "it's.jp2"
PATIENCE = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory, image_of) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / KEY).write_bytes(Path(image_of("B08_10m")).read_bytes())
    (folder / QUOTED).write_bytes(Path(image_of("TCI_10m")).read_bytes())
    return folder


@pytest.fixture(scope="module")
def server(folder) -> Iterator[Service]:
    with serving("--root", str(folder), "--workers", "1", "--max-pixels", "1000000") as server:
        yield server


@contextmanager
def browsing(profile: Path) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), f"user-data-dir={profile}"]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options, ChromeService(DRIVER))
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Iterator[Chrome]:
    with browsing(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(chromium, server) -> Iterator[Chrome]:
    """Open the page; in the end, whatever the console says that a test has not looked at is an error."""
    load(chromium, server.address)
    yield chromium
    assert messages(chromium) == []


def load(browser: Chrome, address: str) -> None:
    """Open the page and wait for its autofocus, which comes some frames after the load."""
    browser.get(address)
    WebDriverWait(browser, PATIENCE, 0.05).until(
        lambda _: browser.switch_to.active_element.get_attribute("id") == "path"
    )


def messages(browser: Chrome) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]


def text(browser: Chrome, id_: str) -> str:
    return browser.find_element(By.ID, id_).text


def type_keys(browser: Chrome, *keys: str) -> None:
    """Press keys wherever the focus is, as people without a mouse do."""
    for one in keys:
        browser.switch_to.active_element.send_keys(one)


def wait_for(browser: Chrome, id_: str) -> None:
    WebDriverWait(browser, PATIENCE, 0.05).until(lambda _: browser.find_element(By.ID, id_).is_displayed())


def ask(browser: Chrome, key: str, rlevel: int) -> None:
    type_keys(browser, key, Keys.TAB, Keys.BACKSPACE * 3 + str(rlevel), Keys.ENTER)


def pixels(browser: Chrome) -> np.ndarray:
    """Return what the picture on the page holds, red, green and blue."""
    script = """
        const [canvas, picture] = [document.createElement("canvas"), document.getElementById("picture")];
        [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
        canvas.getContext("2d").drawImage(picture, 0, 0);
        return canvas.toDataURL("image/png").split(",")[1];
    """
    return rgb(base64.b64decode(browser.execute_script(script)))


def rgb(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"))


def expected(path: Path, rlevel: int) -> np.ndarray:
    values = jp2batch.read(str(path), rlevel=rlevel).values
    return rgb(to_png(values[None] if values.ndim == 2 else values))


def refused(browser: Chrome, status: int) -> None:
    """Take from the console what Chromium says there of each answer that is an error."""
    (message,) = messages(browser)
    assert f"/api/jp2 - Failed to load resource: the server responded with a status of {status}" in message


@pytest.mark.parametrize("key", [KEY, QUOTED])
def test_it_is_used_by_keyboard_alone(key, page, server, folder):
    type_keys(page, key, Keys.TAB, Keys.TAB, Keys.ENTER)
    wait_for(page, "result")
    shape = " × ".join(map(str, server.image(key).json["shape"]))
    assert text(page, "shape") == shape
    assert text(page, "status").startswith(f"Shown: {shape} pixels, ")
    np.testing.assert_array_equal(pixels(page), expected(folder / key, -1))


def test_it_tells_what_the_answer_has_taken(page, server, folder):
    ask(page, KEY, 2)
    wait_for(page, "result")
    (line,) = [line for line in server.lines if line.get("rlevel") == 2]
    size = (folder / KEY).stat().st_size
    assert text(page, "fetched") == f"{shortly(line['bytes_read'])} of {shortly(size)}"
    saved = size - line["bytes_read"]
    assert text(page, "saved") == f"{shortly(saved)}, {100 * saved / size:.1f} %"
    for name in ("download", "processing"):
        number, unit = text(page, name).split()
        seconds = float(number) / {"ms": 1000, "s": 1}[unit]
        assert seconds == pytest.approx(line[f"time_{name}"], rel=0.01, abs=1e-4)
    picture = page.find_element(By.ID, "picture")
    assert picture.get_attribute("alt") == f"{KEY} at rlevel 2"
    assert page.find_element(By.ID, "save").get_attribute("download") == "band.png"


def shortly(count: int) -> str:
    power = (len(str(count)) - 1) // 3
    return f"{float(f'{count / 1000**power:.3g}'):g} {('B', 'kB', 'MB', 'GB')[power]}"


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_its_command_gets_the_values(page, folder):
    ask(page, QUOTED, 3)
    wait_for(page, "result")
    done = subprocess.run(["bash", "-c", text(page, "command")], capture_output=True, check=True)
    answer = json.loads(done.stdout)
    values = np.moveaxis(jp2batch.read(str(folder / QUOTED), rlevel=3).values, 0, 2)
    np.testing.assert_array_equal(answer["img_data"], values)


@pytest.mark.parametrize(
    ("key", "rlevel", "status", "says"),
    [
        ("nothing.jp2", -1, 404, "there is no such file"),
        ("../away.jp2", -1, 400, "leads out of its root"),
        (KEY, 9, 422, "-1 (lowest), 0, 1, 2"),
        ("<img src=x onerror=alert(1)>", -1, 404, "there is no such file"),
    ],
)
def test_errors_are_told_where_screen_readers_hear_them(key, rlevel, status, says, page):
    ask(page, key, rlevel)
    wait_for(page, "error")
    assert says in text(page, "error")
    assert page.find_element(By.ID, "error").get_attribute("role") == "alert"
    assert not page.find_element(By.ID, "result").is_displayed()
    assert text(page, "status") == ""
    refused(page, status)


def test_an_error_goes_when_it_goes_well(page):
    ask(page, "nothing.jp2", -1)
    wait_for(page, "error")
    refused(page, 404)
    page.find_element(By.ID, "path").clear()
    page.find_element(By.ID, "path").send_keys(KEY, Keys.ENTER)
    wait_for(page, "result")
    assert not page.find_element(By.ID, "error").is_displayed()


def test_what_is_too_large_is_offered_smaller(page):
    ask(page, KEY, 0)
    wait_for(page, "error")
    refused(page, 413)
    type_keys(page, Keys.TAB, Keys.TAB)
    assert page.switch_to.active_element.text == "Show rlevel 1"
    type_keys(page, Keys.ENTER)
    wait_for(page, "result")
    assert page.find_element(By.ID, "rlevel").get_attribute("value") == "1"


@pytest.mark.parametrize("rlevel", ["", "-2", "1.5"])
def test_nothing_is_asked_that_makes_no_sense(rlevel, page, server):
    before = len(server.lines)
    type_keys(page, KEY, Keys.TAB, Keys.BACKSPACE * 3 + rlevel, Keys.ENTER)
    assert page.find_element(By.CSS_SELECTOR, "input:invalid").get_attribute("id") == "rlevel"
    assert not [line for line in server.lines[before:] if line.get("url") == "/api/jp2"]


def test_it_asks_for_the_root_and_the_token_where_they_are_needed(tmp_path, folder, chromium):
    (tmp_path / "empty").mkdir()
    options = ["--root", str(tmp_path / "empty"), "--root", f"other={folder}", "--workers", "1"]
    with serving(*options, env={"JP2BATCH_TOKENS": TOKEN}) as server:
        load(chromium, server.address)
        wait_for(chromium, "token")
        type_keys(chromium, KEY, Keys.TAB, Keys.TAB, "other", Keys.TAB, "not that one", Keys.ENTER)
        wait_for(chromium, "error")
        refused(chromium, 401)
        assert chromium.switch_to.active_element.get_attribute("id") == "token"
        type_keys(chromium, Keys.CONTROL + "a", TOKEN, Keys.ENTER)
        wait_for(chromium, "result")
        np.testing.assert_array_equal(pixels(chromium), expected(folder / KEY, -1))
        assert TOKEN not in text(chromium, "command")
        chromium.get("about:blank")
    assert TOKEN not in str(server.lines)


def test_a_server_that_is_gone_is_an_error_too(folder, chromium):
    with serving("--root", str(folder), "--workers", "1") as server:
        load(chromium, server.address)
        WebDriverWait(chromium, PATIENCE).until(lambda _: chromium.find_elements(By.CSS_SELECTOR, "#root option"))
    ask(chromium, KEY, -1)
    wait_for(chromium, "error")
    assert "does not respond" in text(chromium, "error")
    assert "ERR_CONNECTION_REFUSED" in "".join(messages(chromium))


def test_each_field_has_a_label_and_shows_its_focus(page):
    for field in page.find_elements(By.CSS_SELECTOR, "input, select"):
        assert field.find_element(By.XPATH, "..").tag_name == "label"
    page.find_element(By.ID, "path").send_keys(Keys.TAB)
    assert page.switch_to.active_element.value_of_css_property("outline-style") == "solid"
    assert page.find_element(By.ID, "status").get_attribute("role") == "status"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_its_colours_can_be_read_in_both_themes(theme, page):
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})
    ground = luminance(page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
    assert (ground > 0.5) == (theme == "light")
    for selector in ("body", ".hint", "#status", "footer a"):
        ink = luminance(page.find_element(By.CSS_SELECTOR, selector).value_of_css_property("color"))
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5, selector  # WCAG 2.2, 1.4.3


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour, as WCAG 2.2 defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("width", [360, 1000])
def test_nothing_leaves_the_screen(width, page):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    ask(page, KEY, 1)
    wait_for(page, "result")
    wide = page.execute_script("return document.documentElement.scrollWidth")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= width


def test_it_takes_nothing_from_elsewhere(page, server):
    ask(page, KEY, -1)
    wait_for(page, "result")
    taken = page.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert {url.removeprefix(server.address) for url in taken if not url.startswith("blob:")} <= {
        "/openapi.json",
        "/api/jp2",
        "data:,",
    }


def test_its_policy_allows_no_other_script(page):
    page.execute_script("""
        const script = document.createElement("script");
        script.textContent = "window.bad = 1";
        document.body.append(script);
    """)
    assert page.execute_script("return window.bad") is None
    assert "Content Security Policy" in "".join(messages(page))
