"use strict";
// The table of points: a window on the rows that pass the filters, in the order asked for.
const STEP = 150;
const table = byId("table");
const shown = {order: [], from: 0, to: 0, field: "", sign: 1};

function figureCell(row, side) {
  const text = row[`${side}_text`];
  if (!text) return make("td", {className: "f none"}, "-");
  const where = row[`${side}_where`];
  const cell = make("td", {className: row[`${side}_over`] ? "f over" : "f"});
  if (where) {
    const bar = make("i", {});
    bar.style.setProperty("--u", `${barLength(Number(row[`${side}_use`]))}%`);
    cell.append(bar);
  }
  cell.append(text, where ? make("small", {}, where) : "");
  return cell;
}

/** A thousandth of the gate 0, the gate 50, a thousandfold 100, as table.py has it. */
function barLength(use) {
  return use > 0 ? Math.round(Math.min(100, Math.max(0, 50 + 50 * Math.log10(use) / 3))) : 0;
}

function differenceCell(row) {
  if (!row.size) return make("td", {className: "none"}, "-");
  const small = make("small", {}, `${row.where} `, make("br", {}), `${row.reference} \u2192 ${row.candidate}`);
  return make("td", {className: "d"}, row.size, small);
}

const link = (anchor, text) => make("a", {href: `#${anchor}`}, make("bdi", {}, text));
const lines = (text) => text.split("\n").filter(Boolean);

function pointCell(row) {
  const cell = make("td", {}, link(row.anchor, row.point));
  if (row.message) cell.append(make("p", {}, make("bdi", {}, row.message)));
  for (const text of lines(row.suggestions)) {
    cell.append(make("p", {className: "try"}, "What to try: ", make("bdi", {}, text)));
  }
  const notes = lines(row.notes).join("; ");
  if (notes || row.cause_anchor) {
    const cause = row.cause_anchor ? ["because of ", link(row.cause_anchor, row.cause)] : [];
    cell.append(make("p", {className: "notes"}, notes, notes && cause.length ? "; " : "", ...cause));
  }
  return cell;
}

/** A line of the table, the same as those that stand in the page (points.html.j2). */
function rowElement(row, place) {
  const cells = ["case", "ran_in", "stage"].map((name) => make("td", {}, make("bdi", {}, row[name])));
  const verdict = make("td", {}, make("b", {className: `v ${row.style}`}, row.verdict));
  const line = make("tr", {id: row.anchor, className: row.style}, verdict, pointCell(row), ...cells,
    figureCell(row, "local"), figureCell(row, "end"), differenceCell(row));
  line.setAttribute("aria-rowindex", place + 2);
  return line;
}

function draw() {
  const {order, from, to} = shown;
  const lines = order.slice(from, to).map((row, place) => rowElement(row, from + place));
  table.tBodies[0].replaceChildren(...lines);
  table.setAttribute("aria-rowcount", order.length + 1);
  const more = (id, count, words) => {
    byId(id).hidden = count <= 0;
    byId(id).textContent = `${plainNumber(Math.min(STEP, count))} ${words} rows, of ${plainNumber(count)}`;
  };
  more("earlier", from, "earlier");
  more("later", order.length - to, "more");
  byId("nothing").hidden = order.length > 0;
  byId("shown").textContent = order.length === rows.length
    ? `${plainNumber(rows.length)} rows` : `${plainNumber(order.length)} of ${plainNumber(rows.length)}`;
}

/** Move the window so that it holds the row at `place`, and draw it. */
function show(place) {
  if (place < shown.from) shown.from = Math.max(0, place - STEP);
  if (place >= shown.to) shown.to = Math.min(shown.order.length, place + STEP);
  if (shown.to - shown.from > 4 * STEP) {  // far from where it was: start anew around it
    shown.from = Math.max(0, place - STEP);
    shown.to = Math.min(shown.order.length, place + STEP);
  }
  draw();
}

