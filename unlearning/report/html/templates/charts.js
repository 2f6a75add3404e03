// The figures over all methods of one setting.
const HUES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a7a00", "#56b4e9", "#e69f00", "#8c6bd1"];
const DASHES = ["", "6 3", "2 3"];
const LINES = 16; // methods whose curves are drawn

const rowsOf = (setting) => DATA.rows.map((row, number) => ({ ...row, number })).filter((row) => row.setting === setting);
const meanOf = (row, metric) => (row.values[metric] ? row.values[metric].mean : null);

function bounds(values) {
  const low = Math.min(...values), high = Math.max(...values);
  const room = Math.max((high - low) * 0.08, 0.004);
  const rates = low >= 0 && high <= 1;
  return { low: rates ? Math.max(low - room, -0.02) : low - room, high: rates ? Math.min(high + room, 1.02) : high + room };
}

// How bad a method is in a metric, as the tables and rankings have it.
function cost(row, metric) {
  const value = row.values[metric];
  return value && typeof value.cost === "number" ? value.cost : Infinity;
}

// The methods that are among the nearest or best 70 % in both metrics, and the retrained model.
function nearer(rows, x, y) {
  const own = rows.filter((row) => row.kind === "unlearned");
  const limit = (metric) => own.map((row) => cost(row, metric)).sort((a, b) => a - b)[Math.floor((own.length - 1) * 0.7)];
  const [across, up] = [limit(x), limit(y)];
  return rows.filter((row) => (row.kind === "unlearned" ? cost(row, x) <= across && cost(row, y) <= up : row.kind === "retrained"));
}

// The methods that no other one surpasses in both: nearer to the retrained model, or better.
function front(rows, x, y) {
  const rivals = rows.filter((row) => row.competes);
  const beats = (a, b) => {
    const [ax, ay, bx, by] = [cost(a, x), cost(a, y), cost(b, x), cost(b, y)];
    return ax <= bx && ay <= by && (ax < bx || ay < by);
  };
  return new Set(rivals.filter((row) => !rivals.some((other) => beats(other, row))).map((row) => row.number));
}

function drawPareto(setting) {
  const place = document.getElementById("pareto");
  const [x, y] = ["across", "up"].map((id) => document.getElementById(id).value);
  const all = rowsOf(setting).filter((row) => meanOf(row, x) !== null && meanOf(row, y) !== null);
  if (!all.length) return place.replaceChildren(node("p", { class: "hint" }, "No method has both numbers."));
  const best = front(all, x, y), there = document.getElementById("near").checked ? nearer(all, x, y) : all;
  const reach = (metric) => there.flatMap((row) => [meanOf(row, metric), ...row.values[metric].ends.filter((end) => end !== null)]);
  const seen = (metric) => {
    const means = there.map((row) => meanOf(row, metric));
    const limits = bounds(means); // long bars do not squeeze the points together
    const ends = bounds(reach(metric));
    const room = (limits.high - limits.low) / 2;
    return { low: Math.max(ends.low, limits.low - room), high: Math.min(ends.high, limits.high + room) };
  };
  const width = widthOf(place, 860), height = Math.min(440, Math.max(300, width * 0.6));
  const label = (metric) => `${metric} ${DATA.arrows[metric] || ""}`;
  const drawing = plot(width, height, { ...seen(x), label: label(x) }, { ...seen(y), label: label(y) }, `${y} against ${x}`);
  const marks = [];
  for (const row of there) {
    const [px, py] = [drawing.px(meanOf(row, x)), drawing.py(meanOf(row, y))];
    const hue = colour(row.kind), bold = best.has(row.number) || row.kind !== "unlearned";
    const group = shape("g", { opacity: bold ? 1 : 0.6 });
    const inside = (value, low, high) => Math.max(low, Math.min(high, value));
    const [ex, ey] = [x, y].map((metric) => row.values[metric].ends);
    if (ex[0] !== null) group.append(shape("line", { x1: inside(drawing.px(ex[0]), 50, width - 12), x2: inside(drawing.px(ex[1]), 50, width - 12), y1: py, y2: py, stroke: hue }));
    if (ey[0] !== null) group.append(shape("line", { y1: inside(drawing.py(ey[0]), 10, height - 38), y2: inside(drawing.py(ey[1]), 10, height - 38), x1: px, x2: px, stroke: hue }));
    const form = row.kind === "unlearned"
      ? shape("circle", { cx: px, cy: py, r: 5, fill: best.has(row.number) ? hue : "var(--page)", stroke: hue, "stroke-width": 1.5 })
      : shape("path", { d: `M${px - 7} ${py}L${px} ${py - 7}L${px + 7} ${py}L${px} ${py + 7}Z`, fill: hue });
    const told = `${row.label}: ${x} ${number(meanOf(row, x))}, ${y} ${number(meanOf(row, y))} (n=${row.n})`;
    group.append(form, shape("title", {}, told));
    if (row.kind === "unlearned") {
      filled(group, { tabindex: 0, role: "button", "aria-label": told, onclick: () => reveal(row.number) }, []);
      group.addEventListener("keydown", (event) => (event.key === "Enter" ? reveal(row.number) : null));
    }
    drawing.append(group);
    marks.push({ row, px, py, bold });
  }
  labelled(drawing, marks, width, height);
  const names = there.filter((row) => best.has(row.number)).map((row) => short(row.label, 40));
  const more = names.length > 8 ? ` and ${names.length - 8} more` : "";
  const told = `Filled: no other method is better in one and as good in the other (${names.slice(0, 8).join(", ")}${more}). ` +
    "Diamonds: the reference models. Bars: the interval over seeds. A point leads to its method." +
    (there.length < all.length ? ` Not drawn: ${all.length - there.length} that are farther away.` : "");
  place.replaceChildren(drawing, node("p", { class: "hint" }, told));
}

