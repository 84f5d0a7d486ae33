// Draws: each denoising step is shown as it comes; the same noise by two settings side by side.

import { chips, download, element, field, figures, notice, number, select, table, time } from "./elements.js";
import { recipe } from "./recipe.js";
import { blob, bytes, events, get, post } from "./server.js";

// The most classes that have a chip of their own.
const MOST_CHIPS = 60;

// The settings of one side.
function settings(about, name) {
  const { sampling } = about;
  const sampler = select(about.samplers.map(({ name }) => [name, name]), sampling.sampler);
  const summary = element("p", { class: "faint small" });
  const steps = element("input", { type: "range", min: "1", max: String(Math.min(about.num_train_timesteps, 250)), value: String(sampling.num_inference_steps) });
  const guidance = element("input", { type: "range", min: "1", max: "8", step: "0.25", value: String(sampling.guidance_scale) });
  const eta = element("input", { type: "range", min: "0", max: "1", step: "0.05", value: String(sampling.eta) });
  const etaField = field("η, fresh noise in each step", eta, { shown: (value) => value });
  const show = () => {
    const chosen = about.samplers.find(({ name }) => name === sampler.value);
    summary.textContent = chosen.summary;
    etaField.hidden = !chosen.options.includes("eta");
  };
  sampler.addEventListener("change", show);
  show();
  const canGuide = about.classes !== null && about.why_no_guidance === null;
  return {
    root: element("fieldset", {}, name && element("legend", {}, name),
      field("sampler", sampler), summary,
      field("steps", steps, { shown: (value) => value }),
      canGuide && field("guidance towards the class", guidance, { shown: (value) => (Number(value) === 1 ? "none" : value) }),
      etaField),
    read: (classes) => ({
      sampler: sampler.value,
      steps: Number(steps.value),
      ...(etaField.hidden ? {} : { eta: Number(eta.value) }),
      ...(canGuide && !(classes.length > 0 && classes.every((one) => one === null)) ? { guidance: Number(guidance.value) } : {}),
    }),
    write: (sampling) => {
      sampler.value = sampling.sampler;
      steps.value = String(sampling.num_inference_steps);
      guidance.value = String(sampling.guidance_scale);
      eta.value = String(sampling.eta);
      for (const input of [steps, guidance, eta]) input.dispatchEvent(new Event("input"));
      show();
    },
    words: () => `${sampler.value}, ${steps.value} steps${canGuide && Number(guidance.value) !== 1 ? `, guidance ${guidance.value}` : ""}`,
  };
}

