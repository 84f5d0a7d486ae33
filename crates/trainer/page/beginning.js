// What a drawing begins with: noise; a picture or a recording, of which a part may be chosen that alone is drawn anew; or
// the noises between those of two seeds.

import { element, field, image, notice, select } from "./elements.js";
import { blob, post, send } from "./server.js";

// Until something else is chosen: how far a picture is noised, and all of it where a mask says what stays.
const STRENGTH = "0.5";
const STRENGTH_WITH_MASK = "1";

const base64 = (array) => {
  let text = "";
  for (let at = 0; at < array.length; at += 0x8000) text += String.fromCharCode(...array.subarray(at, at + 0x8000));
  return btoa(text);
};

// A picture on which a mask is painted, a pixel of it for a pixel of the network.
function painter({ png, width, height }) {
  const mask = new Uint8Array(width * height);
  const canvas = element("canvas", { width, height, role: "img", title: "Paint here what is drawn anew" });
  const share = element("output", { class: "small", "aria-live": "polite" });
  const size = element("input", { type: "range", min: "1", max: String(Math.max(2, Math.round(Math.max(width, height) / 3))), value: String(Math.max(2, Math.round(Math.max(width, height) / 8))) });
  const pixels = new ImageData(width, height);
  let isErasing = false, last = null;

  function show() {
    let count = 0;
    mask.forEach((value, place) => {
      if (value) count++;
      pixels.data.set(value ? [47, 91, 216, 165] : [0, 0, 0, 0], 4 * place);
    });
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    share.textContent = count === 0 ? "nothing is painted yet" : `${Math.round((100 * count) / mask.length)} % is drawn anew`;
    canvas.setAttribute("aria-label", `mask over the picture: ${share.textContent}`);
  }

  // All pixels whose place holds.
  function paint(holds, value) {
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (holds(x, y)) mask[y * width + x] = value;
    show();
  }

  // The brush goes straight from where it was last.
  function stroke(event) {
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width, y = ((event.clientY - box.top) / box.height) * height;
    const from = last ?? [x, y], radius = Number(size.value) / 2;
    last = [x, y];
    const [dx, dy] = [x - from[0], y - from[1]], length = dx * dx + dy * dy;
    paint((px, py) => {
      const along = length === 0 ? 0 : Math.max(0, Math.min(1, ((px + 0.5 - from[0]) * dx + (py + 0.5 - from[1]) * dy) / length));
      return Math.hypot(px + 0.5 - from[0] - along * dx, py + 0.5 - from[1] - along * dy) <= Math.max(radius, 0.71);
    }, isErasing ? 0 : 255);
  }
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); last = null; stroke(event); });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons > 0) stroke(event); });

  const eraser = element("button", { type: "button", "aria-pressed": false, onclick: () => {
    isErasing = !isErasing;
    eraser.setAttribute("aria-pressed", isErasing);
  } }, "Erase");
  const place = (name, value, most) => {
    const input = element("input", { type: "number", min: "0", max: String(most), value: String(value) });
    return [input, field(name, input)];
  };
  const [left, leftField] = place("left", Math.round(width / 4), width - 1);
  const [top, topField] = place("top", Math.round(height / 4), height - 1);
  const [wide, wideField] = place("width", Math.round(width / 2), width);
  const [tall, tallField] = place("height", Math.round(height / 2), height);
  const rectangle = element("button", { type: "button", onclick: () => {
    const [x, y, w, h] = [left, top, wide, tall].map((input) => Number(input.value));
    paint((px, py) => px >= x && px < x + w && py >= y && py < y + h, isErasing ? 0 : 255);
  } }, "Paint the rectangle");
  const root = element("div", {},
    element("div", { class: "stage" }, image(URL.createObjectURL(blob(png, "image/png")), "the picture that is drawn over"), canvas),
    share);
  const tools = element("div", {},
    field("brush, pixels", size, { shown: (value) => value }),
    element("div", { class: "row" }, eraser,
      element("button", { type: "button", onclick: () => paint(() => true, 0) }, "Clear"),
      element("button", { type: "button", onclick: () => { mask.forEach((value, at) => { mask[at] = 255 - value; }); show(); } }, "Invert")),
    element("details", {}, element("summary", { class: "faint small" }, "A rectangle by numbers"),
      element("div", { class: "pair" }, leftField, topField), element("div", { class: "pair" }, wideField, tallField), rectangle));
  show();
  return {
    root, tools,
    show: (isOn) => { canvas.hidden = share.hidden = tools.hidden = !isOn; },
    read: () => base64(mask),
  };
}

