"use strict";
// Every row of the run, in run order, from the columns that stand in the page (see payload.py).
const rows = [];
const rowOf = new Map();

/** Put a column together: each row has a pattern, whose holes take the next numbers. */
function readColumn({fields, patterns, which, numbers}) {
  const values = numbers.split(" ");
  let at = 0;
  which.forEach((pattern, number) => {
    const texts = patterns[pattern].replace(/\x01/g, () => values[at++]).split("\t");
    fields.forEach((name, place) => { rows[number][name] = texts[place]; });
  });
}

if (byId("rows")) {
  const columns = Object.values(JSON.parse(byId("rows").textContent));
  columns[0].which.forEach((_, number) => rows.push({number}));
  columns.forEach(readColumn);
  const ranks = ["guilty", "fault", "drift", "victim", "absent", "pass"];
  for (const row of rows) {
    row.rank = ranks.indexOf(row.style);
    rowOf.set(row.anchor, row);
  }
}

/** What is looked for: words with a dot in the point's name alone, others anywhere. */
function holds(row, words) {
  row.name ??= `${row.point}.`.toLowerCase();
  row.text ??= [row.point, row.message, row.suggestions, row.notes, row.case, row.ran_in, row.stage]
    .join(" ").toLowerCase();
  return words.every((word) => (word.includes(".") ? row.name : row.text).includes(word));
}

/** The rows that pass a filter `{q, failing, verdict, case, dtype, mode, stage}`, in their order. */
function filtered(list, wanted) {
  const words = (wanted.q || "").toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = ["verdict", "case", "dtype", "mode", "stage"].filter((name) => wanted[name]);
  return list.filter((row) => !(wanted.failing && row.style === "pass")
    && chosen.every((name) => row[name] === wanted[name]) && holds(row, words));
}

const figures = new Set(["local_use", "end_use", "size"]);
const byText = new Intl.Collator("en", {numeric: true});

/** All rows by one field, a dash or `""` first; without a field guilty first, then run order. */
function sorted(field, sign) {
  if (!field) return rows.slice().sort((a, b) => a.rank - b.rank || a.number - b.number);
  const value = (row) => (row[field] === "" ? -1 : amount(row[field]));
  const compare = figures.has(field) ? (a, b) => value(a) - value(b)
    : (a, b) => byText.compare(a[field], b[field]);
  return rows.slice().sort((a, b) => sign * compare(a, b) || a.number - b.number);
}

/** A number as people write it; what is none counts as infinite. */
function amount(text) {
  const value = Number(text.replaceAll(",", ""));
  return Number.isNaN(value) ? Infinity : value;
}