// Where one drawing is shown.
function easel(about, run) {
  const head = element("h3");
  const bar = element("progress", { max: 1, value: 0, "aria-label": "denoising" });
  const said = element("div", { class: "faint small" });
  const place = element("div");
  const root = element("section", { class: "card" }, head, bar, place, said);
  const className = (index) => (index === null ? "" : about.class_names[index] ?? String(index));
  let cells = [];
  let latest = 0;

  const sheetClass = about.kind === "points" ? "sheet one" : about.kind === "sounds" ? "sheet wide" : "sheet";

  function begin(begun) {
    cells = [];
    place.replaceChildren();
    if (about.kind === "rows") return;
    const count = about.kind === "points" ? 1 : begun.count;
    cells = Array.from({ length: count }, (_, index) => element("canvas", { role: "img", "aria-label": `sample ${index + 1} ${className(begun.classes[index])}` }));
    place.replaceChildren(element("div", { class: sheetClass }, cells.map((cell, index) =>
      element("figure", {}, cell, about.classes !== null && about.kind !== "points" && element("figcaption", {}, className(begun.classes[index]))))));
  }

  async function sheet({ png, columns, width, height }) {
    const ticket = ++latest;
    const bitmap = await createImageBitmap(blob(png, "image/png"));
    if (ticket !== latest) return;
    cells.forEach((cell, index) => {
      if (cell.width !== width || cell.height !== height) [cell.width, cell.height] = [width, height];
      cell.getContext("2d").drawImage(bitmap, (index % columns) * width, Math.floor(index / columns) * height, width, height, 0, 0, width, height);
    });
  }

  function done(drawn, begun, seed) {
    latest++;
    if (drawn.rows) {
      place.replaceChildren(
        table(drawn.names.length ? drawn.names : [], drawn.rows),
        element("div", { class: "row" }, element("button", { type: "button", onclick: () => download(new Blob([bytes(drawn.file)]), `${run.name}-${seed}.${drawn.extension}`) }, `Save all ${drawn.rows.length} as .${drawn.extension}`)));
      return;
    }
    place.replaceChildren(element("div", { class: sheetClass }, drawn.pictures.map((png, index) => {
      const url = URL.createObjectURL(blob(png, "image/png"));
      const name = `${run.name}-${seed}-${index}`;
      const alt = `sample ${index + 1} ${className(begun.classes[index] ?? null)}`;
      const picture = element("a", { href: url, download: `${name}.png`, title: "Save" }, element("img", { src: url, alt }));
      const sound = drawn.sounds && element("audio", { controls: true, preload: "metadata", src: URL.createObjectURL(blob(drawn.sounds[index], "audio/wav")) });
      return element("figure", {}, picture, sound, about.classes !== null && about.kind !== "points" && element("figcaption", {}, className(begun.classes[index])));
    })));
  }

  // Draws what is asked for; returns when it is finished.
  async function draw(asked, words, signal) {
    head.textContent = words;
    bar.value = 0;
    said.replaceChildren("waiting for its turn");
    const began = performance.now();
    let begun = null, first = null;
    for await (const [name, data] of events(`runs/${run.id}/draw`, { body: asked, signal })) {
      if (name === "failed") throw new Error(data);
      const told = JSON.parse(data);
      if (name === "begun") begin((begun = told));
      if (name === "step") {
        first ??= performance.now() - began;
        bar.value = (told.index + 1) / begun.timesteps.length;
        said.textContent = `step ${told.index + 1} of ${begun.timesteps.length}, t = ${number(told.timestep, 4)}`;
        if (told.rows) place.replaceChildren(table([], told.rows));
        else await sheet(told.sheet);
      }
      if (name === "done") {
        bar.value = 1;
        done(told, begun, asked.seed);
        said.replaceChildren(figures([
          ["checkpoint of step", begun.step.toLocaleString("en")],
          ["device", begun.device],
          ["drawn in", `${number((performance.now() - began) / 1000, 3)} s`],
          ["first step after", first === null ? null : `${Math.round(first)} ms`],
        ]));
        root.dataset.first = first;
      }
    }
  }
  return { root, draw };
}

