"use strict";
// Elements, scales and axes: what all figures share. Text is only ever set as text, never as markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = document.getElementById("blank").namespaceURI;
const MODELS = ["original", "retrained", "clean", "unlearned"];

function node(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function shape(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const colour = (model) => `var(--${model})`;
const number = (value) => {
  if (value === null || value === undefined) return "-";
  const size = Math.abs(value);
  if (size > 0 && size < 0.001) return value.toExponential(1);
  return value.toFixed(size < 10 ? 3 : size < 1000 ? 1 : 0);
};
const short = (text, letters = 24) => {
  const all = [...text];
  return all.length > letters ? all.slice(0, letters - 1).join("") + "…" : text;
};

function ticksOf(low, high, log, most) {
  if (log) {
    const all = [];
    for (let power = Math.ceil(Math.log10(low) - 1e-9); power <= Math.log10(high) + 1e-9; power++) all.push(10 ** power);
    const every = Math.max(1, Math.ceil(all.length / most));
    return all.filter((_, i) => (all.length - 1 - i) % every === 0);
  }
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough - 1e-12);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(Number((i * step).toPrecision(10)));
  return found;
}

function written(tick, log) {
  if (log && (tick < 0.01 || tick >= 10000)) return tick.toExponential(0).replace("e+", "e");
  return String(tick);
}

// A plot with axes; x and y are {low, high, log, label}. Adds px and py, which map values to places.
function plot(width, height, x, y, described) {
  const edge = { left: 50, right: 12, top: 10, bottom: 38 };
  const drawing = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": described });
  const scale = (axis, from, to) => (value) => {
    const [at, low, high] = (axis.log ? [value, axis.low, axis.high].map(Math.log10) : [value, axis.low, axis.high]);
    return from + ((to - from) * (at - low)) / (high - low || 1);
  };
  drawing.px = scale(x, edge.left, width - edge.right);
  drawing.py = scale(y, height - edge.bottom, edge.top);
  for (const tick of ticksOf(x.low, x.high, x.log, width / 75)) {
    const at = drawing.px(tick);
    drawing.append(shape("line", { class: "grid", x1: at, x2: at, y1: edge.top, y2: height - edge.bottom }));
    drawing.append(shape("text", { x: at, y: height - edge.bottom + 15, "text-anchor": "middle" }, written(tick, x.log)));
  }
  for (const tick of ticksOf(y.low, y.high, y.log, height / 45)) {
    const at = drawing.py(tick);
    drawing.append(shape("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: at, y2: at }));
    drawing.append(shape("text", { x: edge.left - 5, y: at + 4, "text-anchor": "end" }, written(tick, y.log)));
  }
  const middle = (height - edge.bottom + edge.top) / 2;
  drawing.append(shape("text", { class: "dim", x: (edge.left + width - edge.right) / 2, y: height - 6, "text-anchor": "middle" }, x.label));
  drawing.append(shape("text", { class: "dim", x: 11, y: middle, "text-anchor": "middle", transform: `rotate(-90 11 ${middle})` }, y.label));
  return drawing;
}

function path(points, attributes) {
  return shape("path", { fill: "none", d: points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join(""), ...attributes });
}

function widthOf(element, most) {
  return Math.max(260, Math.min(most, element.clientWidth || 600));
}
