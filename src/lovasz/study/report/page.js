// Tables that sort and scroll, folded sections that links open, galleries that filter, matrices that arrow keys walk
// through. Without it the page is whole.
"use strict";

for (const box of document.querySelectorAll(".scroll")) {
  const mark = () => {
    const rest = box.scrollWidth - box.clientWidth - box.scrollLeft;
    box.dataset.more = [box.scrollLeft > 1 && "left", rest > 1 && "right"].filter(Boolean).join(" ");
  };
  box.addEventListener("scroll", mark, { passive: true });
  new ResizeObserver(mark).observe(box);
  mark();
}

const unfold = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.matches("details") && !target.open) {
    target.open = true;
    target.scrollIntoView();
  }
};
addEventListener("hashchange", unfold);
// A link to where the page already is changes no hash.
document.querySelector("nav").addEventListener("click", (event) => {
  const target = document.getElementById(event.target.closest("a")?.hash.slice(1) ?? "");
  if (target?.matches("details")) target.open = true;
});
addEventListener("DOMContentLoaded", unfold);

// Paper cannot be unfolded.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not([open])")) {
    folded.open = true;
    folded.dataset.folded = "";
  }
});
addEventListener("afterprint", () => {
  for (const opened of document.querySelectorAll("details[data-folded]")) {
    opened.open = false;
    delete opened.dataset.folded;
  }
});

for (const table of document.querySelectorAll("table[data-sortable]")) {
  const headers = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const cell = row.cells[column];
    return (cell.dataset.v ?? cell.textContent).trim();
  };
  const sort = (column) => {
    const header = headers[column];
    const down = header.getAttribute("aria-sort") === "ascending";
    const rows = [...table.tBodies[0].rows];
    const known = rows.map((row) => value(row, column)).filter((text) => text !== "" && text !== "–");
    const numeric = known.every((text) => !Number.isNaN(Number(text)));
    const unknown = (text) => text === "" || text === "–";
    rows.sort((one, other) => {
      const [a, b] = [value(one, column), value(other, column)];
      if (unknown(a) || unknown(b)) return unknown(a) - unknown(b);
      const order = numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
      return down ? -order : order;
    });
    headers.forEach((one) => one.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.tBodies[0].append(...rows);
  };
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(column));
    header.append(button);
  });
}

for (const gallery of document.querySelectorAll("[data-gallery]")) {
  const items = [...gallery.querySelector("[data-items]").children];
  const tag = gallery.querySelector("select[data-tag]");
  const text = gallery.querySelector("input[data-text]");
  const output = gallery.querySelector("output");
  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of items) {
      const tagged = tag.value === "" || item.dataset.tags.split(" ").includes(tag.value);
      const named = words.every((word) => item.dataset.text.toLowerCase().includes(word));
      item.hidden = !(tagged && named);
      shown += !item.hidden;
    }
    output.textContent = `${shown} of ${items.length} shown`;
  };
  tag.addEventListener("change", filter);
  text.addEventListener("input", filter);
  gallery.querySelector(".filters").hidden = false;
  filter();
}

for (const table of document.querySelectorAll("table[data-matrix]")) {
  const readout = document.getElementById(table.dataset.matrix);
  const columns = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows];
  const tell = (cell) => {
    const head = cell.parentElement.cells[0];
    const [pixels, all] = [Number(cell.dataset.n ?? 0), Number(head.dataset.n)];
    const share = all ? `${((100 * pixels) / all).toFixed(2)} % of it` : "no pixel labelled so";
    readout.textContent =
      `label ${head.dataset.name}, predicted as ${columns[cell.cellIndex].dataset.name}: ` +
      `${pixels.toLocaleString("en")} pixels, ${share}`;
  };
  const first = rows[0].cells[1];
  let current = first;
  const go = (cell) => {
    current.tabIndex = -1;
    current = cell;
    current.tabIndex = 0;
    tell(cell);
  };
  first.tabIndex = 0;
  table.addEventListener("pointerover", (event) => {
    const cell = event.target.closest("td");
    if (cell) tell(cell);
  });
  table.addEventListener("focusin", (event) => {
    if (event.target.tagName === "TD") go(event.target);
  });
  table.addEventListener("pointerdown", (event) => {
    const cell = event.target.closest("td");
    if (cell) cell.tabIndex = 0;
  });
  table.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step || event.target.tagName !== "TD") return;
    event.preventDefault();
    const row = rows[current.parentElement.sectionRowIndex + step[0]];
    const column = current.cellIndex + step[1];
    if (row && column >= 1 && column < row.cells.length) {
      const cell = row.cells[column];
      cell.tabIndex = 0;
      cell.focus();
    }
  });
}