export function draw(main, context) {
  const run = context.run();
  if (!run) {
    main.append(notice("There is no run yet: start one first."));
    return;
  }
  if (!run.has_checkpoint) {
    main.append(notice(`${run.name} has no checkpoint yet: there is something to draw from after its first one.`));
    context.on(() => { if (context.run()?.has_checkpoint) context.show(); });
    return;
  }
  const panel = element("section", { class: "card" }, element("p", { class: "faint" }, "opening the run"));
  const results = element("div", {}, element("section", { class: "card" }, element("p", { class: "faint" }, "Press “Draw”: pure noise becomes data, a step at a time.")));
  const columns = element("div", { class: "columns" }, panel, results);
  main.append(columns);
  let stop = null;

  get(`runs/${run.id}`).then((about) => {
    // So that the first step comes at once.
    post(`runs/${run.id}/warm`).catch(() => {});
    const chosen = new Set();
    const names = about.classes === null ? [] : Array.from({ length: Math.min(about.classes, MOST_CHIPS) }, (_, index) => [index, about.class_names[index] ?? String(index)]);
    if (about.classes !== null && about.has_null_label && about.kind !== "rows") names.push([null, "no class"]);
    const count = element("input", { type: "number", min: "1", max: String(about.most), value: String(about.count) });
    const seed = element("input", { type: "number", min: "0", step: "1", value: "0" });
    const dice = element("button", { type: "button", title: "Another seed", "aria-label": "another seed", onclick: () => { seed.value = String(Math.floor(Math.random() * 1e6)); begin(); } }, "⚄ another");
    const best = select([["newest", "newest"], ["best", "best"]], "newest");
    const a = settings(about, null);
    const b = settings(about, "Second settings");
    const second = element("div", { hidden: true }, b.root);
    const compare = element("input", { type: "checkbox" });
    compare.addEventListener("change", () => { second.hidden = !compare.checked; });
    const button = element("button", { class: "primary", type: "submit" }, "Draw");
    const said = element("div", { "aria-live": "polite" });

    const what = element("div");
    const showChips = () => what.replaceChildren(chips(names, chosen));
    showChips();

    // Draws again what a picture shows that was saved here.
    async function again(file) {
      const found = file && recipe(await file.arrayBuffer());
      if (!found) {
        said.replaceChildren(notice("This picture carries no settings: those that are saved here do.", true));
        return;
      }
      chosen.clear();
      if (about.classes !== null) chosen.add(found.class ?? null);
      showChips();
      seed.value = String(found.seed);
      count.value = "1";
      a.write(found.sampling);
      await begin(found.place);
      if (found.run !== run.name) said.replaceChildren(notice(`It was drawn by ${found.run} at step ${found.step}: this run draws another.`));
    }

    async function begin(first = 0) {
      stop?.abort();
      const controller = (stop = new AbortController());
      said.replaceChildren();
      button.textContent = "Draw again";
      const classes = [...chosen].sort((a, b) => (a ?? 1e9) - (b ?? 1e9));
      const base = { classes, count: Number(count.value), seed: Number(seed.value), ...(first > 0 && { first }), best: best.value === "best" };
      const sides = compare.checked ? [a, b] : [a];
      const easels = sides.map(() => easel(about, run));
      results.replaceChildren(element("div", { class: "sides" }, easels.map(({ root }) => root)));
      try {
        for (const [index, side] of sides.entries()) {
          await easels[index].draw({ ...base, ...side.read(classes) }, side.words(), controller.signal);
        }
      } catch (error) {
        if (error.name !== "AbortError") said.replaceChildren(notice(error.message, true));
      }
    }

    const form = element("form", {},
      names.length > 0 && element("fieldset", {}, element("legend", {}, "What"), what, element("div", { class: "faint small" }, "none chosen: all in turn")),
      element("div", { class: "pair" }, field(`how many, ≤ ${about.most}`, count), field("checkpoint", best)),
      element("div", { class: "pair" }, field("seed of the noise", seed), element("div", { class: "field" }, element("span", {}, " "), dice)),
      a.root,
      element("label", { class: "check" }, compare, "the same noise by other settings beside it"),
      second,
      element("div", { class: "row" }, button, element("button", { type: "button", onclick: () => stop?.abort() }, "Stop")),
      said,
      element("details", {}, element("summary", { class: "faint small" }, "In a terminal"), element("pre", { tabindex: "0" }, about.commands.sample)));
    const file = element("input", { type: "file", accept: "image/png", "aria-label": "a saved picture" });
    file.addEventListener("change", () => again(file.files[0]));
    form.append(element("details", {}, element("summary", { class: "faint small" }, "Draw a saved picture again"), element("p", { class: "small faint" }, "Drop it on this page, or choose it:"), file));
    columns.addEventListener("dragover", (event) => event.preventDefault());
    columns.addEventListener("drop", (event) => { event.preventDefault(); again(event.dataTransfer.files[0]); });
    form.addEventListener("submit", (event) => { event.preventDefault(); begin(); });
    panel.replaceChildren(form);
  }).catch((error) => panel.replaceChildren(notice(error.message, true)));
  return () => stop?.abort();
}