// Names beside the points, where they cover neither a point nor another name; those that matter most come first.
function labelled(drawing, marks, width, height) {
  const taken = marks.map(({ px, py }) => [px - 6, py - 6, px + 6, py + 6]);
  for (const { row, px, py } of [...marks].sort((a, b) => b.bold - a.bold)) {
    const text = short(row.label), long = 6.9 * [...text].length;
    const spots = [[px + 9, py + 4], [px - 9 - long, py + 4], [px - long / 2, py - 10], [px - long / 2, py + 19], [px + 7, py - 8], [px + 7, py + 16], [px - 7 - long, py - 8], [px - 7 - long, py + 16]];
    const free = spots.find(([left, base]) => left > 51 && left + long < width - 4 && base > 14 && base < height - 40 &&
      !taken.some(([a, b, c, d]) => left < c && left + long > a && base - 10 < d && base + 3 > b));
    if (!free) continue;
    taken.push([free[0], free[1] - 10, free[0] + long, free[1] + 3]);
    drawing.append(shape("text", { x: free[0], y: free[1], fill: colour(row.kind) }, text));
  }
}

function drawEpochs(setting) {
  const place = document.getElementById("epochs");
  const all = rowsOf(setting).filter((row) => row.curves && Object.keys(row.curves).some((name) => name.includes("acc")));
  place.parentElement.hidden = !all.length;
  const rows = all.slice(0, LINES), names = [...new Set(rows.flatMap((row) => Object.keys(row.curves)))].filter((name) => name.includes("acc"));
  const panels = names.slice(0, 6).map((name) => {
    const drawn = rows.map((row, i) => ({ row, curve: row.curves[name], hue: HUES[i % HUES.length], dash: DASHES[Math.floor(i / HUES.length) % 3] })).filter(({ curve }) => curve);
    const drawing = curvePlot(drawn, widthOf(place, 430), name, "epoch", rows[0].models, true);
    return node("div", {}, node("h4", {}, name), drawing);
  });
  const swatches = rows.map((row, i) => node("span", {}, node("i", { style: `color:${HUES[i % HUES.length]};border-top-style:${["solid", "dashed", "dotted"][Math.floor(i / HUES.length) % 3]}` }), row.label));
  const rest = all.length > LINES ? node("p", { class: "hint" }, `The curves of ${all.length - LINES} more methods are in their details.`) : null;
  place.replaceChildren(...[node("div", { class: "panels" }, ...panels), node("div", { class: "swatches" }, ...swatches), rest].filter(Boolean));
}

