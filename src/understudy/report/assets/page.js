"use strict";
(() => {
  // Read-outs: a mark's <title> becomes its label and is shown beside the pointer at once.
  const box = document.getElementById("read");
  for (const title of document.querySelectorAll("svg title")) {
    const owner = title.parentElement;
    owner.setAttribute("aria-label", title.textContent);
    if (owner.classList.contains("pt")) owner.setAttribute("role", "img");
    title.remove();
  }
  const hide = () => { box.hidden = true; };
  const show = (event) => {
    const mark = event.target.closest ? event.target.closest("g.pt") : null;
    if (!mark) { hide(); return; }
    box.textContent = mark.getAttribute("aria-label");
    box.hidden = false;
    const width = box.offsetWidth, height = box.offsetHeight;
    const x = Math.min(event.clientX + 14, document.documentElement.clientWidth - width - 8);
    const above = event.clientY - height - 12;
    box.style.left = Math.max(8, x) + "px";
    box.style.top = (above < 8 ? event.clientY + 16 : above) + "px";
  };
  document.addEventListener("pointermove", show, { passive: true });
  document.addEventListener("pointerleave", hide);
  document.addEventListener("scroll", hide, { passive: true });

  // A link to a card that is folded away opens what it is in.
  const unfold = () => {
    const target = location.hash.startsWith("#point-") ? document.getElementById(location.hash.slice(1)) : null;
    const fold = target ? target.closest("details") : null;
    if (!fold || fold.open) return;
    fold.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();

  // Sorting: the header's buttons order the rows; a second press turns the order round.
  const key = (row, column) => {
    const cell = row.cells[column];
    const text = (cell.firstChild ? cell.firstChild.textContent : "").trim();
    const value = Number.parseFloat(text.replace(/[<>≤,%]/g, ""));
    return Number.isNaN(value) ? text : value;
  };
  for (const button of document.querySelectorAll("table.sortable th button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const body = button.closest("table").tBodies[0];
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = Array.from(body.rows, (row) => [key(row, head.cellIndex), row]);
      rows.sort(([a], [b]) => {
        const order = typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
        return down ? -order : order;
      });
      body.append(...rows.map(([, row]) => row));
    });
  }
})();
