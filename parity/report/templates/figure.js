"use strict";
// The figure: the pointer, or an arrow key, names the nearest point; a click or Enter goes to its row.
for (const plot of all(".plot")) {
  const first = Number(plot.dataset.first);
  const xs = [];
  for (const band of plot.dataset.bands.split(" ")) {
    const [left, right, size] = band.split(":").map(Number);
    for (let at = 0; at < size; at++) xs.push(left + (right - left) * (at + 0.5) / size);
  }
  const readout = plot.closest("figure").querySelector(".readout");
  const frame = plot.querySelector("rect");
  const cursor = plot.querySelector(".axis").cloneNode();
  cursor.setAttribute("class", "cursor");
  let chosen = 0;

  const nearest = (event) => {
    const box = plot.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * plot.viewBox.baseVal.width;
    let best = 0;
    xs.forEach((value, at) => { if (Math.abs(value - x) < Math.abs(xs[best] - x)) best = at; });
    return best;
  };
  const figure = (row, side) => [row[`${side}_text`], row[`${side}_where`]].filter(Boolean).join(", ") || "-";
  const name = (at) => {
    const row = rows[first + at];
    chosen = at;
    readout.textContent = `${row.point}: ${row.verdict}; local ${figure(row, "local")}; `
      + `end to end ${figure(row, "end")}`;
    cursor.setAttribute("d", `M${xs[at]} ${frame.getAttribute("y")}v${frame.getAttribute("height")}`);
    plot.insertBefore(cursor, plot.querySelector(".gate"));
  };
  const leave = () => { readout.textContent = ""; cursor.remove(); };
  const go = (at) => { location.hash = rows[first + at].anchor; };

  plot.dataset.live = "";
  plot.tabIndex = 0;
  readout.setAttribute("aria-live", "polite");
  plot.addEventListener("pointermove", (event) => name(nearest(event)));
  plot.addEventListener("pointerleave", leave);
  plot.addEventListener("blur", leave);
  plot.addEventListener("click", (event) => { if (!event.target.closest("a")) go(nearest(event)); });
  plot.addEventListener("keydown", (event) => {
    const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (event.target !== plot) return;
    if (by) {
      event.preventDefault();
      name(cursor.isConnected ? Math.min(Math.max(chosen + by, 0), xs.length - 1) : chosen);
    } else if (event.key === "Enter" && cursor.isConnected) {
      go(chosen);
    }
  });
}