// Curves with the least and the largest value over the runs, and lines at the height of the reference models.
function curvePlot(drawn, width, name, across, models, rate) {
  const heights = rate ? ["original", "retrained"].map((model) => [model, (models[model] || {})[`${name.replace(/_acc$/, "")}/acc`]]).filter(([, value]) => value !== undefined) : [];
  const values = [...drawn.flatMap(({ curve }) => [...curve.low, ...curve.high]), ...heights.map(([, value]) => value)].filter((value) => value !== null);
  const places = drawn.flatMap(({ curve }) => curve.x);
  const drawing = plot(width, 230, { low: Math.min(...places), high: Math.max(...places), label: across }, { ...bounds(values), label: name }, `${name} by ${across}`);
  const close = heights.length > 1 && Math.abs(drawing.py(heights[0][1]) - drawing.py(heights[1][1])) < 13;
  for (const [model, value] of heights) {
    const x = width - 14 - (close && model === "retrained" ? 55 : 0);
    drawing.append(path([[50, drawing.py(value)], [width - 12, drawing.py(value)]], { stroke: colour(model), "stroke-width": 4, opacity: 0.45 }));
    drawing.append(shape("text", { x, y: drawing.py(value) + (value > 0.5 ? 14 : -6), "text-anchor": "end", class: "dim" }, model));
  }
  for (const { row, curve, hue, dash } of drawn) {
    const at = (side) => curve.x.map((x, i) => [drawing.px(x), drawing.py(side[i])]).filter((_, i) => side[i] !== null);
    if (curve.n > 1) drawing.append(path([...at(curve.low), ...at(curve.high).reverse()], { fill: hue, opacity: 0.15 }));
    const line = path(at(curve.mean), { stroke: hue, "stroke-width": 1.8, "stroke-dasharray": dash || null });
    line.append(shape("title", {}, row.label));
    drawing.append(line);
  }
  return drawing;
}

function drawShares(setting) {
  const place = document.getElementById("shares");
  const rows = rowsOf(setting).filter((row) => row.kind === "unlearned" && meanOf(row, DATA.share) > 0);
  place.parentElement.hidden = !rows.length;
  if (!rows.length) return;
  rows.sort((a, b) => meanOf(a, DATA.share) - meanOf(b, DATA.share));
  const shares = rows.flatMap((row) => row.values[DATA.share].ends);
  const low = 10 ** Math.floor(Math.log10(Math.min(...shares, 0.5))), high = 10 ** Math.ceil(Math.log10(Math.max(...shares, 1)) + 1e-9);
  const width = widthOf(place, 860), names = Math.min(190, width * 0.42), step = 18, height = rows.length * step + 30;
  const drawing = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "time as a share of retraining" });
  const at = (share) => names + ((width - names - 50) * (Math.log10(share) - Math.log10(low))) / (Math.log10(high) - Math.log10(low));
  for (const tick of ticksOf(low, high, true, (width - names) / 55)) {
    drawing.append(shape("line", { class: tick === 1 ? "axis" : "grid", x1: at(tick), x2: at(tick), y1: 0, y2: height - 22 }));
    drawing.append(shape("text", { x: at(tick), y: height - 6, "text-anchor": "middle" }, tick >= 1 ? `${tick}x` : `${Number((tick * 100).toPrecision(3))}%`));
  }
  rows.forEach((row, i) => {
    const value = row.values[DATA.share], y = i * step;
    const bar = shape("rect", { x: at(low), y: y + 3, width: Math.max(1, at(value.mean) - at(low)), height: step - 6, fill: colour("unlearned"), opacity: row.competes ? 0.75 : 0.35 });
    const name = shape("text", { x: names - 6, y: y + 13, "text-anchor": "end" }, short(row.label, Math.floor(names / 6.6)), shape("title", {}, row.label));
    drawing.append(bar, name, shape("text", { x: at(value.mean) + 5, y: y + 13 }, value.text));
  });
  place.replaceChildren(drawing, node("p", { class: "hint" }, "Seconds of the method over those of training the retrained model in the same runs; the axis is logarithmic."));
}
