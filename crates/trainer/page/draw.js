// Draws: each denoising step is shown as it comes; the same noise by two settings side by side.

import { beginning } from "./beginning.js";
import { chips, download, element, field, figures, image, notice, number, select, table } from "./elements.js";
import { recipe } from "./recipe.js";
import { copying, NEARER } from "./scores.js";
import { blob, bytes, events, get, post } from "./server.js";

// The most classes that have a chip of their own.
const MOST_CHIPS = 60;

// The fewest samples whose nearest training images are looked for, and above how many standard deviations they are
// called copies: of a few samples by chance once in 700 drawings.
const LEAST_NEAREST = 4;
const ALARM = 3;

// The settings of one side.
function settings(about, name) {
  const { sampling } = about;
  const sampler = select(about.samplers.map(({ name }) => [name, name]), sampling.sampler);
  const summary = element("p", { class: "faint small" });
  const steps = element("input", { type: "range", min: "1", max: String(Math.min(about.num_train_timesteps, 250)), value: String(sampling.num_inference_steps) });
  const guidance = element("input", { type: "range", min: "1", max: "8", step: "0.25", value: String(sampling.guidance_scale) });
  const eta = element("input", { type: "range", min: "0", max: "1", step: "0.05", value: String(sampling.eta) });
  const checkpoint = select([["newest", "newest"], ["best", "best"], ...about.checkpoints.map((step) => [String(step), `step ${step.toLocaleString("en")}`])], "newest");
  const last = about.num_train_timesteps - 1;
  const bound = (label) => element("input", { type: "number", min: "0", max: String(last), step: "any", value: "", "aria-label": label });
  const [from, to] = [bound("guided from t"), bound("guided to t")];
  from.placeholder = "0";
  to.placeholder = String(last);
  const setInterval = (interval) => { [from.value, to.value] = (interval ?? ["", ""]).map(String); };
  setInterval(sampling.guidance_interval);
  const interval = element("div", {}, element("div", { class: "pair" }, field("guided from t", from), field("to t", to)));
  const etaField = field("η, fresh noise in each step", eta, { shown: (value) => value });
  const show = () => {
    const chosen = about.samplers.find(({ name }) => name === sampler.value);
    summary.textContent = chosen.summary;
    etaField.hidden = !chosen.options.includes("eta");
    interval.hidden = !canGuide || Number(guidance.value) === 1;
  };
  const canGuide = about.classes !== null && about.why_no_guidance === null;
  sampler.addEventListener("change", show);
  guidance.addEventListener("input", show);
  show();
  const guided = () => {
    const isBounded = !interval.hidden && (from.value !== "" || to.value !== "" || sampling.guidance_interval !== undefined);
    return {
      guidance: Number(guidance.value),
      ...(isBounded && { guidance_interval: [Number(from.value || 0), Number(to.value || last)] }),
    };
  };
  return {
    root: element("fieldset", {}, name && element("legend", {}, name),
      field("checkpoint", checkpoint), field("sampler", sampler), summary,
      field("steps", steps, { shown: (value) => value }),
      canGuide && field("guidance towards the class", guidance, { shown: (value) => (Number(value) === 1 ? "none" : value) }),
      interval,
      etaField),
    read: (isGuided) => ({
      checkpoint: Number(checkpoint.value) >= 0 ? { step: Number(checkpoint.value) } : checkpoint.value,
      sampler: sampler.value,
      steps: Number(steps.value),
      ...(etaField.hidden ? {} : { eta: Number(eta.value) }),
      ...(canGuide && isGuided ? guided() : {}),
    }),
    write: (sampling, step) => {
      checkpoint.value = about.checkpoints.includes(step) ? String(step) : "newest";
      setInterval(sampling.guidance_interval);
      sampler.value = sampling.sampler;
      steps.value = String(sampling.num_inference_steps);
      guidance.value = String(sampling.guidance_scale);
      eta.value = String(sampling.eta);
      for (const input of [steps, guidance, eta]) input.dispatchEvent(new Event("input"));
      show();
    },
    words: () => `${sampler.value}, ${steps.value} steps${canGuide && Number(guidance.value) !== 1 ? `, guidance ${guidance.value}` : ""}${checkpoint.value === "newest" ? "" : `, ${checkpoint.selectedOptions[0].textContent}`}`,
  };
}

