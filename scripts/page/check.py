"""The page in a real browser: a run is started, watched, stopped, gone on with, drawn from, edited with and scored by
clicks, rows are looked into and recordings edited; every view is looked at in light, dark and on a phone's width;
nothing is complained of by the browser, nor by axe-core.

Usage: check.py --trainer PROGRAM [--runs DIR] [--pictures DIR]
"""

import argparse
import json
import math
import struct
import subprocess
import sys
import tempfile
import time
import wave
from contextlib import contextmanager
from pathlib import Path

from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

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
        try:
            WebDriverWait(self.driver, seconds, 0.1).until(look)
        except TimeoutException as error:
            shown = " | ".join(part.text for part in self.find("main"))
            raise AssertionError(f"waited in vain for {what}; the page shows: {shown[:2000]!r}") from error

    @contextmanager
    def shows(self, what, css):
        """The block makes the page show this, if only for a moment: a fast machine is done before one could look twice."""
        self.driver.execute_script("""
            const look = () => { window.wasShown ||= [...document.querySelectorAll(arguments[0])].some((one) => one.checkVisibility()); };
            window.wasShown = false;
            window.observer = new MutationObserver(look);
            window.observer.observe(document.body, { attributes: true, childList: true, subtree: true });""", css)
        yield
        self.wait(what, lambda: self.driver.execute_script("return window.wasShown"))
        self.driver.execute_script("window.observer.disconnect()")

    def button(self, text, within="main"):
        for _ in range(5):
            try:
                found = [b for b in self.find(f"{within} button, {within} summary")
                         if b.text.strip() == text and b.is_displayed()]
                break
            except StaleElementReferenceException:  # Another part of the page was replaced meanwhile: looks again.
                found = []
        if not found:
            raise AssertionError(f"there is no button {text!r}: {[b.text for b in self.find('main button')]}")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found[0])
        return found[0]

    def has_button(self, text):
        return any(b.text.strip() == text for b in self.find("main button"))

    def labelled(self, text):
        """The input or the choice in the label that begins so, as it is shown."""
        found = [label for label in self.find("main label") if label.is_displayed() and label.text.strip().startswith(text)]
        if not found:
            raise AssertionError(f"there is no label {text!r}: {[label.text for label in self.find('main label')]}")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found[0])
        return found[0].find_element(By.CSS_SELECTOR, "input, select")

    def write(self, text, value):
        field = self.labelled(text)
        field.clear()
        field.send_keys(value)

    def choose(self, text, choice):
        Select(self.labelled(text)).select_by_visible_text(choice)

    def open(self, view):
        tab = self.find(f"nav a[data-view={view}]")[0]
        tab.click()
        self.wait(view, lambda: self.find(f"nav a[data-view={view}][aria-current]"))

    def look(self, name, check_access=True, is_refused=False):
        """Keeps a picture, and what the browser and axe-core say; a refusal that was asked for is said by the browser, too."""
        time.sleep(0.4)
        if self.pictures:
            self.driver.save_screenshot(str(self.pictures / f"{name}.png"))
        for line in self.driver.get_log("browser"):
            if is_refused and "status of 400" in line["message"]:
                continue
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
    with page.shows("noise", ".sheet canvas"):
        page.button("Draw").click()
    page.look("drawing", check_access=False)
    page.wait("samples", lambda: page.find(".sheet img"))
    first = page.driver.execute_script("return document.querySelector('[data-first]').dataset.first")
    print(f"the first denoising step was shown after {float(first):.0f} ms")
    with page.shows("that it is busy", ".nearest button:disabled"):
        page.button("Nearest training images").click()
    Select(page.find("select[aria-label='compared with']")[0]).select_by_index(1)
    page.button("Draw again").click()  # Which ends that search.
    page.wait("samples", lambda: page.find(".sheet img"))
    Select(page.find("select[aria-label='compared with']")[0]).select_by_index(1)
    page.button("Nearest training images").click()
    page.wait("the nearest", lambda: page.find(".nearest .grid-picture") and "of all pairs" in page.find(".nearest")[0].text, 900)
    page.look("nearest")
    # What raises the alarm: twelve copies beside twelve real images are 4.2 standard deviations off, half as many nearer none.
    script = """const done = arguments[arguments.length - 1];
        import("/scores.js").then(({ copying }) => done([1, 0.5].map((value) => copying({ value, samples: 12, real_samples: 12 }))));"""
    copies, chance = page.driver.execute_async_script(script)
    assert abs(copies - 0.5 / (25 / 1728) ** 0.5) < 1e-9 and chance == 0, (copies, chance)
    page.labelled("the same noise").click()
    page.button("Draw again").click()
    page.wait("both", lambda: len(page.find("[data-first]")) == 2)
    page.look("drawn-twice")
    page.labelled("the same noise").click()
    guidance = page.labelled("guidance")
    guidance.send_keys(Keys.PAGE_UP)
    page.write("guided from t", "100")
    page.write("to t", "700")
    checkpoints = Select(page.labelled("checkpoint"))
    checkpoints.select_by_index(len(checkpoints.options) - 1)
    page.button("Draw again").click()
    page.wait("samples of an older checkpoint", lambda: page.find("[data-first]") and ", step " in page.find("section h3")[0].text)
    guidance.send_keys(Keys.HOME)


