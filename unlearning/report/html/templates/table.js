// The table: sort, filter, unfold, choose columns; and which setting the figures show.
const table = document.getElementById("methods"), find = document.getElementById("find");
const chosen = document.getElementById("setting"), drawn = document.getElementById("drawn");
const words = DATA.rows.map((row) => [row.label, DATA.settings[row.setting], ...(row.config || []), ...(row.notes || []), row.verdict || ""].join("\n").toLowerCase());

function unfold(line, open) {
  const button = line.querySelector("button");
  if (!button) return;
  const there = line.nextElementSibling && line.nextElementSibling.classList.contains("detail") ? line.nextElementSibling : null;
  button.setAttribute("aria-expanded", open);
  if (there) there.hidden = !open;
  else if (open) line.after(node("tr", { class: "detail" }, node("td", { colspan: line.children.length }, details(DATA.rows[line.dataset.row]))));
}

function reveal(number) {
  const line = document.getElementById(`row${number}`);
  if (line.hidden) {
    find.value = "";
    filter();
  }
  unfold(line, true);
  line.scrollIntoView({ block: "start" });
  line.querySelector("button").focus({ preventScroll: true });
}

function filter() {
  const asked = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0, all = 0;
  for (const body of table.tBodies) {
    let any = false;
    for (const line of body.querySelectorAll(".row")) {
      const reference = line.classList.contains("reference");
      const there = (chosen.value === "" || chosen.value === body.dataset.setting) && (reference ? true : asked.every((word) => words[line.dataset.row].includes(word)));
      line.hidden = !there;
      const detail = line.nextElementSibling;
      if (detail && detail.classList.contains("detail")) detail.hidden = !there || line.querySelector("button").getAttribute("aria-expanded") !== "true";
      if (!reference) {
        all += 1;
        shown += there ? 1 : 0;
        any = any || there;
      }
    }
    body.hidden = !any;
  }
  columns();
  document.getElementById("count").textContent = `${shown} of ${all} methods`;
}

function sort(head) {
  const ascending = head.getAttribute("aria-sort") !== "ascending", place = head.cellIndex;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const keyed = (line) => {
    const cell = line.cells[place];
    return place === 0 ? cell.textContent : cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  const compared = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b) * (ascending ? 1 : -1);
  for (const body of table.tBodies) {
    const lines = [...body.querySelectorAll(".row:not(.reference)")].map((line) => [keyed(line), line]);
    lines.sort(([a], [b]) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : compared(a, b)));
    for (const [, line] of lines) {
      const detail = line.nextElementSibling;
      const own = detail && detail.classList.contains("detail") ? [detail] : [];
      body.append(line, ...own);
    }
  }
}

// Columns that are not chosen, and those that have no value in any setting that is shown.
function columns() {
  const bodies = [...table.tBodies].filter((body) => !body.hidden);
  const hidden = [...document.querySelectorAll("#picker input")].filter((box) => {
    return !box.checked || !bodies.some((body) => body.querySelector(`.c${box.dataset.column}[data-value]`));
  });
  document.getElementById("hidden").textContent = hidden.length ? `${hidden.map((box) => `.c${box.dataset.column}`).join(",")}{display:none}` : "";
  const head = table.tHead.rows[0]; // what gets the focus is not below the head and the names, which stay in place
  table.parentElement.style.scrollPadding = `${head.offsetHeight}px 0 0 ${head.cells[0].offsetWidth}px`;
  document.documentElement.style.scrollPaddingTop = `${head.offsetHeight}px`;
}

function axes(setting) {
  const there = rowsOf(setting), names = [...new Set(there.flatMap((row) => Object.keys(row.values)))].filter((name) => !name.includes("class_acc/")).sort();
  const usual = DATA.aims.find((pair) => pair.every((name) => names.includes(name))) || names;
  ["across", "up"].forEach((id, i) => {
    const list = document.getElementById(id), before = list.value;
    list.replaceChildren(...names.map((name) => node("option", { value: name }, name)));
    list.value = list.dataset.kept && names.includes(before) ? before : usual[i] || names[0];
  });
}

function draw() {
  const setting = Number(drawn.value);
  drawPareto(setting);
  drawEpochs(setting);
  drawShares(setting);
  drawCka(setting);
}

table.tHead.addEventListener("click", (event) => event.target.closest("button") && sort(event.target.closest("th")));
table.addEventListener("click", (event) => {
  const button = event.target.closest(".row th button");
  if (button) unfold(button.closest("tr"), button.getAttribute("aria-expanded") !== "true");
});
find.addEventListener("input", filter);
chosen.addEventListener("change", () => {
  filter();
  if (chosen.value !== "") {
    drawn.value = chosen.value;
    axes(Number(drawn.value));
    draw();
  }
});
drawn.addEventListener("change", () => (axes(Number(drawn.value)), draw()));
for (const id of ["across", "up"]) {
  document.getElementById(id).addEventListener("change", (event) => {
    event.target.dataset.kept = "yes";
    draw();
  });
}
document.getElementById("picker").addEventListener("change", columns);
document.addEventListener("keydown", (event) => {
  const picker = document.querySelector(".picker");
  if (event.key === "Escape" && picker.open) {
    picker.open = false;
    picker.querySelector("summary").focus();
  }
});
for (const id of ["near", "compared"]) document.getElementById(id).addEventListener("change", draw);
filter();
axes(Number(drawn.value));
draw();
let before = document.getElementById("figures").clientWidth, waiting = 0;
new ResizeObserver(() => {
  const width = document.getElementById("figures").clientWidth;
  clearTimeout(waiting);
  if (width !== before) waiting = setTimeout(() => ((before = width), draw()), 100);
}).observe(document.getElementById("figures"));
