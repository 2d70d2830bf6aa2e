// A choice of panels, a second filter of the gallery, the matrix of many classes. Without it the page is whole.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const select = document.querySelector("select[data-panels]");
  if (select) {
    const panels = [...document.querySelectorAll("[data-panel]")];
    const choose = () => panels.forEach((panel) => { panel.hidden = panel.dataset.panel !== select.value; });
    select.addEventListener("change", choose);
    select.closest(".filters").hidden = false;
    choose();
  }

  // The filters of page.js have run when an event gets here; this one hides some more.
  const change = document.querySelector("select[data-change]");
  if (change) {
    const gallery = change.closest("[data-gallery]");
    const items = [...gallery.querySelector("[data-items]").children];
    const narrow = () => {
      for (const item of items) {
        item.hidden ||= change.value !== "" && !item.dataset.tags.split(" ").includes(change.value);
      }
      const shown = items.filter((item) => !item.hidden).length;
      gallery.querySelector("output").textContent = `${shown} of ${items.length} shown`;
    };
    gallery.addEventListener("input", narrow);
    gallery.addEventListener("change", (event) => {
      if (event.target === change) gallery.querySelector("select[data-tag]").dispatchEvent(new Event("change"));
      narrow();
    });
  }

  for (const matrix of document.querySelectorAll("svg[data-names]")) {
    const names = JSON.parse(matrix.dataset.names);
    const cells = matrix.querySelector("[data-cells]");
    const readout = document.getElementById(matrix.dataset.readout);
    matrix.addEventListener("pointermove", (event) => {
      const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(cells.getScreenCTM().inverse());
      const [column, row] = [Math.floor(place.x), Math.floor(place.y)];
      if (!(column in names && row in names)) return;
      const share = event.target.dataset.share ?? matrix.dataset.least;
      readout.textContent = `label ${names[row]}, predicted as ${names[column]}: ${share} of it`;
    });
  }
});
