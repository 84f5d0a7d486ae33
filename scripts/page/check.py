"""The page in a real browser: a run is started, watched, stopped, gone on with and drawn from by clicks; every view is
looked at in light, dark and on a phone's width; nothing is complained of by the browser, nor by axe-core.

Usage: check.py --trainer PROGRAM [--runs DIR] [--pictures DIR]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

VIEWS = ["runs", "curves", "draw", "understand", "judge"]
SIZES = {"wide": (1280, 1000), "phone": (390, 844)}


def browser():
    options = webdriver.ChromeOptions()
    for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    return webdriver.Chrome(options=options, service=service)


class Page:
    """The page in a browser, and what goes wrong in it."""

    def __init__(self, driver, pictures):
        self.driver = driver
        self.pictures = pictures
        self.faults = []

    def find(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def wait(self, what, is_so, seconds=120):
        def look(_):
            try:
                return is_so()
            except Exception as error:  # An element that was replaced meanwhile.
                if "stale" in str(error) or "no such element" in str(error):
                    return False
                raise
        WebDriverWait(self.driver, seconds, 0.1).until(look, f"waited in vain for {what}")

    def button(self, text, within="main"):
        found = [b for b in self.find(f"{within} button, {within} summary") if b.text.strip() == text and b.is_displayed()]
        if not found:
            raise AssertionError(f"there is no button {text!r}: {[b.text for b in self.find('main button')]}")
        return found[0]

    def has_button(self, text):
        return any(b.text.strip() == text for b in self.find("main button"))

    def open(self, view):
        tab = self.find(f"nav a[data-view={view}]")[0]
        tab.click()
        self.wait(view, lambda: self.find(f"nav a[data-view={view}][aria-current]"))

    def look(self, name, check_access=True):
        """Keeps a picture, and what the browser and axe-core say."""
        time.sleep(0.4)
        if self.pictures:
            self.driver.save_screenshot(str(self.pictures / f"{name}.png"))
        for line in self.driver.get_log("browser"):
            if line["level"] in ("SEVERE", "WARNING"):
                self.faults.append(f"{name}: {line['message']}")
        overflow = self.driver.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if overflow > 0:
            self.faults.append(f"{name}: the page is {overflow} pixels too wide")
        if check_access:
            for fault in Axe().run(self.driver)["violations"]:
                if fault["impact"] in ("serious", "critical"):
                    where = [node["html"][:120] for node in fault["nodes"][:3]]
                    self.faults.append(f"{name}: axe-core: {fault['id']}: {where}")


def state(page):
    return [s.text for s in page.find(".run-card .state")]


def train_by_clicks(page):
    page.wait("the list", lambda: page.find("details.card"))
    page.button("Start a training").click()
    page.wait("the form", lambda: page.find("form select"))
    selects = page.find("form select")
    selects[0].send_keys("smoke")
    numbers = page.find("form input[type=number]")
    numbers[0].clear()
    numbers[0].send_keys("200000")
    selects[1].send_keys("steps")
    page.look("start")
    page.button("Start").click()
    page.wait("a training", lambda: "● training" in " ".join(state(page)) or "training" in state(page))
    page.wait("a first loss", lambda: "loss" in page.find(".run-card")[0].text)
    page.look("training")
    page.button("Stop and save").click()
    page.wait("the end", lambda: "stopped" in state(page))
    page.wait("a checkpoint", lambda: page.has_button("Draw"))
    page.button("Go on").click()
    page.wait("it to go on", lambda: page.has_button("Stop and save"))
    page.open("curves")
    page.wait("a curve", lambda: [c for c in page.find(".chart canvas") if c.is_displayed()])
    time.sleep(4)
    page.look("curves-in-training", check_access=False)
    page.open("runs")
    page.wait("the run", lambda: page.has_button("Stop and save"))
    page.button("Stop and save").click()
    page.wait("the end", lambda: "stopped" in state(page))


def draw_by_clicks(page):
    page.open("draw")
    page.wait("the form", lambda: page.find("form .chips button"))
    time.sleep(2)  # The network is opened meanwhile, as it is while a person looks for the button.
    page.button("3").click()
    page.button("Draw").click()
    page.wait("noise", lambda: page.find(".sheet canvas"))
    page.look("drawing", check_access=False)
    page.wait("samples", lambda: page.find(".sheet img"))
    first = page.driver.execute_script("return document.querySelector('[data-first]').dataset.first")
    print(f"the first denoising step was shown after {float(first):.0f} ms")
    page.find("form input[type=checkbox]")[0].click()
    page.button("Draw again").click()
    page.wait("both", lambda: len(page.find("[data-first]")) == 2)
    page.look("drawn-twice")


def understand_by_clicks(page):
    page.open("understand")
    page.wait("pictures", lambda: page.find(".chain img"))
    slider = page.find("input[type=range]")[0]
    before = page.find(".equation")[0].text
    slider.send_keys(Keys.PAGE_UP, Keys.PAGE_UP)
    page.wait("another t", lambda: page.find(".equation")[0].text != before)
    page.wait("the chain", lambda: len(page.find(".chain img")) == 7)
    page.look("understand-moved")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trainer", required=True)
    parser.add_argument("--runs", help="a folder of runs to look at, too")
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    data = Path(__file__).resolve().parents[2] / "data"
    with tempfile.TemporaryDirectory() as folder:
        runs = arguments.runs or str(Path(folder) / "runs")
        if not arguments.runs:
            Path(runs).mkdir()
        serve = [arguments.trainer, "serve", runs, "--port", "0", "--json", "--data-dir", str(data)]
        program = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
        driver = browser()
        try:
            link = json.loads(program.stdout.readline())["link"]
            page = Page(driver, arguments.pictures)
            driver.set_window_size(*SIZES["wide"])
            driver.get(link)
            if not arguments.runs:
                train_by_clicks(page)
            draw_by_clicks(page)
            understand_by_clicks(page)
            for theme in ["light", "dark"]:
                features = [{"name": "prefers-color-scheme", "value": theme}]
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
                for size, (width, height) in SIZES.items():
                    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                           {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"})
                    for view in VIEWS:
                        page.open(view)
                        page.wait("something to see", lambda: page.find("main .card, main .notice"))
                        time.sleep(2)
                        page.look(f"{view}-{theme}-{size}")
            # Without the token nothing is told.
            driver.execute_script("localStorage.clear()")
            driver.get(link.split("#")[0])
            page.wait("a refusal", lambda: "another session" in page.find("main")[0].text)
            driver.get_log("browser")
        finally:
            driver.quit()
            program.terminate()
            program.wait()
    for fault in page.faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if page.faults else 0)


if __name__ == "__main__":
    main()