// Where one drawing is shown.
function easel(about, run, signal) {
  const head = element("h3");
  const bar = element("progress", { max: 1, value: 0, "aria-label": "denoising" });
  const said = element("div", { class: "faint small" });
  const place = element("div");
  const root = element("section", { class: "card" }, head, bar, place, said);
  const className = (index) => (index === null ? "" : about.class_names[index] ?? String(index));
  // What stands below a sample: its class, or how far it is from one seed to the other.
  let isBetween = false;
  const hasCaptions = () => isBetween || (about.classes !== null && about.kind !== "points");
  const caption = (begun, index) => (isBetween ? `${Math.round((100 * index) / Math.max(1, begun.count - 1))} %` : className(begun.classes[index] ?? null));
  let cells = [];
  let latest = 0;

  const sheetClass = about.kind === "points" ? "sheet one" : about.kind === "sounds" ? "sheet wide" : "sheet";

  function begin(begun) {
    cells = [];
    place.replaceChildren();
    if (about.kind === "rows") return;
    const count = about.kind === "points" ? 1 : begun.count;
    cells = Array.from({ length: count }, (_, index) => element("canvas", { role: "img", "aria-label": `sample ${index + 1} ${caption(begun, index)}` }));
    place.replaceChildren(element("div", { class: sheetClass }, cells.map((cell, index) =>
      element("figure", {}, cell, hasCaptions() && element("figcaption", {}, caption(begun, index))))));
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
      const alt = `sample ${index + 1} ${caption(begun, index)}`;
      const picture = element("a", { href: url, download: `${name}.png`, title: "Save" }, element("img", { src: url, alt }));
      const sound = drawn.sounds && player(drawn.sounds[index], alt);
      return element("figure", {}, picture, sound, hasCaptions() && element("figcaption", {}, caption(begun, index)));
    })));
    if (about.is_of_files && drawn.pictures.length >= LEAST_NEAREST) place.append(nearest(drawn, begun.classes));
  }

  const many = about.seconds ? "recordings" : "images";
  const player = (wav, name) => element("audio", { controls: true, preload: "metadata", src: URL.createObjectURL(blob(wav, "audio/wav")), "aria-label": name });

  // Looks for the training images or recordings that come nearest to what was drawn.
  function nearest(drawn, classes) {
    const compared = select([["", `all training ${many}`], ["2000", "2,000 of them by chance, quicker"]], "", { "aria-label": "compared with" });
    const answer = element("div", { "aria-live": "polite" });
    const button = element("button", { type: "button" }, `Nearest training ${many}`);
    button.addEventListener("click", async () => {
      button.disabled = true;
      const line = element("p", { class: "small faint" }, "reading the data");
      const bar = element("progress", { "aria-label": `looking for the nearest training ${many}` });
      answer.replaceChildren(bar, line);
      try {
        const body = { samples: drawn.sounds ?? drawn.pictures, classes, ...(compared.value && { reference_images: Number(compared.value) }) };
        for await (const [name, data] of events(`runs/${run.id}/nearest`, { body, signal })) {
          if (name === "failed") throw new Error(data);
          if (name === "said") line.textContent = data;
          if (name === "done") answer.replaceChildren(...found(JSON.parse(data), drawn));
        }
      } catch (error) {
        answer.replaceChildren(...(error.name === "AbortError" ? [] : [notice(error.message, true)]));
      } finally {
        button.disabled = false;
      }
    });
    return element("div", { class: "nearest" }, element("div", { class: "row" }, button, compared), answer);
  }

  function found({ scores, png, heard }, drawn) {
    const score = scores.find(({ name }) => name === NEARER);
    const one = many.slice(0, -1);
    const pairs = `In ${Math.round(100 * score.value)} % of all pairs a drawn ${one} is nearer to a training ${one} than a held-out one is; by chance it is 50 %.`;
    const both = (picture, wav, words) => element("figure", {},
      image(URL.createObjectURL(blob(picture, "image/png")), words), player(wav, words), element("figcaption", {}, words));
    return [
      copying(score) > ALARM
        ? notice(`Memorised: these are copies of training ${many}, or nearly. ${pairs} More data, or fewer steps, help.`, true)
        : notice(`These are no copies. ${pairs}`),
      ...(heard.length > 0 ? [
        element("p", { class: "small faint" }, "What came nearest, the nearest first, each beside that training recording."),
        element("div", { class: "sheet pairs" }, heard.map(({ sample, png: picture, sound }) => element("div", {},
          both(drawn.pictures[sample], drawn.sounds[sample], `sample ${sample + 1}`), both(picture, sound, "in the training data")))),
      ] : [
        element("p", { class: "small faint" }, "What came nearest, above; those training images, below."),
        image(URL.createObjectURL(blob(png, "image/png")), "drawn images beside the training images nearest to them", { class: "grid-picture" }),
      ]),
    ];
  }

  // Draws what is asked for; returns when it is finished.
  async function draw(asked, words) {
    head.textContent = words;
    isBetween = asked.from.seeds !== undefined;
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
        if (told.sheet) await sheet(told.sheet);
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
  const results = element("div", { class: "beside" }, element("section", { class: "card" }, element("p", { class: "faint" }, "Press “Draw”: pure noise becomes data, a step at a time.")));
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
    const begins = beginning(about, run, (mode) => { count.value = String({ noise: about.count, picture: Math.min(8, about.most), recording: about.count, seeds: 9 }[mode]); });
    const conditions = element("textarea", { rows: "2", spellcheck: "false", placeholder: "column=value" });
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
    async function again(file, found) {
      found ??= file && recipe(await file.arrayBuffer());
      if (!found) {
        said.replaceChildren(notice("This picture carries no settings: those that are saved here do.", true));
        return;
      }
      begins.toNoise();
      chosen.clear();
      if (about.classes !== null) chosen.add(found.class ?? null);
      showChips();
      seed.value = String(found.seed);
      count.value = "1";
      a.write(found.sampling, found.step);
      await begin(found.place);
      if (found.run !== run.name) said.replaceChildren(notice(`It was drawn by ${found.run} at step ${found.step}: this run draws another.`));
    }

    // What is dropped is drawn again where it says how it was drawn, and else drawn over.
    async function dropped(file) {
      const found = file && !begins.isOverFile() ? recipe(await file.arrayBuffer()) : null;
      if (found || !about.is_of_files) await again(file, found);
      else await begins.takeFile(file);
    }

    async function begin(first = 0) {
      stop?.abort();
      const controller = (stop = new AbortController());
      said.replaceChildren();
      let from;
      try {
        from = begins.read();
        const lines = conditions.value.split("\n").map((line) => line.trim()).filter((line) => line !== "");
        if (lines.length > 0) from = { conditions: lines };
      } catch (error) {
        said.replaceChildren(notice(error.message, true));
        return;
      }
      button.textContent = "Draw again";
      const classes = [...chosen].sort((a, b) => (a ?? 1e9) - (b ?? 1e9));
      const base = { classes, count: Number(count.value), seed: Number(seed.value), ...(first > 0 && { first }), from };
      // Guidance leads towards a class; with none chosen, noise becomes all of them in turn, and a picture or a recording none.
      const isGuided = classes.length === 0 ? from === "noise" || from.conditions !== undefined : classes.some((one) => one !== null);
      const sides = compare.checked ? [a, b] : [a];
      const easels = sides.map(() => easel(about, run, controller.signal));
      results.replaceChildren(element("div", { class: "sides" }, easels.map(({ root }) => root)));
      // On a phone it is below the form.
      results.scrollIntoView({ block: "nearest" });
      try {
        for (const [index, side] of sides.entries()) {
          await easels[index].draw({ ...base, ...side.read(isGuided) }, side.words());
        }
      } catch (error) {
        if (error.name !== "AbortError") said.replaceChildren(notice(error.message, true));
      }
    }

    const form = element("form", {},
      begins.root,
      names.length > 0 && element("fieldset", {}, element("legend", {}, "What"), what, element("div", { class: "faint small" }, "none chosen: from noise all in turn, else no class")),
      about.has_columns && field("conditions that hold in every row, one a line", conditions, { title: "as sex=female or body_mass_g>=4000; also !=, <, <=, >" }),
      field(`how many, ≤ ${about.most}`, count),
      element("div", { class: "pair" }, field("seed of the noise", seed), element("div", { class: "field" }, element("span", {}, " "), dice)),
      a.root,
      element("label", { class: "check" }, compare, "the same noise by other settings beside it"),
      second,
      element("div", { class: "actions" }, element("div", { class: "row" }, button, element("button", { type: "button", onclick: () => stop?.abort() }, "Stop")), said),
      element("details", {}, element("summary", { class: "faint small" }, "In a terminal"), element("pre", { tabindex: "0" }, about.commands.sample)));
    const file = element("input", { type: "file", accept: "image/png", "aria-label": "a saved picture" });
    file.addEventListener("change", () => again(file.files[0]));
    form.append(element("details", {}, element("summary", { class: "faint small" }, "Draw a saved picture again"), element("p", { class: "small faint" }, "Drop it on this page, or choose it:"), file));
    columns.addEventListener("dragover", (event) => event.preventDefault());
    columns.addEventListener("drop", (event) => { event.preventDefault(); dropped(event.dataTransfer.files[0]); });
    form.addEventListener("submit", (event) => { event.preventDefault(); begin(); });
    panel.replaceChildren(form);
  }).catch((error) => panel.replaceChildren(notice(error.message, true)));
  return () => stop?.abort();
}
