// What unfolds below a row: verdict, notes, commands, settings, figures of its runs, and all of its numbers.
function details(row) {
  const parts = [node("h3", {}, row.label), node("p", { class: "verdict" }, capital(row.verdict))];
  if (row.notes.length) parts.push(node("ul", {}, ...row.notes.map((note) => node("li", {}, note))));
  parts.push(node("h3", {}, "Command"), command(row.runs[0].command));
  if (row.runs.length > 1) parts.push(node("details", {}, node("summary", {}, `${row.runs.length - 1} more runs`), ...row.runs.slice(1).map((run) => command(run.command))));
  parts.push(folded("Settings", [node("pre", {}, row.config.join("\n") || "none of its own"), ...row.reasons.map((why) => node("p", {}, why))]));
  const links = row.runs.filter((run) => run.files.length).map((run) => node("li", {}, `${run.name}: `, ...run.files.flatMap((file) => [node("a", { href: file.href }, file.name), " "])));
  if (links.length) parts.push(folded("Files of its runs", [node("ul", {}, ...links)]));
  const panels = [...outputPanels(row), ...classPanel(row), ...ckaPanel(row), ...curvePanels(row), ...picturePanels(row)];
  if (panels.length) parts.push(node("h3", {}, "Figures"), node("div", { class: "panels" }, ...panels));
  parts.push(node("h3", {}, `All numbers (n=${row.n}${row.over ? `, ${row.over}` : ""})`), numbers(row));
  return node("div", { class: "unfolded" }, ...parts);
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const folded = (title, content) => node("details", {}, node("summary", {}, title), ...content);

function command(text) {
  const copy = node("button", { type: "button", onclick: () => navigator.clipboard && navigator.clipboard.writeText(text).then(() => (copy.textContent = "copied")) }, "copy");
  return node("div", { class: "command" }, node("code", {}, text || "not recorded"), text ? copy : null);
}

function numbers(row) {
  const models = ["original", "retrained", "clean"].filter((model) => Object.keys(row.models[model]).length);
  const metrics = Object.keys(row.values).filter((name) => !name.startsWith("gap/") || !(name.slice(4) in row.values));
  const heads = ["metric", "", ...models, "this", "gap", "sigmas"];
  const lines = metrics.map((metric) => {
    const value = row.values[metric], gap = row.values[`gap/${metric}`];
    const cells = [metric, DATA.arrows[metric] || "", ...models.map((model) => number(row.models[model][metric]))];
    cells.push(`${value.text} ${value.interval}`, gap ? `${gap.text} ${gap.interval}` : "", row.sigmas[metric] === undefined ? "" : row.sigmas[metric].toFixed(1));
    return node("tr", {}, ...cells.map((cell) => node("td", {}, cell)));
  });
  return node("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `All numbers of ${row.label}` },
    node("table", {}, node("thead", {}, node("tr", {}, ...heads.map((head) => node("th", { scope: "col" }, head)))), node("tbody", {}, ...lines)));
}

function panel(title, ...content) {
  return node("div", { class: content[0] instanceof SVGElement ? "narrow" : null }, node("h4", {}, title), ...content);
}

function outputPanels(row) {
  if (!row.outputs) return [];
  const of = { ...DATA.references[row.outputs.references], unlearned: row.outputs.unlearned };
  const models = MODELS.filter((model) => of[model]);
  const first = row.outputs.run;
  const panels = [panel(`Loss: forget set filled, ${row.outputs.unseen} as a line (${first})`, node("div", { class: "panels" }, ...models.map((model) => histograms(of[model], model))))];
  if (of.unlearned.roc) panels.push(panel("Loss attack, logarithmic axes", rocPlot(of, models)));
  for (const [set, title] of [["forget", "Predictions of the forget set"], ["test", "Predictions of the test set"]]) {
    const shown = models.filter((model) => of[model][set].rows.length);
    if (shown.length) panels.push(panel(title, node("div", { class: "panels" }, ...shown.map((model) => matrix(of[model][set], model)))));
  }
  return panels;
}

function histograms(found, model) {
  const [forget, unseen] = found.histograms, count = forget.length;
  const high = Math.max(...forget, ...unseen, 0.01) * 1.08;
  const drawing = plot(250, 170, { low: 1e-6, high: 100, log: true, label: "cross-entropy (nats)" }, { low: 0, high, label: "fraction" }, `${model}: losses of forget set and unseen samples`);
  const x = (i) => drawing.px(10 ** (-6 + (8 * i) / count));
  forget.forEach((share, i) => share && drawing.append(shape("rect", { x: x(i), width: x(i + 1) - x(i), y: drawing.py(share), height: drawing.py(0) - drawing.py(share), fill: colour(model), opacity: 0.6 })));
  drawing.append(path(unseen.flatMap((share, i) => [[x(i), drawing.py(share)], [x(i + 1), drawing.py(share)]]), { stroke: "var(--text)" }));
  const auc = found.auc === undefined ? "nothing to compare" : `AUC ${found.auc.toFixed(2)}`;
  return node("div", {}, node("h4", { style: `color:${colour(model)}` }, `${model}, ${auc}`), drawing);
}

function rocPlot(of, models) {
  const count = of.unlearned.roc.length, rates = Array.from({ length: count }, (_, i) => 10 ** (-4 + (4 * i) / (count - 1)));
  const axis = (label) => ({ low: 1e-4, high: 1, log: true, label });
  const drawing = plot(330, 270, axis("false positive rate"), axis("true positive rate"), "ROC of the loss attack");
  drawing.append(path([[drawing.px(1e-4), drawing.py(1e-4)], [drawing.px(1), drawing.py(1)]], { stroke: "var(--dim)", "stroke-dasharray": "3 3" }));
  const there = models.filter((model) => of[model].roc);
  there.forEach((model) => {
    const shown = of[model].roc.map((value, at) => [value, rates[at]]).filter(([value]) => value !== null);
    const points = shown.map(([value, rate]) => [drawing.px(rate), drawing.py(Math.max(value, 1e-4))]);
    drawing.append(path(points, { stroke: colour(model), "stroke-width": model === "unlearned" ? 2.4 : 1.5 }));
  });
  const names = there.map((model) => node("span", {}, node("i", { style: `color:${colour(model)}` }), `${model} (AUC ${of[model].auc.toFixed(2)})`));
  return node("div", { class: "narrow" }, node("div", { class: "swatches" }, ...names), drawing);
}

function matrix(found, model) {
  const cell = Math.max(12, Math.min(22, 240 / found.columns.length)), left = 76, top = 82;
  const width = left + cell * found.columns.length + 34, height = top + cell * found.rows.length + 6;
  const drawing = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${model}: predictions by label` });
  drawing.append(shape("text", { x: 2, y: 12, style: `fill:${colour(model)};font-weight:700` }, model));
  drawing.append(shape("text", { x: 2, y: 26, class: "dim" }, "label ↓ prediction →"));
  found.columns.forEach((name, j) => {
    const x = left + cell * (j + 0.5) + 3, y = top - 5;
    drawing.append(shape("text", { x, y, transform: `rotate(-55 ${x} ${y})` }, short(name, 9), shape("title", {}, name)));
  });
  found.rows.forEach((name, i) => {
    const total = found.counts[i].reduce((sum, value) => sum + value, 0) || 1;
    drawing.append(shape("text", { x: left - 5, y: top + cell * (i + 0.5) + 4, "text-anchor": "end" }, short(name, 11), shape("title", {}, name)));
    found.counts[i].forEach((value, j) => {
      const box = shape("rect", { x: left + cell * j, y: top + cell * i, width: cell - 1, height: cell - 1, fill: value ? colour(model) : "var(--line)", "fill-opacity": value ? 0.12 + (0.88 * value) / total : 0.3 });
      box.append(shape("title", {}, `${name} → ${found.columns[j]}: ${value} of ${total}`));
      drawing.append(box);
    });
  });
  return drawing;
}

function classPanel(row) {
  if (!row.classes.length) return [];
  const ordered = [...row.classes];
  if (ordered.length > 20) ordered.sort((a, b) => Math.abs(b.mean) - Math.abs(a.mean)).splice(20);
  const most = Math.max(0.02, ...ordered.flatMap((one) => [Math.abs(one.low), Math.abs(one.high)]));
  const step = 17, names = 92, width = 330, height = ordered.length * step + 26;
  const drawing = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "gap of each class to the retrained model" });
  const at = (value) => names + ((width - names - 12) * (value + most)) / (2 * most);
  for (const tick of [-most, 0, most]) {
    drawing.append(shape("line", { class: tick ? "grid" : "axis", x1: at(tick), x2: at(tick), y1: 0, y2: height - 18 }));
    drawing.append(shape("text", { x: at(tick), y: height - 4, "text-anchor": tick > 0 ? "end" : "middle" }, tick ? `${tick > 0 ? "+" : ""}${tick.toFixed(2)}` : "0"));
  }
  ordered.forEach((one, i) => {
    const y = i * step, [from, to] = [at(Math.min(one.mean, 0)), at(Math.max(one.mean, 0))];
    const bar = shape("rect", { x: from, y: y + 3, width: Math.max(to - from, 1), height: step - 6, fill: colour("unlearned"), opacity: 0.75 });
    bar.append(shape("title", {}, `${one.name}: ${number(one.mean)} (${number(one.low)} to ${number(one.high)})`));
    drawing.append(bar, shape("line", { class: "axis", x1: at(one.low), x2: at(one.high), y1: y + step / 2, y2: y + step / 2 }));
    drawing.append(shape("text", { x: names - 6, y: y + 13, "text-anchor": "end" }, short(one.name, 12), shape("title", {}, one.name)));
  });
  const some = row.classes.length > 20 ? `, the 20 largest of ${row.classes.length}` : "";
  return [panel(`Test accuracy by class, gap to the retrained model${some}; lines: least and largest over runs`, drawing)];
}

function picturePanels(row) {
  const told = { "embeddings.png": "Features of all models in one layout", "layers.png": "CKA of each block with each block" };
  return Object.entries(row.pictures).map(([file, address]) => {
    return node("div", { class: "picture" }, node("h4", {}, `${told[file]} (${row.runs[0].name})`), node("img", { src: address, alt: `${told[file]}, of ${row.label}` }));
  });
}

function curvePanels(row) {
  return Object.entries(row.curves || {}).map(([name, curve]) => {
    const rate = name.includes("acc");
    const drawn = [{ row, curve, hue: colour("unlearned"), dash: "" }];
    return panel(name, curvePlot(drawn, 330, name, curve.by, row.models, rate));
  });
}