def edit_by_clicks(page, folder):
    page.open("curves")
    page.open("draw")  # Anew.
    page.wait("the form", lambda: page.find("form .chips button"))
    page.choose("what the first step sees", "a picture: image-to-image, inpainting")
    page.button("Draw").click()
    page.wait("what is missing", lambda: "Choose a picture first" in page.find("main")[0].text)
    text = folder / "text.png"
    text.write_text("just text")
    page.find("input[aria-label='a picture to draw over']")[0].send_keys(str(text))
    page.wait("a refusal", lambda: "is no image" in page.find("main")[0].text)
    page.look("no-picture", is_refused=True)
    # A picture that is dropped on the page.
    page.driver.execute_script("""
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [40, 30];
        canvas.getContext("2d").fillRect(10, 5, 12, 20);
        canvas.toBlob((blob) => {
          const files = new DataTransfer();
          files.items.add(new File([blob], "dropped.png", { type: "image/png" }));
          document.querySelector(".columns").dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
        });""")
    page.wait("the picture", lambda: page.find(".stage img"))
    page.button("An example of the run's data").click()
    page.wait("examples", lambda: page.find(".examples button"))
    page.find(".examples button")[2].click()
    page.wait("the picture", lambda: page.find(".stage img"))
    page.button("Draw").click()
    page.wait("what was drawn over it", lambda: len(page.find(".sheet img")) == 8)
    page.look("image-to-image")
    page.labelled("draw a part of it anew").click()
    canvas = page.find(".stage canvas")[0]
    page.wait("an empty mask", lambda: "nothing is painted" in canvas.get_attribute("aria-label"))
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    width, height = canvas.size["width"], canvas.size["height"]
    brush = ActionChains(page.driver).move_to_element_with_offset(canvas, -width // 3, -height // 4)
    brush.click_and_hold().move_by_offset(width // 2, 0).release().perform()
    painted = canvas.get_attribute("aria-label")
    assert "% is drawn anew" in painted, painted
    # By keyboard, too.
    page.button("A rectangle by numbers").send_keys(Keys.ENTER)
    for name, value in [("left", "0"), ("top", "14"), ("width", "28"), ("height", "14")]:
        page.write(name, value)
    page.button("Paint the rectangle").send_keys(Keys.ENTER)
    page.wait("more of it", lambda: canvas.get_attribute("aria-label") != painted)
    page.write("each step taken so often", "2")
    page.button("Draw again").click()
    page.wait("what was filled in", lambda: len(page.find(".sheet img")) == 8 and not page.find(".sheet canvas"))
    page.look("inpainting")
    page.choose("what the first step sees", "two seeds: interpolation")
    page.write("seed at the other end", "7")
    page.button("Draw again").click()
    page.wait("frames", lambda: [c.text for c in page.find(".sheet figure:has(img) figcaption")][-1:] == ["100 %"])
    page.look("interpolation")


def judge_by_clicks(page):
    page.open("judge")
    page.wait("the form", lambda: page.has_button("Score this run"))
    page.write("samples", "1")
    page.write("compared with", "300")
    page.button("Score this run").click()
    page.wait("a refusal", lambda: "--count" in page.find("main")[0].text)
    page.write("samples", "16")
    with page.shows("how far it is", "main progress"):
        page.button("Score this run").click()
    page.look("scoring", check_access=False)
    page.wait("scores", lambda: "FID" in page.find("main")[0].text and not page.find("main progress")[0].is_displayed(), 900)
    page.look("scored")


def stop_elsewhere_by_clicks(page, trainer, runs, data):
    """A training that was started in a terminal."""
    arguments = [trainer, "train", "smoke", "--out", f"{runs}/terminal", "--steps", "1000000", "--data-dir", str(data)]
    training = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        page.open("runs")
        page.wait("the training", lambda: "started in a terminal" in page.find("main")[0].text)
        page.wait("a first loss", lambda: "loss" in page.find(".run-card")[0].text)
        page.look("terminal")
        page.button("Stop and save").click()
        page.wait("the end", lambda: training.poll() is not None)
        assert training.returncode == 130, training.returncode
        page.wait("the end to be seen", lambda: "training" not in " ".join(state(page)))
    finally:
        training.kill()
        training.wait()


def understand_by_clicks(page):
    page.open("understand")
    page.wait("pictures", lambda: page.find(".chain img"))
    slider = page.find("input[type=range]")[0]
    before = page.find(".equation")[0].text
    slider.send_keys(Keys.PAGE_UP, Keys.PAGE_UP)
    page.wait("another t", lambda: page.find(".equation")[0].text != before)
    page.wait("the chain", lambda: len(page.find(".chain img")) == 7)
    page.look("understand-moved")


def in_all_lights(page, name):
    """The view as it stands, in light and dark, wide and on a phone's width."""
    driver = page.driver
    for theme in ["light", "dark"]:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})
        for size, (width, height) in SIZES.items():
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                   {"width": width, "height": 3 * height, "deviceScaleFactor": 1, "mobile": size == "phone"})
            time.sleep(0.6)
            page.look(f"{name}-{theme}-{size}")
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def pick(page, view, name):
    """Another run, in this view."""
    page.open(view)
    picker = lambda: Select(page.find("#run")[0])
    page.wait(f"the run {name}", lambda: name in [option.text for option in picker().options])
    picker().select_by_visible_text(name)
    page.wait(name, lambda: picker().first_selected_option.text == name)


