// Draws the charts, sorts tables, hides runs and switches between light and dark.
const config = JSON.parse(document.getElementById("config").textContent);
const said = document.getElementById("said");
const views = [];

function shownRuns() {
  const boxes = [...document.querySelectorAll("#runs input")];
  return boxes.filter((box) => box.checked).map((box) => box.value);
}

async function draw() {
  for (const chart of document.querySelectorAll(".chart")) {
    const spec = JSON.parse(chart.nextElementSibling.textContent);
    const options = { renderer: "svg", actions: false, ast: true, config, defaultStyle: false };
    const { view } = await window.vegaEmbed(chart.firstElementChild, spec, options);
    if (spec.params) views.push(view);
  }
  document.documentElement.dataset.drawn = "yes";
}

async function showRuns() {
  const shown = shownRuns();
  for (const part of document.querySelectorAll("[data-run]")) {
    part.hidden = !shown.includes(part.dataset.run);
  }
  for (const view of views) await view.signal("shown", shown).runAsync();
  // A chart that was hidden has no width until it is seen.
  window.dispatchEvent(new Event("resize"));
  said.textContent = `${shown.length} runs shown`;
}

function keyOf(row, column) {
  const cell = row.cells[column];
  const order = cell.dataset.order;
  return order === undefined ? cell.textContent.trim() : Number(order);
}

// Numbers first, then words; what has no number stays below in both directions.
function compare(a, b, sign) {
  const numbers = [a, b].map((key) => typeof key === "number");
  if (numbers[0] && numbers[1]) return sign * (a - b);
  if (numbers[0] !== numbers[1]) return numbers[0] ? -1 : 1;
  return sign * a.localeCompare(b, "en", { numeric: true });
}

function sort(button) {
  const head = button.closest("th");
  const table = head.closest("table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const numeric = rows.some((row) => typeof keyOf(row, head.cellIndex) === "number");
  const before = head.getAttribute("aria-sort");
  const first = numeric && head.cellIndex > 0 ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const order = before === first ? other : first;
  for (const th of table.tHead.rows[0].cells) th.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  rows.sort((a, b) => compare(keyOf(a, head.cellIndex), keyOf(b, head.cellIndex), sign));
  body.append(...rows);
  said.textContent = `Sorted by ${button.textContent.trim()}, ${order}`;
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

const theme = document.getElementById("theme");
function nameTheme() {
  theme.textContent = isDark() ? "Light" : "Dark";
  theme.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colors`);
}
theme.hidden = false;
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
nameTheme();

// Whoever sees no scrollbar must learn otherwise that a table goes on.
const widths = new ResizeObserver((seen) => {
  for (const { target } of seen) {
    target.parentElement.toggleAttribute("data-wide", target.scrollWidth > target.clientWidth + 1);
  }
});
for (const part of document.querySelectorAll(".scroll")) widths.observe(part);

for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => sort(button));
}
document.getElementById("runs").addEventListener("change", showRuns);
draw();