// A recording in which a part of its seconds is chosen, by numbers or by dragging.
function cutter({ png, sound }, [seconds]) {
  const round = (value) => Math.floor(1000 * Math.min(seconds, Math.max(0, value))) / 1000;
  const input = (value) => element("input", { type: "number", min: "0", step: "any", value: String(round(value)) });
  const [from, to] = [input(seconds / 3), input((2 * seconds) / 3)];
  const gap = element("div", { class: "gap" });
  const picture = element("div", { class: "stage wide" }, image(URL.createObjectURL(blob(png, "image/png")), "waveform and spectrogram of the recording", { draggable: "false" }), gap);
  const share = element("output", { class: "small", "aria-live": "polite" });
  const bounds = () => [from, to].map((one) => Number(one.value));
  let isOn = false, began = null;

  function show() {
    const [first, last] = bounds();
    gap.style.left = `${(100 * Math.max(0, first)) / seconds}%`;
    gap.style.width = `${(100 * Math.max(0, Math.min(last, seconds) - first)) / seconds}%`;
    share.textContent = first < last ? `${Math.round((100 * (last - first)) / seconds)} % is drawn anew` : "the part ends before it begins";
  }
  const at = (event) => {
    const box = picture.getBoundingClientRect();
    return (seconds * (event.clientX - box.left)) / box.width;
  };
  picture.addEventListener("pointerdown", (event) => {
    if (!isOn) return;
    picture.setPointerCapture(event.pointerId);
    began = at(event);
  });
  picture.addEventListener("pointermove", (event) => {
    if (!isOn || began === null || event.buttons === 0) return;
    const ends = [began, at(event)].sort((a, b) => a - b);
    [from.value, to.value] = ends.map((end) => String(round(end)));
    show();
  });
  picture.addEventListener("pointerup", () => { began = null; });
  for (const one of [from, to]) one.addEventListener("input", show);
  const tools = element("div", { class: "pair" }, field("from, seconds", from), field("to, seconds", to));
  const root = element("div", {}, picture,
    element("audio", { controls: true, src: URL.createObjectURL(blob(sound, "audio/wav")), "aria-label": "the recording" }), element("div", {}, share));
  show();
  return {
    root, tools,
    show: (on) => { isOn = on; gap.hidden = share.hidden = tools.hidden = !on; },
    read: bounds,
  };
}

// What is drawn over, in words and as the program calls it.
const FILES = {
  picture: { choice: "a picture: image-to-image, inpainting", name: "picture", part: "mask", accept: "image/*",
    hint: "Drop a picture on this page, or choose a file; it is cropped and brought to the network's size." },
  recording: { choice: "a recording: over it, or into a gap", name: "recording", part: "seconds", accept: "audio/*,.wav,.flac,.mp3,.ogg",
    hint: "Drop a recording on this page, or choose a file (WAV, FLAC, MP3 or Ogg Vorbis); its middle is taken, as long as what the run draws." },
};

