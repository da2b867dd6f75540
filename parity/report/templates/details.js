"use strict";
(function () {
  // The value of the cell under the pointer; without a script the levels' titles tell its range.
  for (const svg of document.querySelectorAll(".picture svg")) {
    const width = Number(svg.dataset.width);
    const values = svg.dataset.values.split(",");
    const readout = svg.closest("figure").querySelector(".readout");
    const unit = svg.closest(".pictures").dataset.unit;
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left) / box.width * width);
      const row = Math.floor((event.clientY - box.top) / box.height * values.length / width);
      const value = values[row * width + column];
      readout.textContent = value === undefined ? "" : `${unit} at row ${row}, column ${column}: ${value}`;
    });
    svg.addEventListener("pointerleave", () => { readout.textContent = ""; });
  }
  // A link from elsewhere on the page, or from outside, opens what it leads to.
  const reveal = () => {
    const one = location.hash && document.getElementById(location.hash.slice(1));
    if (one && one.classList.contains("look")) one.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
