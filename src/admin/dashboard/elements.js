// Elements. What the balancer says goes in as text and never as markup: names come from a file.

const at = (id) => document.getElementById(id);

/// An element with properties, `data-` and ARIA attributes, and children.
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/// Sets a text if it has changed, so that nothing is announced or selected away without need.
function say(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

function mark(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

function drawn(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/// Each state has a shape besides its colour.
const SHAPES = {
  dot: "M5 0.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9z",
  ring: "M5 0.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9zm0 1.8a2.7 2.7 0 1 1 0 5.4a2.7 2.7 0 1 1 0-5.4z",
  half: "M5 0.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9zm0 1.6v5.8a2.9 2.9 0 0 1 0-5.8z",
  cross: "M2 0.4L5 3.4L8 0.4L9.6 2L6.6 5L9.6 8L8 9.6L5 6.6L2 9.6L0.4 8L3.4 5L0.4 2z",
  triangle: "M5 0.6L9.8 9.2H0.2z",
  bars: "M1.4 0.8h2.6v8.4H1.4zM6 0.8h2.6v8.4H6z",
  square: "M1 1h8v8H1z",
};

function icon(shape) {
  const node = drawn("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" });
  node.append(drawn("path", { d: SHAPES[shape], fill: "currentColor", "fill-rule": "evenodd" }));
  return node;
}

function badge(word) {
  const [level, shape] = look(word);
  return el("span", { class: "badge", "data-level": level }, icon(shape), word);
}

/// A chart of the last minutes; what it shows stands beside it as text.
function spark(kind) {
  const node = drawn("svg", { class: `spark ${kind}`, viewBox: "0 0 180 40", preserveAspectRatio: "none", "aria-hidden": "true" });
  const area = drawn("path", { class: "area" });
  const line = drawn("path", { class: "line" });
  node.append(area, line);
  return { root: node, area, line };
}

/// Draws points as [time, value]; where nothing was heard for a while, the line has a gap.
function plot(chart, series, now, floor) {
  const most = Math.max(floor, series.peak * 1.12);
  let line = "";
  let area = "";
  let before = -Infinity;
  let x = 0;
  for (const [time, value] of series.points) {
    if (time < now - SPAN - 5) continue;
    const starts = time - before > 6;
    if (starts && area) area += `L${x} 40Z`;
    x = (SPAN - (now - time)).toFixed(1);
    const y = (39 - (value / most) * 37).toFixed(1);
    line += `${starts ? "M" : "L"}${x} ${y}`;
    area += starts ? `M${x} 40L${x} ${y}` : `L${x} ${y}`;
    before = time;
  }
  if (area) area += `L${x} 40Z`;
  mark(chart.line, "d", line);
  mark(chart.area, "d", area);
}

/// Keeps one row or card for each key, in order. What stays is the same node: focus stays too.
function keyed(parent, kept, keys, make) {
  const wanted = new Set(keys);
  for (const [key, part] of kept) {
    if (!wanted.has(key)) {
      part.root.remove();
      kept.delete(key);
    }
  }
  keys.forEach((key, place) => {
    if (!kept.has(key)) kept.set(key, make(key));
    const node = kept.get(key).root;
    if (parent.children[place] !== node) parent.insertBefore(node, parent.children[place] ?? null);
  });
}