// `changed` is told which one is chosen.
export function beginning(about, run, changed) {
  const over = about.seconds ? "recording" : "picture";
  const { choice, name, part, accept, hint } = FILES[over];
  const choices = [["noise", "noise"]];
  if (about.is_of_files) choices.push([over, choice]);
  if (about.is_of_files) choices.push(["seeds", "two seeds: interpolation"]);
  const chosen = select(choices, "noise");
  const said = element("div", { "aria-live": "polite" });
  const place = element("div");
  const tools = element("div");
  const strength = element("input", { type: "range", min: "0.05", max: "1", step: "0.05", value: STRENGTH });
  const strengthField = field("strength: how much of it becomes noise", strength, { shown: (value) => value });
  const isPartial = element("input", { type: "checkbox" });
  const partial = element("label", { class: "check" }, isPartial, "draw a part of it anew");
  const resamplings = element("input", { type: "number", min: "1", max: "50", value: "4" });
  const resamplingsField = field("each step taken so often, so that both parts agree", resamplings);
  const seed = element("input", { type: "number", min: "0", step: "1", value: "1" });
  // The file as it is sent, and as it is shown.
  let content = null, canvas = null;

  function show() {
    filePanel.hidden = chosen.value !== over;
    seedPanel.hidden = chosen.value !== "seeds";
    const isMasked = isPartial.checked && canvas !== null;
    canvas?.show(isMasked);
    partial.hidden = strengthField.hidden = canvas === null;
    resamplingsField.hidden = !isMasked;
  }

  // Of a recording the file itself is drawn over, of a picture what the network sees of it.
  function take(seen, file) {
    content = about.seconds ? file : seen.png;
    canvas = about.seconds ? cutter(seen, about.seconds) : painter(seen);
    place.replaceChildren(canvas.root);
    tools.replaceChildren(canvas.tools);
    show();
  }

  async function takeBytes(bytes) {
    said.replaceChildren();
    try {
      if (bytes.size > about.most_file_bytes) throw new Error(`The ${name} is longer than ${about.most_file_bytes >> 20} MiB: make it smaller first.`);
      const seen = await send(`runs/${run.id}/files`, bytes);
      take(seen, about.seconds && base64(new Uint8Array(await bytes.arrayBuffer())));
    } catch (error) {
      said.replaceChildren(notice(error.message, true));
    }
  }

  // Takes a file as what is drawn over, as the network sees it.
  async function takeFile(file) {
    if (!file) return;
    if (chosen.value !== over) {
      chosen.value = over;
      chosen.dispatchEvent(new Event("change"));
    }
    await takeBytes(file);
  }

  const examples = element("details", {}, element("summary", {}, "An example of the run's data"));
  examples.addEventListener("toggle", async () => {
    if (!examples.open || examples.children.length > 1) return;
    const list = element("div", { class: "examples", role: "group", "aria-label": "Examples of the run's data" }, element("span", { class: "faint" }, "reading"));
    examples.append(list);
    try {
      const { pictures, names, sounds } = await post(`runs/${run.id}/examples`);
      const [, height, width] = about.shape;
      list.replaceChildren(...pictures.map((png, index) => {
        const name = names[index] ?? `example ${index + 1}`;
        const choose = () => (sounds ? takeBytes(blob(sounds[index], "audio/wav")) : take({ png, width, height }));
        return element("button", { type: "button", title: name, onclick: choose },
          image(URL.createObjectURL(blob(png, "image/png")), name, { class: "pixels" }));
      }));
    } catch (error) {
      list.remove();
      said.replaceChildren(notice(error.message, true));
    }
  });
  const file = element("input", { type: "file", accept, "aria-label": `a ${name} to draw over` });
  file.addEventListener("change", () => takeFile(file.files[0]));

  const filePanel = element("div", { hidden: true },
    element("p", { class: "small faint" }, hint),
    file, examples, said, place, strengthField, partial, tools, resamplingsField);
  const seedPanel = element("div", { hidden: true },
    field("seed at the other end", seed),
    element("p", { class: "small faint" }, "The first frame is what the seed below draws, the last what this one does. The sampler must add no noise of its own, and all frames are of one class."));
  chosen.addEventListener("change", () => { show(); changed(chosen.value); });
  isPartial.addEventListener("change", () => {
    if (strength.value === (isPartial.checked ? STRENGTH : STRENGTH_WITH_MASK)) {
      strength.value = isPartial.checked ? STRENGTH_WITH_MASK : STRENGTH;
      strength.dispatchEvent(new Event("input"));
    }
    show();
  });
  show();

  return {
    root: choices.length > 1 && element("fieldset", {}, element("legend", {}, "Begin with"),
      field("what the first step sees", chosen), filePanel, seedPanel),
    isOverFile: () => chosen.value === over,
    toNoise: () => { chosen.value = "noise"; show(); },
    takeFile,
    // What is asked of the program; it throws what is missing.
    read: () => {
      if (chosen.value === "seeds") return { seeds: { last: Number(seed.value) } };
      if (chosen.value === "noise") return "noise";
      if (content === null) throw new Error(`Choose a ${name} first: drop one on this page, or take an example.`);
      return { [over]: {
        [over]: content,
        strength: Number(strength.value),
        ...(isPartial.checked && { [part]: canvas.read(), resamplings: Number(resamplings.value) }),
      } };
    },
  };
}