def train(trainer, runs, name, *arguments):
    """A tiny run."""
    subprocess.run([trainer, "train", "--out", f"{runs}/{name}", *arguments], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def rows_by_clicks(page, trainer, runs, data, folder):
    """A table's row and a line of text under noise; rows in which conditions hold."""
    train(trainer, runs, "penguins", "penguins", "--steps", "150", "--set", f"data.path={data}/penguins/penguins.csv",
          "--set", "network.width=64")
    words = folder / "words.txt"
    words.write_text("".join(f"{a}{b}{c}\n" for a in ["ka", "lo", "mi"] for b in ["ru", "ta", " ne"] for c in ["", "n", "s"]) * 10)
    train(trainer, runs, "words", "--steps", "60", "--set", f"data.path={words}", "--set", "network.width=32",
          "--set", "network.layers=1", "--set", "objective.transition=uniform")
    for name in ["penguins", "words"]:
        pick(page, "understand", name)
        page.wait("cells", lambda: len(page.find("main table")) == 2)
        page.wait("the chain", lambda: "closed form says" in page.find("main")[0].text)
        text = lambda: page.driver.execute_script("return document.querySelector('main table').innerText")
        before, equation = text(), page.find(".equation")[0].text
        page.find("input[type=range]")[0].send_keys(Keys.PAGE_UP, Keys.PAGE_UP)
        page.wait("another t", lambda: page.find(".equation")[0].text != equation and text() != before)
        before = text()
        Select(page.labelled("a line" if name == "words" else "a row")).select_by_index(3)
        page.wait("another row", lambda: text() != before)
        before = text()
        page.button("Other noise").click()
        page.wait("other noise", lambda: text() != before)
        if name == "penguins":
            page.find("input[type=range]")[0].send_keys(Keys.PAGE_UP, Keys.PAGE_UP)
            page.wait("a mask", lambda: page.find("main table .mask"))
        page.driver.execute_script("scrollTo(0, 0)")
        in_all_lights(page, f"understand-{name}")
    pick(page, "draw", "penguins")
    page.wait("the form", lambda: page.find("form textarea"))
    page.find("form textarea")[0].send_keys("species=Gentoo\nbody_mass_g>=4000")
    page.button("Draw").click()
    drawn = lambda: page.find("main table tbody tr")
    page.wait("rows", lambda: len(drawn()) > 1)
    assert all("Gentoo" in row.text for row in drawn()), [row.text for row in drawn()]
    in_all_lights(page, "rows-with-conditions")


def tones(path, pitch, seconds):
    """A tone that falls off, as a WAV file of 16 bits."""
    rate = 4000
    samples = [round(12000 * math.exp(-3 * n / rate) * math.sin(2 * math.pi * pitch * n / rate)) for n in range(int(seconds * rate))]
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))


