// Sorting of every table of class "sortable"; on the overview, what is shown, kept in the address's fragment:
// #task=single_point-1&metric=miou&filter=vit&rows=complete&sort=mean&order=asc. Without scripts all tables are there.
"use strict";
(() => {
  const GLYPHS = { none: "↕", ascending: "▲", descending: "▼" };

  // --- tables ---

  function keyOf(cell) {
    if (cell === undefined) return null;
    const text = cell.dataset.v ?? (cell.classList.contains("n") ? "" : cell.textContent.trim());
    if (text === "") return null;
    const number = Number(text);
    return Number.isNaN(number) ? text : number;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }

  // Rows without a value come last either way; equal ones keep the order of the page.
  function sort(table, key, order) {
    const heads = [...table.tHead.rows[0].cells];
    const column = heads.findIndex((head) => head.dataset.key === key);
    const body = table.tBodies[0];
    table.originalRows ??= [...body.rows];
    const rows = table.originalRows.map((row) => [row, column < 0 ? 0 : keyOf(row.cells[column])]);
    const sign = order === "desc" ? -1 : 1;
    rows.sort(([, a], [, b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
    body.replaceChildren(...rows.map(([row]) => row));
    for (const head of heads) {
      if (head.dataset.key === undefined) continue;
      const state = head.dataset.key !== key ? "none" : order === "desc" ? "descending" : "ascending";
      if (state === "none") head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", state);
      const glyph = head.querySelector("button > span[aria-hidden]");
      if (glyph) glyph.textContent = GLYPHS[state];
    }
  }

  function firstOrder(head) {
    return head.dataset.first ?? (head.classList.contains("n") && head.dataset.key !== "rank" ? "desc" : "asc");
  }

  function addButtons(table, chosen) {
    for (const head of table.tHead.rows[0].cells) {
      if (head.dataset.key === undefined) continue;
      const button = document.createElement("button");
      button.type = "button";
      const glyph = document.createElement("span");
      glyph.setAttribute("aria-hidden", "true");
      glyph.textContent = GLYPHS.none;
      const label = document.createElement("span");
      label.className = "hidden-text";
      label.textContent = `Sort by ${head.textContent.trim()}`;
      button.append(glyph, label);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const first = firstOrder(head);
        const order = now === null ? first : now === "ascending" ? "desc" : "asc";
        chosen(head.dataset.key, order);
      });
      head.append(" ", button);
    }
  }

  // --- the overview ---

  const controls = document.getElementById("controls");
  const boards = [...document.querySelectorAll("section.board")];
  const DEFAULTS = { task: "", metric: "", filter: "", rows: "", sort: "", order: "" };
  let state = { ...DEFAULTS };

  // A fragment without "=" is a place on the page and leaves the choice as it is.
  function readState() {
    const text = location.hash.slice(1);
    if (text !== "" && !text.includes("=")) return;
    const given = new URLSearchParams(text);
    for (const key of Object.keys(DEFAULTS)) state[key] = given.get(key) ?? DEFAULTS[key];
  }

  function writeState() {
    const kept = Object.entries(state).filter(([, value]) => value !== "");
    const fragment = new URLSearchParams(kept).toString();
    history.replaceState(null, "", fragment === "" ? location.pathname + location.search : `#${fragment}`);
  }

  function showBoards() {
    const field = (id) => document.getElementById(id);
    const board = boards.find((one) => one.dataset.key === state.task) ?? boards[0];
    for (const one of boards) one.hidden = one !== board;
    field("task").value = board.dataset.key;
    const metrics = [...board.querySelectorAll(".metric")];
    const metric = metrics.find((one) => one.dataset.metric === state.metric) ?? metrics[0];
    field("metric").replaceChildren(...metrics.map((one) => new Option(one.dataset.title, one.dataset.metric)));
    for (const one of metrics) one.hidden = one !== metric;
    field("filter").value = state.filter;
    field("rows").value = state.rows;
    if (metric === undefined) return;
    field("metric").value = metric.dataset.metric;
    const table = metric.querySelector("table");
    const known = [...table.tHead.rows[0].cells].some((head) => head.dataset.key === state.sort);
    sort(table, known ? state.sort : "", state.order);
    const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.dataset.find.toLowerCase();
      const fits =
        words.every((word) => text.includes(word)) &&
        (state.rows !== "complete" || row.dataset.complete === "yes") &&
        (state.rows !== "zero-shot" || row.dataset.zeroShot === "yes");
      row.hidden = !fits;
      shown += fits;
    }
    field("count").textContent = `${shown} of ${table.tBodies[0].rows.length} rows. The address keeps the choice.`;
  }

  function choose(change) {
    state = { ...state, ...change };
    writeState();
    showBoards();
  }

  if (controls !== null && boards.length > 0) {
    controls.hidden = false;
    controls.addEventListener("submit", (event) => event.preventDefault());
    const on = (id, event, change) =>
      document.getElementById(id).addEventListener(event, (e) => choose(change(e.target.value)));
    on("task", "change", (value) => ({ task: value, metric: "", sort: "", order: "" }));
    on("metric", "change", (value) => ({ metric: value }));
    on("filter", "input", (value) => ({ filter: value }));
    on("rows", "change", (value) => ({ rows: value }));
    for (const board of boards)
      for (const table of board.querySelectorAll(".metric table"))
        addButtons(table, (key, order) => choose({ sort: key, order }));
    readState();
    showBoards();
    window.addEventListener("hashchange", () => {
      readState();
      showBoards();
    });
  }
  for (const table of document.querySelectorAll("table.sortable"))
    if (table.closest(".metric") === null) addButtons(table, (key, order) => sort(table, key, order));

  // --- links within the page: go there, and leave the fragment to the choice ---

  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest('a[href^="#"]') : null;
    const target = link && document.getElementById(decodeURIComponent(link.getAttribute("href").slice(1)));
    if (!target) return;
    event.preventDefault();
    target.scrollIntoView();
    target.focus({ preventScroll: true });
  });
})();
