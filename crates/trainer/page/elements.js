// Elements, and numbers as people read them.

// `element("p", { class: "faint" }, "text", other)`: an element with attributes, listeners (`onclick`) and children.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (key.startsWith("aria-")) made.setAttribute(key, String(value));
    else if (value === false) continue;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "checked" || key === "selected" || key === "disabled") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const notice = (text, isBad = false) =>
  element("div", { class: isBad ? "notice bad" : "notice", role: isBad ? "alert" : "status" }, text);

// Blob URLs live until they are let go: an <img> that lets go of its own when it has shown it.
export function image(url, alt, attributes = {}) {
  return element("img", { src: url, alt, ...attributes, onload: () => URL.revokeObjectURL(url) });
}

export function number(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2);
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(digits)));
}

export function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

export const figures = (pairs) =>
  element("dl", { class: "figures" }, pairs
    .filter(([, value]) => value !== null && value !== undefined && value !== "–")
    .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));

// A field with its label; of a range the value stands beside it.
export function field(label, input, { shown, title } = {}) {
  const value = element("output", {});
  const show = () => { value.textContent = shown ? shown(input.value) : ""; };
  if (shown) input.addEventListener("input", show);
  show();
  return element("label", { class: "field", title }, element("span", {}, label, value), input);
}

export const select = (options, chosen, attributes = {}) =>
  element("select", attributes, options.map(([value, text]) =>
    element("option", { value, selected: value === chosen }, text)));

// Chips of which any may be chosen.
export function chips(names, chosen, onchange) {
  const toggle = (button, value) => () => {
    const isOn = !chosen.delete(value);
    if (isOn) chosen.add(value);
    button.setAttribute("aria-pressed", isOn);
    onchange?.();
  };
  return element("div", { class: "chips" }, names.map(([value, text]) => {
    const button = element("button", { type: "button", "aria-pressed": chosen.has(value) }, text);
    button.addEventListener("click", toggle(button, value));
    return button;
  }));
}

export function download(content, name) {
  const url = URL.createObjectURL(content);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function table(head, rows, isNumber = () => false, attributes = {}) {
  const cell = (kind) => (value, column) => element(kind, { class: isNumber(column) && "number" }, value ?? "");
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table" }, element("table", attributes,
    head.length > 0 && element("thead", {}, element("tr", {}, head.map(cell("th")))),
    element("tbody", {}, rows.map((row) => element("tr", {}, row.map(cell("td")))))));
}
