// A row of a table, or a line of text, under noise: cell by cell, on the chain of its numbers and on that of its
// categories.

import { element, field, number, select, table } from "./elements.js";

// The most characters by which a row is told from others.
const SHORT = 70;

const percent = (share) => (share > 0 && share < 0.005 ? "< 1 %" : `${Math.round(100 * share)} %`);
const precise = (share) => `${(100 * share).toFixed(1)} %`;

// What stands in a cell: a mask, a number with the one that the network sees, or a category with its probability.
function written({ text, z, likely = [] }, isShort) {
  if (text === null) return element("span", { class: "mask", role: "img", "aria-label": "mask" }, isShort ? "▒" : "▒▒");
  if (z !== undefined) return [text, element("div", { class: "faint small" }, `z ${z === null ? "–" : z.toFixed(2)}`)];
  if (likely.length === 0) return text;
  return likely.slice(0, isShort ? 1 : likely.length).map(([name, p], index) =>
    element("div", { class: index > 0 && "faint small" }, name, element("span", { class: "faint small" }, ` ${percent(p)}`)));
}

// A name that breaks behind its underscores.
const breakable = (name) => name.split(/(?<=_)/).flatMap((part) => [part, element("wbr")]);

// A column a state of the row; of a line, whose cells are letters, a row each.
function states(cells, names, isAcross) {
  const body = cells.map((cell) => [breakable(cell.name), ...names.map(([key]) => written(cell[key], isAcross))]);
  const head = ["", ...names.map(([, name]) => name)];
  if (!isAcross) return table(head, body, undefined, { class: "cells" });
  const all = [head, ...body];
  const [places, ...rest] = head.map((_, column) => all.map((line) => line[column]));
  return table(places, rest);
}

// What the view of understanding shows of a row; `schedule` is that of the run.
export function row(examples, schedule) {
  const { is_of_lines: isLine, has_numbers: hasNumbers, transition } = examples;
  const noun = isLine ? "line" : "row";
  const becomes = transition === "absorbing" ? "becomes a mask" : "becomes any of its column, by chance";
  const cells = element("div", {}), chain = element("div", {});
  const ofClass = element("p", { class: "faint small" });
  const name = (cells, index) => {
    const text = `${index + 1}: ${cells.join(", ")}`;
    return text.length > SHORT ? `${text.slice(0, SHORT)}…` : text;
  };
  const x = schedule.timestep;
  return {
    introduction: `Diffusion destroys data with a little noise at a time. Drag t: at 0 the ${noun} is whole, at the end nothing of it is left. `
      + [hasNumbers && "A number goes to normal noise", transition && `a category is kept for a while, and then ${becomes}`].filter(Boolean).join("; ").replace(/^a/, "A")
      + `. A network learns one thing only: to look at xₜ and say what the ${noun} was.`,
    chooser: (choose) => {
      const chosen = select(examples.rows.map((row, index) => [String(index), name(row, index)]), "0");
      chosen.addEventListener("change", () => choose(Number(chosen.value)));
      return field(`a ${noun} of the run's data, which the network has not learned`, chosen);
    },
    root: element("div", {}, cells, ofClass, element("p", { class: "faint small" },
      hasNumbers && "z is what the network sees of a number: its rank in the column as a normal one. ",
      transition && "Beside a category stands how probable the network finds it. ",
      transition === "absorbing" && "▒ is a mask; what is none is x₀, and needs no guess. ",
      isLine && "∎ is the end of the line, ␣ a blank.")),
    chain: element("div", { class: "chained" }, chain),
    ofChain: `The chain changes the ${noun} step by step. ` + [
      hasNumbers && "A number shrinks a little and gets a little noise: sums of normal noise are normal noise.",
      transition && `A category is kept with probability 1 − βₜ, or else ${becomes}: it is kept all the way with the product of these, ᾱₜ.`,
    ].filter(Boolean).join(" ") + " So all steps up to t are one step. Let the slider go to compare.",
    signal: [
      hasNumbers && { name: "√ᾱₜ, the share of x₀ in a number", x, y: schedule.signal, colour: 0 },
      hasNumbers && { name: "√(1 − ᾱₜ), the share of noise in it", x, y: schedule.sigma, colour: 1 },
      transition && { name: "ᾱₜ, the share of categories that are kept", x, y: schedule.kept, colour: 4 },
    ].filter(Boolean),
    losses: [
      hasNumbers && ["numbers: mean squared error", ({ loss_of_numbers: loss }) => loss],
      transition && ["categories: how little the network expected them", ({ loss_of_categories: loss }) => loss],
    ].filter(Boolean),
    equation: (told) => [
      hasNumbers && element("div", {}, `zₜ = √ᾱₜ · z₀ + √(1 − ᾱₜ) · ε = ${told.signal.toFixed(3)} · z₀ + ${told.sigma.toFixed(3)} · ε`),
      transition && element("div", {}, `a category is kept with probability ᾱₜ = ${told.kept.toFixed(3)}, or else ${becomes}`),
    ].filter(Boolean),
    verdict: (told, share) => {
      const parts = [hasNumbers && `${number(told.loss_of_numbers, 3)} of the numbers`, transition && `${number(told.loss_of_categories, 3)} of the categories`].filter(Boolean);
      return `The loss here is ${parts.join(" and ")}: ` + (share < 0.15
        ? "nearly all cells are still there, and little is left to guess."
        : share < 0.6
          ? "some cells are there, and a trained network reads the others off them."
          : `almost nothing of the ${noun} is left, and the best guess is what is most frequent in the data.`);
    },
    show: (told, example) => {
      cells.replaceChildren(states(told.cells, [["x_0", "x₀"], ["x_t", "xₜ"], ["predicted_x_0", "predicted x₀"]], isLine));
      const className = examples.names[example];
      ofClass.textContent = className ? `Its class is ${className}, which ${examples.is_told_classes ? "the network is told" : "is no part of what the network sees"}.` : "";
    },
    compare: (told) => {
      chain.replaceChildren(states(told.cells, [["x_t", "xₜ, at once"], ["step_by_step", "xₜ, step by step"]], isLine));
      const { unchanged, times } = told;
      return [
        unchanged && `Of ${times} times that this ${noun} was noised, so many of its categories were still those of x₀: ${precise(unchanged.at_once)} at once, ${precise(unchanged.step_by_step)} step by step; the closed form says ${precise(unchanged.expected)}.`,
        hasNumbers && `Root mean square of the numbers at once: ${told.deviation.toFixed(3)}; step by step: ${told.step_by_step_deviation.toFixed(3)}.`,
        "The noise differs, the distribution does not: that is why training may jump to any t.",
      ].filter(Boolean).join(" ");
    },
  };
}
