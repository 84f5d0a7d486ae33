// Diffusion in five minutes: one example of the run's own data, a slider over t, and what the network makes of it.

import { Chart } from "./chart.js";
import { element, field, image, notice, number } from "./elements.js";
import { row } from "./row.js";
import { blob, get, post } from "./server.js";

const url = (png) => URL.createObjectURL(blob(png, "image/png"));

// A picture that changes, with words below it.
function figure(title, text) {
  const place = element("div", { class: "pixels" });
  const root = element("figure", {}, place, element("figcaption", {}, element("b", {}, title), element("span", { class: "faint" }, text)));
  return { root, set: (png, alt = title) => place.replaceChildren(image(url(png), alt, { class: "pixels" })) };
}

// What is shown of an example that is a picture, or of a cloud of points; `row` has the same of a row.
function picture(examples, schedule) {
  const isCloud = examples.pictures.length === 1;
  const x0 = figure("x₀", isCloud ? "the data: every point" : "one example of the data");
  const noisy = figure("ε", "noise: as likely as any other, and known in training");
  const xt = figure("xₜ", "both together: all that the network sees, beside t");
  const guess = figure("predicted ε", "what the network takes for the noise");
  const clean = figure("predicted x₀", "what is left: its guess of the example");
  const stepwise = figure("xₜ, step by step", "t + 1 small steps of the Markov chain, each with fresh noise");
  const closed = figure("xₜ, at once", "the closed form: the same distribution, in one step");
  const name = (index) => examples.names[index] ?? `example ${index + 1}`;
  return {
    introduction: "Diffusion destroys data with a little noise at a time. Drag t: at 0 the example is whole, at the end it is noise. A network learns one thing only: to look at xₜ and say which noise is in it.",
    chooser: (choose) => {
      const buttons = examples.pictures.map((png, index) => element("button", {
        type: "button", "aria-pressed": index === 0, title: name(index),
        onclick: () => {
          buttons.forEach((button, other) => button.setAttribute("aria-pressed", other === index));
          choose(index);
        },
      }, image(url(png), name(index), { class: "pixels" })));
      return !isCloud && element("div", { class: "examples", role: "group", "aria-label": "Examples" }, buttons);
    },
    root: element("div", { class: "chain" }, [x0, noisy, xt, guess, clean].map(({ root }) => root)),
    chain: element("div", { class: "chain" }, closed.root, stepwise.root),
    ofChain: "The chain adds noise step by step: xₜ = √(1 − βₜ) · xₜ₋₁ + √βₜ · ε. Sums of normal noise are normal noise, so all steps up to t are one step. Let the slider go to compare.",
    signal: [
      { name: "√ᾱₜ, the share of x₀", x: schedule.timestep, y: schedule.signal, colour: 0 },
      { name: "√(1 − ᾱₜ), the share of noise", x: schedule.timestep, y: schedule.sigma, colour: 1 },
    ],
    losses: [["mean squared error of this example", ({ loss }) => loss]],
    equation: (told) => [`xₜ = √ᾱₜ · x₀ + √(1 − ᾱₜ) · ε = ${told.signal.toFixed(3)} · x₀ + ${told.sigma.toFixed(3)} · ε`],
    verdict: (told, share) => `The loss here is ${number(told.loss, 3)}: ` + (share < 0.15
      ? "there is little noise, and telling it from the data is hard."
      : share < 0.6
        ? "the rough shape is there, and a trained network finds what is under the noise."
        : "almost nothing of the example is left, and the best guess is the mean of all data that it could be."),
    show: (told) => {
      for (const [shown, png] of [[x0, told.x_0], [noisy, told.noise], [xt, told.x_t], [guess, told.predicted_noise], [clean, told.predicted_x_0]]) shown.set(png);
    },
    compare: (told) => {
      closed.set(told.x_t);
      stepwise.set(told.step_by_step);
      return `Root mean square at once: ${told.deviation.toFixed(3)}; step by step: ${told.step_by_step_deviation.toFixed(3)}. The noise differs, the distribution does not: that is why training may jump to any t.`;
    },
  };
}

