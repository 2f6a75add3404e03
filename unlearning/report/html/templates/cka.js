// How alike the blocks of the models are: maps of the CKA, of one method and of all methods of a setting.
const CKA = /^layer_cka\/(original|retrained)_(forget|retain)\//;
const FRAME = 40; // pixels of a cell at most

// The comparisons and the blocks that some rows have, in the order of the network.
function layersOf(rows) {
  const found = rows.flatMap((row) => Object.keys(row.values)).map((name) => CKA.exec(name)).filter(Boolean);
  return { kinds: [...new Set(found.map(([, model, set]) => `${model}_${set}`))], blocks: [...new Set(rows.flatMap((row) => row.blocks || []))] };
}

const toldKind = (kind) => kind.replace(/(.+)_(.+)/, "to the $1 model, $2 set");

// A map with a line for each {name, values}, where values hold a number or null for each block.
function ckaMap(lines, blocks, width, described) {
  const longest = Math.max(...lines.map(({ name }) => [...name].length));
  const left = Math.min(210, width * 0.42, 12 + 6.6 * longest), cell = Math.max(13, Math.min(FRAME, (width - left - 60) / blocks.length));
  const top = 12 + 6 * Math.max(...blocks.map((name) => Math.min(name.length, 16)));
  const wide = left + cell * blocks.length + 60, high = top + 17 * lines.length + 6;
  const drawing = shape("svg", { width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": described });
  blocks.forEach((name, j) => {
    const x = left + cell * (j + 0.5) + 3, y = top - 5;
    drawing.append(shape("text", { x, y, transform: `rotate(-60 ${x} ${y})` }, short(name, 16), shape("title", {}, name)));
  });
  lines.forEach(({ name, values, reference }, i) => {
    const y = top + 17 * i;
    drawing.append(shape("text", { x: left - 6, y: y + 12, "text-anchor": "end", class: reference ? "dim" : null }, short(name, Math.floor(left / 6.6)), shape("title", {}, name)));
    values.forEach((value, j) => {
      const shade = value === null ? 0 : Math.max(0, Math.min(1, value));
      const box = shape("rect", { x: left + cell * j, y: y + 1, width: cell - 1, height: 15, fill: value === null ? "var(--line)" : "var(--retrained)", "fill-opacity": value === null ? 0.3 : 0.04 + 0.96 * shade });
      box.append(shape("title", {}, `${name}, ${blocks[j]}: ${number(value)}`));
      drawing.append(box);
    });
  });
  return drawing;
}

const ckaKey = () => node("p", { class: "hint" }, "Linear CKA of each block's outputs, from the input on the left to the head: blank 0, full 1. Point at a cell for its number.");

function ckaPanel(row) {
  const { kinds, blocks } = layersOf([row]);
  if (!blocks.length) return [];
  const value = (values, kind, block) => {
    const found = values[`layer_cka/${kind}/${block}`];
    return found === undefined ? null : typeof found === "number" ? found : found.mean;
  };
  const lines = kinds.map((kind) => ({ name: kind.replace("_", ", "), values: blocks.map((block) => value(row.values, kind, block)) }));
  for (const kind of kinds.filter((name) => name.startsWith("original"))) {
    const own = blocks.map((block) => value(row.models.retrained, kind, block));
    if (own.some((found) => found !== null)) lines.push({ name: `retrained: ${kind.replace("_", ", ")}`, values: own, reference: true });
  }
  return [node("div", {}, node("h4", {}, "CKA to the original and to the retrained model, on the forget and on the retain set"), ckaMap(lines, blocks, 430, `CKA of ${row.label}`), ckaKey())];
}

function drawCka(setting) {
  const place = document.getElementById("cka"), list = document.getElementById("compared");
  const rows = rowsOf(setting), { kinds, blocks } = layersOf(rows);
  place.parentElement.hidden = !blocks.length;
  if (!blocks.length) return;
  const before = list.value;
  list.replaceChildren(...kinds.map((kind) => node("option", { value: kind }, toldKind(kind))));
  list.value = kinds.includes(before) ? before : kinds[0];
  const lines = rows.map((row) => ({ name: row.label, reference: row.kind !== "unlearned", values: blocks.map((block) => meanOf(row, `layer_cka/${list.value}/${block}`)) }));
  const there = lines.filter(({ values }) => values.some((value) => value !== null));
  place.replaceChildren(node("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "CKA of the blocks" }, ckaMap(there, blocks, widthOf(place, 860), `CKA ${toldKind(list.value)}`)), ckaKey());
}
