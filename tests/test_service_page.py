"""The page in a browser, and the document for programs: both are what they say."""

import shutil

import pytest
from services import serving

THEMES = {"light": (251, 251, 248), "dark": (22, 24, 28)}
"""The colours of the page's paper."""


@pytest.fixture(scope="module")
def root(product, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    for path in product.rglob("*_60m.jp2"):
        shutil.copy(path, root / path.name.split("_", 2)[2])
    return root


@pytest.fixture(scope="module")
def service(root):
    with serving("--root", str(root), "--workers", "1") as running:
        yield running


@pytest.fixture
def browser(tmp_path):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    switches = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    for switch in (*switches.split(), "disable-component-update", "disable-sync", f"user-data-dir={tmp_path / 'user'}"):
        options.add_argument(f"--{switch}")
    options.add_argument("--window-size=1000,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    yield running
    running.quit()


def wait_for(browser, css: str):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 20).until(lambda _: (browser.find_elements(By.CSS_SELECTOR, css) or [None])[0])


def texts(browser) -> dict[str, str]:
    from selenium.webdriver.common.by import By

    names = ("shape", "download", "processing", "fetched", "saved")
    return {name: browser.find_element(By.ID, name).text for name in names}


def complaints(browser) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if "favicon" not in entry["message"]]


def paper(browser) -> tuple[int, ...]:
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    return tuple(int(part) for part in colour.strip("rgb()").split(", "))


@pytest.mark.parametrize("theme", THEMES)
def test_the_page_reads_an_image_by_keyboard_alone(service, root, browser, theme, tmp_path):
    from selenium.webdriver.common.keys import Keys

    feature = {"name": "prefers-color-scheme", "value": theme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(f"{service.address}/")
    assert browser.switch_to.active_element.get_attribute("id") == "path"
    browser.switch_to.active_element.send_keys("TCI_60m.jp2", Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("id") == "rlevel"
    browser.switch_to.active_element.send_keys(Keys.BACKSPACE * 2, "1", Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("id") == "read"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    image = wait_for(browser, "#result img")
    wait_for(browser, "#read:not(:disabled)")
    assert image.get_property("naturalWidth") == 92
    assert "TCI_60m.jp2" in image.get_attribute("alt")
    told = texts(browser)
    assert told["shape"] == "92 × 92 × 3"
    assert told["download"].endswith(" ms")
    assert "%" in told["saved"]
    assert paper(browser) == THEMES[theme]
    assert browser.save_screenshot(str(tmp_path / f"{theme}.png"))
    assert complaints(browser) == []


def test_the_page_says_what_is_wrong(service, browser):
    from selenium.webdriver.common.keys import Keys

    browser.get(f"{service.address}/")
    browser.switch_to.active_element.send_keys("<b>nothing</b>.jp2", Keys.ENTER)
    alert = wait_for(browser, "[role=alert]")
    assert "There is no such object" in alert.text
    assert "404" in alert.text


def test_the_page_asks_for_a_token_where_one_is_needed(root, browser):
    from selenium.webdriver.common.keys import Keys

    with serving("--root", str(root), "--workers", "1", env={"JP2BATCH_TOKENS": "t" * 20}) as service:
        browser.get(f"{service.address}/")
        browser.switch_to.active_element.send_keys("B8A_60m.jp2", Keys.ENTER)
        wait_for(browser, "[role=alert]")
        assert browser.switch_to.active_element.get_attribute("id") == "token"
        browser.switch_to.active_element.send_keys("t" * 20, Keys.ENTER)
        wait_for(browser, "#result img")
