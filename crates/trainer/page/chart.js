// Curves on a canvas: linear or logarithmic, values under the pointer, a part enlarged by dragging.

import { element, number } from "./elements.js";

// Colours that people with any sight tell apart (Okabe and Ito), lighter on dark.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#6a3d9a", "#a6761d"];
const ON_DARK = ["#56b4e9", "#ff9a4d", "#3ecf9f", "#f09cc8", "#f0e442", "#9fd3ff", "#c5a3ff", "#e0b060"];

const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
export const colour = (index) => (isDark() ? ON_DARK : COLOURS)[index % COLOURS.length];

const MARGIN = { left: 58, right: 12, top: 10, bottom: 26 };
const HEIGHT = 230;

// A mean that forgets with `decay` and starts unbiased, as in the bar of `trainer train`.
export function smoothed(values, decay) {
  let sum = 0, weight = 0;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return value;
    sum = decay * sum + (1 - decay) * value;
    weight = decay * weight + (1 - decay);
    return sum / weight;
  });
}

// Round places between two numbers, at most `most` of them.
function ticks(from, to, most) {
  const raw = (to - from) / most;
  if (!(raw > 0) || !Number.isFinite(raw)) return [from];
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((step) => step >= raw);
  const all = [];
  for (let k = Math.ceil(from / step - 1e-9); k * step <= to + 1e-9 * step; k++) all.push(k * step);
  return all;
}

function logTicks(from, to) {
  const all = [];
  for (let power = Math.floor(from); power <= Math.ceil(to); power++) {
    for (const factor of to - from > 3 ? [1] : to - from > 1 ? [1, 3] : [1, 1.5, 2, 3, 4, 5, 7]) {
      const value = power + Math.log10(factor);
      if (value >= from && value <= to) all.push(value);
    }
  }
  return all.length > 1 ? all : ticks(from, to, 4);
}