SOUNDS = """
[data]
path = "{path}"
[data.sound]
sample_rate = 4000
hop = 32
patch_size = 2
[network]
sample_size = [16, 32]
in_channels = 8
out_channels = 8
block_out_channels = [8, 16]
layers_per_block = 1
down_block_attention = [false, false]
norm_num_groups = 4
[conditioning]
class_labels = true
[objective]
prediction_type = "v-prediction"
[training]
batch_size = 8
steps = 40
[sampling]
num_inference_steps = 5
clipping = {{ kind = "none" }}
"""


def sounds_by_clicks(page, trainer, runs, folder):
    """Over a recording, into a gap of it, and the nearest ones."""
    for index in range(80):
        kind, pitch = [("low", 200 + 5 * index), ("high", 900 + 10 * index)][index % 2]
        tones(folder / f"sounds/{kind}/{index:02}.wav", pitch, 0.3 + 0.005 * index)
    config = folder / "sounds.toml"
    config.write_text(SOUNDS.format(path=folder / "sounds"))
    train(trainer, runs, "tones", "--config", str(config))
    pick(page, "draw", "tones")
    page.wait("the form", lambda: page.find("form .chips button"))
    page.choose("what the first step sees", "a recording: over it, or into a gap")
    page.button("Draw").click()
    page.wait("what is missing", lambda: "Choose a recording first" in page.find("main")[0].text)
    text = folder / "text.wav"
    text.write_text("just text")
    chooser = lambda: page.find("input[aria-label='a recording to draw over']")[0]
    chooser().send_keys(str(text))
    page.wait("a refusal", lambda: "the recording is no" in page.find("main")[0].text)
    page.look("no-recording", is_refused=True)
    tones(folder / "mine.wav", 300, 0.5)
    chooser().send_keys(str(folder / "mine.wav"))
    page.wait("the recording", lambda: page.find(".stage img") and page.find(".stage ~ audio"))
    page.button("An example of the run's data").click()
    page.wait("examples", lambda: page.find(".examples button"))
    before = page.find(".stage img")[0]
    page.find(".examples button")[-1].click()
    page.wait("the example", lambda: page.find(".stage img") and page.find(".stage img")[0] != before)
    page.button("low").click()
    page.button("Draw").click()
    page.wait("what was drawn over it", lambda: len(page.find(".sheet audio")) == 4)
    page.look("over-a-recording")
    page.labelled("draw a part of it anew").click()
    page.wait("a gap", lambda: "33 % is drawn anew" in page.find("main")[0].text)
    stage = page.find(".stage")[0]
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    width = stage.size["width"]
    ActionChains(page.driver).move_to_element_with_offset(stage, -width // 4, 0).click_and_hold().move_by_offset(width // 2, 0).release().perform()
    page.wait("a larger gap", lambda: any(f"{share} % is drawn anew" in page.find("main")[0].text for share in [49, 50, 51]))
    # By keyboard, too.
    page.write("from, seconds", "0.2")
    page.write("to, seconds", "0.3")
    page.wait("a smaller gap", lambda: "20 % is drawn anew" in page.find("main")[0].text)
    page.write("each step taken so often", "2")
    page.button("Draw again").click()
    page.wait("what was filled in", lambda: len(page.find(".sheet audio")) == 4 and not page.find(".sheet canvas"))
    page.button("Nearest training recordings").click()
    page.wait("the nearest", lambda: len(page.find(".sheet.pairs audio")) == 8, 900)
    page.wait("that all can be heard", lambda: page.driver.execute_script(
        "return [...document.querySelectorAll('audio')].every((one) => one.error === null && one.duration > 0.4)"))
    in_all_lights(page, "gap-and-nearest")


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
            edit_by_clicks(page, Path(folder))
            judge_by_clicks(page)
            understand_by_clicks(page)
            if not arguments.runs:
                stop_elsewhere_by_clicks(page, arguments.trainer, runs, data)
                rows_by_clicks(page, arguments.trainer, runs, data, Path(folder))
                sounds_by_clicks(page, arguments.trainer, runs, Path(folder))
                pick(page, "draw", "smoke")
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
