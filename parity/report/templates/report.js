"use strict";
(function () {
  const root = document.documentElement;
  root.classList.add("js");
  const byId = (id) => document.getElementById(id);
  const all = (selector, from) => Array.from((from || document).querySelectorAll(selector));

  // Everything on paper, also what is folded on the screen.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    folded.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));

  const unfold = (element) => {
    for (let one = element; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  };

  const table = byId("table");
  const body = table && table.tBodies[0];
  const rows = table ? Array.from(body.rows) : [];
  const column = { verdict: 0, case: 2, dtype: 3, stage: 4 };
  const entries = new Map(rows.map((row) => [row, {
    text: row.textContent.toLowerCase(),
    cell: (name) => row.cells[column[name]].textContent,
  }]));
  let visible = rows;
  const count = (list) => list.length.toLocaleString("en");

  // Filters: a row is shown if it holds every word and has every chosen value.
  function filter() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = all("select", byId("bar")).filter((one) => one.value);
    const failing = byId("failing").checked;
    visible = [];
    for (const row of body.rows) {
      const entry = entries.get(row);
      row.hidden = (failing && row.className === "pass")
        || !chosen.every((one) => entry.cell(one.dataset.of) === one.value)
        || !words.every((word) => entry.text.includes(word));
      if (!row.hidden) visible.push(row);
    }
    byId("shown").textContent = visible.length === rows.length
      ? `${count(rows)} shown` : `${count(visible)} of ${count(rows)} shown`;
    byId("nothing").hidden = visible.length > 0;
  }

  function clear() {
    byId("bar").reset();
    filter();
  }

  // Sorting: up, down, and back to guilty first.
  function sortBy(index, header) {
    const next = { none: "ascending", ascending: "descending", descending: "none" };
    const state = next[header.getAttribute("aria-sort") || "none"];
    all("th", table.tHead).forEach((one) => one.removeAttribute("aria-sort"));
    const sign = state === "descending" ? -1 : 1;
    if (state !== "none") header.setAttribute("aria-sort", state);
    const ordered = rows.slice();
    if (state !== "none") ordered.sort((a, b) => sign * compare(a.cells[index], b.cells[index]));
    body.append(...ordered);
    filter();
  }

  function compare(a, b) {
    if (a.classList.contains("f") || a.classList.contains("none") || a.classList.contains("d")) {
      const value = (cell) => (cell.dataset.s === undefined ? -1 : Number(cell.dataset.s));
      return value(a) - value(b);
    }
    return a.textContent.localeCompare(b.textContent, "en", { numeric: true });
  }

  function step(by) {
    if (!visible.length) return;
    const at = visible.indexOf(document.activeElement && document.activeElement.closest("#table tbody tr"));
    const to = at < 0 ? (by > 0 ? 0 : visible.length - 1) : Math.min(Math.max(at + by, 0), visible.length - 1);
    visible[to].tabIndex = -1;
    visible[to].focus({ preventScroll: true });
    visible[to].scrollIntoView({ block: "nearest", behavior: "auto" });
  }

  // A link into the page shows its target, whatever is filtered or folded.
  function reveal() {
    const target = location.hash && byId(location.hash.slice(1));
    if (!target) return;
    unfold(target);
    if (target.hidden) clear();
    target.scrollIntoView();
  }

  if (table) {
    all("th", table.tHead).forEach((header, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sortBy(index, header));
      header.append(button);
    });
    const bar = byId("bar");
    bar.addEventListener("input", filter);
    bar.addEventListener("submit", (event) => event.preventDefault());
    bar.addEventListener("reset", () => setTimeout(filter));
    filter();
  }
  addEventListener("hashchange", reveal);
  reveal();

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "Escape" && table) {
      clear();
      if (typing) event.target.blur();
    } else if (typing) {
      return;
    } else if (event.key === "/" && table) {
      event.preventDefault();
      byId("filter").focus();
    } else if (event.key === "j" || event.key === "k") {
      step(event.key === "j" ? 1 : -1);
    } else if (event.key === "?") {
      byId("how").open = !byId("how").open;
      byId("how").scrollIntoView();
    }
  });

  // The figure: the pointer names the nearest point, a click goes to its row.
  all(".plot").forEach((plot) => {
    const ids = plot.dataset.rows.split(" ");
    const xs = plot.dataset.x.split(" ").map(Number);
    const readout = plot.closest("figure").querySelector(".readout");
    const band = plot.querySelector("rect");
    const cursor = plot.querySelector(".axis").cloneNode();
    cursor.setAttribute("class", "cursor");
    const nearest = (event) => {
      const box = plot.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * plot.viewBox.baseVal.width;
      let best = 0;
      xs.forEach((value, index) => { if (Math.abs(value - x) < Math.abs(xs[best] - x)) best = index; });
      return best;
    };
    plot.dataset.live = "";
    plot.addEventListener("pointermove", (event) => {
      const at = nearest(event);
      const row = byId(ids[at]);
      if (!row) return;
      const cell = (index) => row.cells[index].firstChild && Array.from(row.cells[index].childNodes)
        .map((node) => node.textContent).filter(Boolean).join(", ");
      readout.textContent = `${row.querySelector("td a").textContent}: ${row.cells[0].textContent}; `
        + `local ${cell(5)}; end to end ${cell(6)}`;
      cursor.setAttribute("d", `M${xs[at]} ${band.getAttribute("y")}v${band.getAttribute("height")}`);
      plot.insertBefore(cursor, plot.querySelector(".gate"));
    });
    plot.addEventListener("pointerleave", () => { readout.textContent = ""; cursor.remove(); });
    plot.addEventListener("click", (event) => {
      location.hash = ids[nearest(event)];
    });
  });
})();