// `series`: { name, x, y, colour, faint, marked }. `options`: { label, unit, logarithmic, mark, onrange, format }.
export class Chart {
  constructor(options) {
    this.options = options;
    this.series = [];
    this.range = null;
    this.canvas = element("canvas", { role: "img", tabindex: "0", "aria-label": options.label });
    this.legend = element("div", { class: "legend", "aria-live": "off" });
    this.root = element("div", { class: "chart" }, this.canvas, this.legend);
    this.pointer = null;
    this.dragged = null;
    const at = (event) => event.clientX - this.canvas.getBoundingClientRect().left;
    this.canvas.addEventListener("pointermove", (event) => { this.pointer = at(event); this.paint(); });
    this.canvas.addEventListener("pointerleave", () => { this.pointer = null; this.paint(); });
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse") return;
      this.dragged = at(event);
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointerup", (event) => {
      if (this.dragged === null) return;
      const [a, b] = [this.dragged, at(event)].sort((a, b) => a - b);
      this.dragged = null;
      if (b - a > 8) this.enlarge([this.value(a), this.value(b)]);
      else this.paint();
    });
    this.canvas.addEventListener("dblclick", () => this.enlarge(null));
    // The same by keys: left and right move along the curve, plus and minus enlarge, 0 shows all.
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.paint()).observe(this.root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  set(series, options = {}) {
    Object.assign(this.options, options);
    this.series = series;
    this.paint();
  }

  enlarge(range) {
    this.range = range;
    this.options.onrange?.(range);
    this.paint();
  }

  key(event) {
    const [from, to] = this.extent();
    const width = this.canvas.clientWidth - MARGIN.left - MARGIN.right;
    const middle = this.pointer === null ? MARGIN.left + width / 2 : this.pointer;
    const about = this.value(middle);
    const zoom = (factor) => this.enlarge([about + (from - about) * factor, about + (to - about) * factor]);
    if (event.key === "ArrowLeft") this.pointer = Math.max(MARGIN.left, middle - 8);
    else if (event.key === "ArrowRight") this.pointer = Math.min(MARGIN.left + width, middle + 8);
    else if (event.key === "+") zoom(0.5);
    else if (event.key === "-") zoom(2);
    else if (event.key === "0" || event.key === "Escape") this.enlarge(null);
    else return;
    event.preventDefault();
    this.paint();
  }

  extent() {
    if (this.range) return this.range;
    const ends = this.series.flatMap(({ x }) => (x.length ? [x[0], x[x.length - 1]] : []));
    if (ends.length === 0) return [0, 1];
    const [from, to] = [Math.min(...ends), Math.max(...ends)];
    return to > from ? [from, to] : [from - Math.max(1, from / 10), to + Math.max(1, to / 10)];
  }

  value(pixel) {
    const [from, to] = this.extent();
    const width = this.canvas.clientWidth - MARGIN.left - MARGIN.right;
    return from + ((pixel - MARGIN.left) / width) * (to - from);
  }

  paint() {
    const { canvas, options } = this;
    const width = canvas.clientWidth;
    if (width === 0) return;
    const ratio = devicePixelRatio || 1;
    const height = options.height ?? HEIGHT;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--faint"), line = style.getPropertyValue("--line");
    const [from, to] = this.extent();
    const transform = options.logarithmic ? (y) => (y > 0 ? Math.log10(y) : NaN) : (y) => y;
    let low = Infinity, high = -Infinity;
    for (const { x, y, faint } of this.series) {
      for (let i = 0; i < x.length; i++) {
        const value = y[i] === null ? NaN : transform(y[i]);
        if (x[i] < from || x[i] > to || !Number.isFinite(value)) continue;
        if (faint && this.series.some((other) => !other.faint)) continue;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
    if (!(high >= low)) [low, high] = [0, 1];
    if (high - low < 1e-12) [low, high] = [low - Math.abs(low) * 0.1 - 1e-9, high + Math.abs(high) * 0.1 + 1e-9];
    const rim = 0.06 * (high - low);
    [low, high] = [low - rim, high + rim];
    const right = width - MARGIN.right, bottom = height - MARGIN.bottom;
    const px = (x) => MARGIN.left + ((x - from) / (to - from)) * (right - MARGIN.left);
    const py = (y) => bottom - ((transform(y) - low) / (high - low)) * (bottom - MARGIN.top);

    pen.font = "12px system-ui, sans-serif";
    pen.lineWidth = 1;
    pen.strokeStyle = line;
    pen.fillStyle = ink;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    const format = options.format ?? ((value) => number(value, 3));
    for (const tick of options.logarithmic ? logTicks(low, high) : ticks(low, high, 5)) {
      const y = bottom - ((tick - low) / (high - low)) * (bottom - MARGIN.top);
      pen.beginPath();
      pen.moveTo(MARGIN.left, y);
      pen.lineTo(right, y);
      pen.stroke();
      pen.fillText(format(options.logarithmic ? 10 ** tick : tick), MARGIN.left - 6, y);
    }
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const tick of ticks(from, to, Math.max(3, Math.floor(width / 100)))) {
      pen.fillText((options.formatX ?? ((value) => number(value, 4)))(tick), px(tick), bottom + 7);
    }

    pen.save();
    pen.beginPath();
    pen.rect(MARGIN.left, MARGIN.top - 4, right - MARGIN.left, bottom - MARGIN.top + 8);
    pen.clip();
    for (const { x, y, colour: index, faint, marked } of this.series) {
      pen.strokeStyle = pen.fillStyle = colour(index);
      pen.globalAlpha = faint ? 0.25 : 1;
      pen.lineWidth = faint ? 1 : 1.8;
      pen.beginPath();
      let isDown = false;
      for (let i = 0; i < x.length; i++) {
        if (y[i] === null || y[i] === undefined) continue;
        const place = py(y[i]);
        if (!Number.isFinite(place)) { isDown = false; continue; }
        if (isDown) pen.lineTo(px(x[i]), place);
        else pen.moveTo(px(x[i]), place);
        isDown = true;
      }
      pen.stroke();
      if (marked && x.length < 200) {
        for (let i = 0; i < x.length; i++) {
          if (y[i] === null || y[i] === undefined) continue;
          pen.beginPath();
          pen.arc(px(x[i]), py(y[i]), 2.6, 0, 7);
          pen.fill();
        }
      }
    }
    pen.globalAlpha = 1;
    if (options.mark !== undefined && options.mark !== null) {
      pen.strokeStyle = style.getPropertyValue("--accent");
      pen.lineWidth = 2;
      pen.beginPath();
      pen.moveTo(px(options.mark), MARGIN.top - 4);
      pen.lineTo(px(options.mark), bottom + 4);
      pen.stroke();
    }
    const isOver = this.pointer !== null && this.pointer >= MARGIN.left && this.pointer <= right;
    if (isOver) {
      pen.strokeStyle = ink;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(this.pointer, MARGIN.top);
      pen.lineTo(this.pointer, bottom);
      pen.stroke();
      if (this.dragged !== null) {
        pen.globalAlpha = 0.15;
        pen.fillStyle = ink;
        pen.fillRect(this.dragged, MARGIN.top, this.pointer - this.dragged, bottom - MARGIN.top);
      }
    }
    pen.restore();
    this.tell(isOver ? this.value(this.pointer) : null);
  }

  // The legend, with the values under the pointer.
  tell(x) {
    const named = this.series.filter(({ faint, name }) => name && !faint);
    const parts = named.map(({ name, x: places, y, colour: index }) => {
      const swatch = element("i");
      swatch.style.background = colour(index);
      let value = "";
      if (x !== null) {
        let best = -1;
        for (let i = 0; i < places.length; i++) {
          if (y[i] === null || y[i] === undefined) continue;
          if (best < 0 || Math.abs(places[i] - x) < Math.abs(places[best] - x)) best = i;
        }
        if (best >= 0) value = ` ${number(y[best])}`;
      }
      return element("span", {}, swatch, name, value);
    });
    const { unit, formatX } = this.options;
    if (x !== null) parts.unshift(element("span", {}, `${unit ?? ""} ${(formatX ?? ((v) => number(v, 5)))(x)}`.trim()));
    this.legend.replaceChildren(...parts);
  }
}