function wanted() {
  const found = Object.fromEntries(all("select", byId("bar")).map((one) => [one.dataset.of, one.value]));
  return {q: byId("filter").value.trim(), failing: byId("failing").checked ? "1" : "", ...found};
}

/** Filter and sort anew, from the first row. */
function update() {
  shown.order = filtered(sorted(shown.field, shown.sign), wanted());
  shown.from = 0;
  shown.to = Math.min(STEP, shown.order.length);
  draw();
}

// The address holds the filters, so that a link shows what its sender saw.
function remember() {
  const values = {...wanted(), sort: shown.field && (shown.sign < 0 ? "-" : "") + shown.field};
  const named = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  const place = named.size ? `#points?${named}` : location.href.split("#")[0];
  history.replaceState(null, "", place);
}

function recall(text) {
  const values = new URLSearchParams(text);
  byId("bar").reset();
  byId("filter").value = values.get("q") || "";
  byId("failing").checked = values.has("failing");
  for (const one of all("select", byId("bar"))) one.value = values.get(one.dataset.of) || "";
  const sort = values.get("sort") || "";
  setSort(sort.replace(/^-/, ""), sort.startsWith("-") ? -1 : 1);
  update();
  byId("points").scrollIntoView();
}

function setSort(field, sign) {
  const known = all("th", table.tHead).find((one) => one.dataset.by === field);
  shown.field = known ? field : "";
  shown.sign = sign;
  for (const one of all("th", table.tHead)) {
    if (one === known) one.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
    else one.removeAttribute("aria-sort");
  }
}

/** Sorting: down or up first, then the other way, then back to guilty first. */
function sortBy(field) {
  const first = figures.has(field) ? -1 : 1;  // of figures, the worst is what one looks for
  if (shown.field !== field) setSort(field, first);
  else if (shown.sign === first) setSort(field, -first);
  else setSort("", 1);
  update();
  remember();
}

function revealRow(id) {
  const row = rowOf.get(id);
  if (!row) return false;
  if (!shown.order.includes(row)) {
    byId("bar").reset();
    update();
  }
  show(shown.order.indexOf(row));
  mark(byId(id));
  byId(id).scrollIntoView({block: "center"});
  return true;
}

function mark(line) {
  all("tr.here", table).forEach((one) => one.classList.remove("here"));
  line.classList.add("here");
}

function step(by) {
  const current = table.querySelector("tr.here");
  const at = current ? shown.order.indexOf(rowOf.get(current.id)) : -1;
  const last = shown.order.length - 1;
  const to = at < 0 ? (by > 0 ? 0 : last) : Math.min(Math.max(at + by, 0), last);
  if (to < 0) return;
  if (to < shown.from || to >= shown.to) show(to);
  const line = byId(shown.order[to].anchor);
  mark(line);
  line.tabIndex = -1;
  line.focus({preventScroll: true});
  line.scrollIntoView({block: "nearest"});
}

function clear() {
  byId("bar").reset();
  setSort("", 1);
  update();
  remember();
  if (document.activeElement) document.activeElement.blur();
}

function start() {
  if (byId("selection")) byId("selection").hidden = true;
  for (const header of all("th", table.tHead)) {
    const button = make("button", {type: "button"}, ...header.childNodes);
    button.addEventListener("click", () => sortBy(header.dataset.by));
    header.append(button);
  }
  const bar = byId("bar");
  bar.addEventListener("input", () => { update(); remember(); });
  bar.addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", clear);
  byId("earlier").addEventListener("click", () => show(Math.max(0, shown.from - STEP)));
  byId("later").addEventListener("click", () => { shown.to += STEP; draw(); });
  Object.assign(keys, {"/": () => byId("filter").focus(), j: () => step(1), k: () => step(-1), Escape: clear});
  revealers.push(revealRow, (id) => id.startsWith("points?") && (recall(id.slice(7)), true));
  update();
}
if (table) start();
