// The curves of a run, others laid over them, and its grids through training.

import { Chart } from "./chart.js";
import { chips, element, field, notice, number, select } from "./elements.js";
import { CURVES, lines } from "./metrics.js";
import { get, picture } from "./server.js";

// How often the curves of a run in training are read again.
const EVERY = 3000;

export function curves(main, context) {
  const run = context.run();
  if (!run) {
    main.append(notice("There is no run yet: start one first."));
    return;
  }
  const over = new Set([run.id]);
  const known = new Map();
  let smoothing = 0.9, isLogarithmic = true, axis = "step", isLeft = false, range = null;

  const made = CURVES.map((chart) => {
    const drawn = new Chart({
      label: chart.label,
      unit: "step",
      onrange: (now) => { range = now; for (const [other] of made) { other.range = now; } show(); refresh(true); },
    });
    const card = element("section", { class: "card", hidden: true }, element("h3", {}, chart.label), drawn.root);
    return [drawn, chart, card];
  });

  const others = () => context.runs().filter(({ seconds }) => seconds > 0);
  const picked = element("div");
  const pick = () => picked.replaceChildren(chips(others().map(({ id, name }) => [id, name]), over, () => refresh(true)));
  const slider = element("input", { type: "range", min: "0", max: "0.99", step: "0.01", value: String(smoothing) });
  slider.addEventListener("input", () => { smoothing = Number(slider.value); show(); });
  const log = element("input", { type: "checkbox", checked: true });
  log.addEventListener("change", () => { isLogarithmic = log.checked; show(); });
  const axes = select([["step", "steps"], ["seconds", "time of training"]], axis);
  axes.addEventListener("change", () => {
    axis = axes.value;
    range = null;
    for (const [chart] of made) chart.range = null;
    refresh(true);
  });
  main.append(
    element("section", { class: "card" },
      element("div", { class: "pair" }, field("smoothing", slider, { shown: (value) => Number(value).toFixed(2) }), field("over", axes)),
      element("div", { class: "row spread" },
        element("label", { class: "check" }, log, "logarithmic"),
        element("span", { class: "faint small" }, "Drag over a curve to enlarge it, double-click to see all; or + − 0 and the arrow keys.")),
      element("div", { class: "small faint" }, "Laid over each other"), picked),
    element("div", { class: "charts" }, made.map(([, , card]) => card)));

  function show() {
    const chosen = context.runs().filter(({ id }) => over.has(id) && known.has(id));
    for (const [drawn, chart, card] of made) {
      // Ranges of timesteps are lines of their own, and of one run alone.
      const runs = chart.isByTimestep ? chosen.filter(({ id }) => id === run.id) : chosen;
      const series = runs.flatMap((one) =>
        lines(chart, known.get(one.id), { name: one.name, colour: chosen.indexOf(one), axis, smoothing }));
      card.hidden = series.length === 0;
      drawn.set(series, {
        logarithmic: isLogarithmic && chart.isLog,
        unit: axis === "step" ? "step" : "",
        formatX: axis === "step" ? (value) => number(Math.round(value), 6) : (value) => `${number(value, 3)} min`,
      });
    }
  }

  async function refresh(isAsked) {
    const wanted = context.runs().filter((run) => over.has(run.id) && run.seconds > 0);
    // A part of the steps has its own points, so that what is enlarged has detail.
    const part = range && axis === "step" ? `&from=${Math.max(0, Math.floor(range[0]))}&to=${Math.ceil(Math.max(range[1], 1))}` : "";
    await Promise.all(wanted
      .filter((run) => isAsked || run.state === "training" || !known.has(run.id))
      .map(async (run) => known.set(run.id, await get(`runs/${run.id}/curves?places=800${part}`))));
    if (!isLeft) show();
  }

  const grids = through(run);
  main.append(grids.root);
  pick();
  refresh(true);
  const timer = setInterval(() => {
    if (!document.hidden) { refresh(false); grids.refresh(); }
  }, EVERY);
  return () => { isLeft = true; clearInterval(timer); };
}

// What the run drew as it learned, with a slider over its steps.
function through(run) {
  const shown = element("div");
  const slider = element("input", { type: "range", min: "0", max: "0", value: "0", "aria-label": "step of training" });
  const label = element("output", { class: "faint" });
  const root = element("section", { class: "card", hidden: true }, element("div", { class: "row spread" }, element("h2", {}, "What it draws as it learns"), label), slider, shown);
  let steps = [], latest = 0;
  const seen = new Map();

  async function show() {
    const step = steps[Number(slider.value)];
    if (step === undefined) return;
    label.textContent = `step ${step.toLocaleString("en")}`;
    const ticket = ++latest;
    if (!seen.has(step)) seen.set(step, await picture(`runs/${run.id}/grids/${step}`));
    const url = seen.get(step);
    if (ticket === latest && url) {
      shown.replaceChildren(element("img", { src: url, alt: `samples at step ${step}`, class: "grid-picture" }));
    }
  }
  slider.addEventListener("input", show);

  async function refresh() {
    const now = await get(`runs/${run.id}/grids`);
    if (now.length === steps.length) return;
    const isAtEnd = Number(slider.value) >= steps.length - 1;
    steps = now;
    slider.max = String(Math.max(0, steps.length - 1));
    if (isAtEnd) slider.value = slider.max;
    slider.hidden = steps.length < 2;
    root.hidden = steps.length === 0;
    show();
  }
  refresh();
  return { root, refresh };
}