export function understand(main, context) {
  const run = context.run();
  if (!run?.has_checkpoint) {
    main.append(notice(run ? `${run.name} has no checkpoint yet.` : "There is no run yet: start one first."));
    return;
  }
  const place = element("div", {}, element("p", { class: "faint" }, "opening the run and its data"));
  main.append(place);
  let isLeft = false;

  Promise.all([get(`runs/${run.id}/schedule`), post(`runs/${run.id}/examples`)]).then(([schedule, examples]) => {
    if (isLeft) return;
    const shown = (examples.rows ? row : picture)(examples, schedule);
    const last = schedule.num_train_timesteps - 1;
    const slider = element("input", { type: "range", min: "0", max: String(last), value: String(Math.round(last * 0.3)) });
    const seed = element("button", { type: "button", onclick: () => { noise++; ask(true); } }, "Other noise");
    const equation = element("div", { class: "equation", "aria-live": "polite" });
    const verdict = element("p", {});
    const statistics = element("p", { class: "faint" });
    let example = 0, noise = 0, isAsking = false, again = null;
    const chooser = shown.chooser((index) => { example = index; tried.clear(); ask(true); });

    const signal = new Chart({ label: "Signal and noise over the timesteps", unit: "t =", height: 190 });
    const ratio = new Chart({ label: "ln SNR over the timesteps", unit: "t =", height: 190 });
    const measured = new Chart({ label: "Loss at the timesteps that were tried", unit: "t =", height: 190, logarithmic: true });
    // What was told at each t.
    const tried = new Map();

    function mark(t) {
      signal.set(shown.signal, { mark: t });
      ratio.set([{ name: "ln SNR = ln ᾱₜ / (1 − ᾱₜ)", x: schedule.timestep, y: schedule.log_snr, colour: 2 }], { mark: t });
      const places = [...tried.keys()].sort((a, b) => a - b);
      measured.range = [0, last];
      measured.set(shown.losses.map(([name, loss], index) => (
        { name, x: places, y: places.map((place) => loss(tried.get(place))), colour: 3 + 2 * index, marked: true })), { mark: t });
    }

    // One question at a time, the last one in the end: a slider asks faster than a network answers.
    async function ask(isStepwise = false) {
      const t = Number(slider.value);
      mark(t);
      if (isAsking) { again = isStepwise; return; }
      isAsking = true;
      const chosen = example;
      try {
        const told = await post(`runs/${run.id}/explain`, { example: chosen, timestep: t, seed: noise, step_by_step: isStepwise });
        if (isLeft) return;
        shown.show(told, chosen);
        equation.replaceChildren(...shown.equation(told), `     at t = ${t}`);
        if (chosen === example) {
          const { loss, loss_of_numbers, loss_of_categories } = told;
          tried.set(t, { loss, loss_of_numbers, loss_of_categories });
        }
        mark(t);
        verdict.textContent = shown.verdict(told, t / last);
        if (isStepwise) statistics.textContent = shown.compare(told);
      } catch (error) {
        place.prepend(notice(error.message, true));
      } finally {
        isAsking = false;
        if (again !== null && !isLeft) { const next = again; again = null; ask(next); }
      }
    }
    slider.addEventListener("input", () => ask());
    slider.addEventListener("change", () => ask(true));

    place.replaceChildren(
      element("section", { class: "card" },
        element("h2", {}, "From data to noise, and back"),
        element("p", {}, shown.introduction),
        chooser,
        element("div", { class: "row" }, element("div", {}, seed)),
        field("t, the timestep", slider, { shown: (value) => `t = ${value}` }),
        shown.root,
        equation, verdict),
      element("div", { class: "charts" },
        [["The schedule", signal], ["Signal against noise", ratio], ["The loss where you looked", measured]].map(([title, chart]) =>
          element("section", { class: "card" }, element("h3", {}, title), chart.root))),
      element("section", { class: "card" },
        element("h2", {}, "A chain of small steps, or one large one"),
        element("p", {}, shown.ofChain),
        shown.chain, statistics),
      element("section", { class: "card" },
        element("h2", {}, "Drawing is the way back"),
        element("p", {}, "Start with pure noise at the end of the chain. Ask the network for its guess of x₀, take a small step towards it, and ask again: each guess is better than the one before. A sampler is a recipe for these steps."),
        element("button", { type: "button", class: "primary", onclick: () => context.go("draw") }, "See it drawn")));
    ask(true);
  }).catch((error) => place.replaceChildren(notice(error.message, true)));
  return () => { isLeft = true; };
}
