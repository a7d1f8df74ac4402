"use strict";

/* The leaderboard's table: reads what the data files add, and shows it with Tabulator. Text of records only ever becomes text
   nodes; nothing here writes markup, and nothing asks the network. */

window.ddbench = {
  columns: [],
  rankings: [],
  rows: [],
  add(kind, items) {
    for (const item of items) this[kind].push(item);
  },
};

(() => {
  const LEVELS = [
    ["claimed", "○"],
    ["submitted", "◔"],
    ["verified", "◑"],
    ["reproduced", "●"],
  ];
  const FILTERS = ["dataset", "ipc", "protocol", "labels", "student", "level"];
  const NARROW = 700;
  const SHOWN_FROM = { level: 780, size: 880, time: 970, n: 1040, top1: 1200 }; // by field: the width that has room for it
  const PAGE = 100;
  const SVG = "http://www.w3.org/2000/svg";

  const find = (id) => document.getElementById(id);

  /** Return an element with attributes and children; strings become text. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function draw(tag, attributes = {}, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  /** Return rows as objects; what a filter reads of a ranking stands in each of its rows. */
  function readRows() {
    const { columns, rankings, rows } = window.ddbench;
    for (const ranking of rankings) Object.assign(ranking, { low: Infinity, high: -Infinity });
    let before = {};
    return rows.map((values) => {
      const row = {};
      columns.forEach((name, index) => (row[name] = values[index]));
      const ranking = rankings[row.ranking];
      row.starts = before.ranking === row.ranking && before.tie_group !== row.tie_group;
      before = row;
      for (const name of ["dataset", "ipc", "protocol", "labels", "student", "teacher"]) row[name] = ranking[name];
      ranking.low = Math.min(ranking.low, row.low ?? row.top1);
      ranking.high = Math.max(ranking.high, row.high ?? row.top1);
      return row;
    });
  }

  /* --- cells ----------------------------------------------------------------------------------------------------------- */

  function rankCell(cell) {
    const row = cell.getData();
    const ranking = window.ddbench.rankings[row.ranking];
    if (row.rank_from === null) return make("span", { class: "quiet", title: row.unranked ?? "" }, row.level === "claimed" ? "–" : "not ranked");
    const step = 44 / ranking.ranked;
    const bar = draw(
      "svg",
      { class: "span", viewBox: "0 0 44 6", width: 44, height: 6, "aria-hidden": "true" },
      draw("rect", { class: "rail", x: 0, y: 2.5, width: 44, height: 1 }),
      draw("rect", { class: "mark", x: (row.rank_from - 1) * step, y: 1, width: (row.rank_to - row.rank_from + 1) * step, height: 4, rx: 1 }),
    );
    return make("span", { class: "rank" }, make("b", {}, row.rank), bar);
  }

  function methodCell(cell) {
    const row = cell.getData();
    const [name, ...settings] = row.method.split(" ");
    const words = [make("strong", {}, name)];
    if (settings.length) words.push(make("small", {}, ` ${settings.join(" ")}`));
    if (!row.url) return make("span", { class: "method" }, ...words);
    return make("a", { class: "method", href: row.url }, ...words);
  }

  function scoreCell(cell) {
    const [value, ...rest] = cell.getData().score.split(" ");
    return make("span", { class: "number" }, make("b", {}, value), make("small", {}, ` ${rest.join(" ")}`));
  }

  /** Return the score's interval on the ranking's own axis, random as a dashed line. The same numbers stand beside it as text. */
  function whiskerCell(cell) {
    const row = cell.getData();
    const ranking = window.ddbench.rankings[row.ranking];
    const span = ranking.high - ranking.low || 1;
    const place = (value) => (4 + ((value - ranking.low) / span) * 132).toFixed(1);
    const lines = [];
    if (ranking.control !== null) lines.push(draw("line", { class: "random", x1: place(ranking.control), x2: place(ranking.control), y1: 0, y2: 22 }));
    if (row.low !== null) lines.push(draw("line", { class: "whisker", x1: place(row.low), x2: place(row.high), y1: 11, y2: 11 }));
    lines.push(draw("circle", { class: "dot", cx: place(row.top1), cy: 11, r: 3.2 }));
    return draw("svg", { class: "whiskers", viewBox: "0 0 140 22", width: 140, height: 22, "aria-hidden": "true" }, ...lines);
  }

  function changeCell(cell) {
    const row = cell.getData();
    if (!row.change) return make("span", { class: "quiet" }, row.control ? "control" : "–");
    const [value, interval] = row.change.replace(/ [▲▼]$/, "").split(/ (?=\[)/);
    const [mark, said] = { 1: ["▲", "better than random"], "-1": ["▼", "worse than random"], 0: ["", ""] }[row.verdict];
    return make(
      "span",
      { class: "number change" },
      make("b", {}, value),
      make("small", {}, interval ?? ""),
      make("span", { class: "verdict" }, mark, make("span", { class: "unseen" }, said)),
    );
  }

  function levelCell(cell) {
    const level = LEVELS.find(([name]) => name === cell.getValue());
    return make("span", { class: "level" }, make("span", { "aria-hidden": "true" }, level[1]), ` ${level[0]}`);
  }

  const textCell = (field) => (cell) => make("span", { class: "number" }, String(cell.getData()[field] ?? ""));

  /** Return a header that is a button, so that the keyboard reaches it; Tabulator sorts on its click. */
  function header(title, help) {
    return () => make("button", { type: "button", class: "sort", title: help }, title);
  }

  /* --- order ----------------------------------------------------------------------------------------------------------- */

  let places = [];

  /** Order rankings by a coordinate, those with nothing to rank and claims last; rows are sorted inside their ranking and never across. */
  function orderRankings(name) {
    const compare = (a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b)));
    const order = window.ddbench.rankings.map((ranking, index) => ({ late: ranking.claimed ? 2 : ranking.ranked < 2 ? 1 : 0, value: ranking[name], index }));
    order.sort((a, b) => a.late - b.late || compare(a.value, b.value) || a.index - b.index);
    order.forEach(({ index }, place) => (places[index] = place));
  }

  /** Return a sorter by a field: rankings keep their order, and rows without the value stand last, whatever the direction. */
  function by(field) {
    return (_a, _b, first, second, _column, direction) => {
      const up = direction === "asc" ? 1 : -1;
      const [a, b] = [first.getData(), second.getData()];
      if (a.ranking !== b.ranking) return up * (places[a.ranking] - places[b.ranking]);
      const [one, two] = [a[field] ?? null, b[field] ?? null];
      if (one === null || two === null) return one === two ? 0 : up * (one === null ? 1 : -1);
      return typeof one === "number" ? one - two : String(one).localeCompare(String(two));
    };
  }

  /* --- columns --------------------------------------------------------------------------------------------------------- */

  function columns(width) {
    const middle = width >= NARROW;
    const column = (title, field, help, { sort = field, ...more }) => ({
      title,
      field,
      titleFormatter: header(title, help),
      sorter: by(sort),
      headerSortTristate: false,
      resizable: false,
      ...more,
    });
    const numbers = { hozAlign: "right", headerHozAlign: "right", headerSortStartingDir: "desc" };
    const all = [
      column("rank", "rank", "Rank interval inside the ranking: methods whose order the data can't tell share places", { sort: "rank_from", formatter: rankCell, width: middle ? 112 : 46 }),
      column("method", "method", "Method, with the options that tell its rows apart", { formatter: methodCell, minWidth: middle ? 150 : 76, widthGrow: 3 }),
      column("top1 %", "score", "Test accuracy in percent, with half of its 95 % interval", { sort: "top1", formatter: scoreCell, width: middle ? 122 : 60, ...numbers }),
      column("interval", "top1", "The 95 % interval on the ranking's own axis; the dashed line is random", { formatter: whiskerCell, width: 164, headerSortStartingDir: "desc" }),
      column("Δ random", "change", "Difference to random images under the same recipe and seeds, with its 95 % interval", { sort: "difference", formatter: changeCell, width: middle ? 208 : 106, ...numbers }),
      column("n", "n", "Distilled sets × students of each", { sort: "n", formatter: textCell("n"), width: 62, ...numbers }),
      column("bytes", "size", "What a set takes, labels included", { sort: "bytes", formatter: textCell("size"), width: 92, ...numbers }),
      column("seconds", "time", "Recover, per distilled set, on the machine that the row's page names", { sort: "seconds", formatter: textCell("time"), width: 88, ...numbers }),
      column("level", "level", "How far the number can be trusted", { formatter: levelCell, width: 122 }),
    ];
    return all.filter((one) => width >= (SHOWN_FROM[one.field] ?? 0));
  }

  function groupHeader(index, count) {
    const ranking = window.ddbench.rankings[index];
    const strong = [ranking.dataset, `ipc ${ranking.ipc}`, ranking.student].join(" · ");
    const rest = [ranking.protocol, ranking.labels, ranking.teacher && `teacher ${ranking.teacher}`].filter(Boolean).join(" · ");
    const total = ranking.claimed ? "claimed" : ranking.ranked < 2 ? "nothing to rank" : `${ranking.ranked} ranked`;
    return make("span", { class: "ranking" }, make("strong", {}, strong), make("span", { class: "rest" }, rest), make("span", { class: "count" }, `${count} row${count === 1 ? "" : "s"}, ${total}`));
  }

  /* --- filters --------------------------------------------------------------------------------------------------------- */

  function fillFilters(rows) {
    for (const name of FILTERS) {
      const values = [...new Set(rows.map((row) => row[name]))];
      values.sort((a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b))));
      if (name === "level") values.sort((a, b) => LEVELS.findIndex(([one]) => one === a) - LEVELS.findIndex(([one]) => one === b));
      for (const value of values) find(`filter-${name}`).append(make("option", { value }, String(value)));
    }
  }

  function readAddress() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    for (const name of FILTERS) {
      const select = find(`filter-${name}`);
      const known = [...select.options].some((option) => option.value === wanted.get(name));
      select.value = known ? wanted.get(name) : "";
    }
    find("filter-method").value = wanted.get("method") ?? "";
  }

  function writeAddress() {
    const wanted = new URLSearchParams();
    for (const name of [...FILTERS, "method"]) if (find(`filter-${name}`).value) wanted.set(name, find(`filter-${name}`).value);
    history.replaceState(null, "", wanted.size ? `#${wanted}` : location.pathname + location.search);
  }

  function passes(row) {
    const words = find("filter-method").value.toLowerCase().split(/\s+/).filter(Boolean);
    const name = row.method.toLowerCase();
    return words.every((word) => name.includes(word)) && FILTERS.every((one) => ["", String(row[one])].includes(find(`filter-${one}`).value));
  }

  /* --- downloads ------------------------------------------------------------------------------------------------------- */

  const EXPORTED = ["dataset", "ipc", "protocol", "labels", "student", "teacher", "method", "level", "rank_from", "rank_to", "tie_group", "top1", "low", "high", "difference", "verdict", "n", "bytes", "seconds"];

  function save(name, type, text) {
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  /** Return a value as CSV holds it; text that a spreadsheet would run as a formula is quoted. */
  function csvCell(value) {
    if (value === null || value === undefined) return "";
    if (typeof value !== "string") return String(value);
    const text = /^[=+\-@]/.test(value) ? `'${value}` : value;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  const shown = (table) => table.getData("active").map((row) => Object.fromEntries(EXPORTED.map((name) => [name, row[name] ?? null])));

  function offerDownloads(table) {
    find("save-csv").addEventListener("click", () => {
      const lines = shown(table).map((row) => EXPORTED.map((name) => csvCell(row[name])).join(","));
      save("leaderboard.csv", "text/csv", [EXPORTED.join(","), ...lines, ""].join("\n"));
    });
    find("save-json").addEventListener("click", () => save("leaderboard.json", "application/json", JSON.stringify(shown(table), null, 1)));
  }

  /* --- start ----------------------------------------------------------------------------------------------------------- */

  /** Return a number that changes where a column enters or leaves. */
  const layoutOf = (width) => [NARROW, ...Object.values(SHOWN_FROM)].filter((least) => width >= least).length;

  function start() {
    if (!find("board")) return;
    const rows = readRows();
    orderRankings("dataset");
    fillFilters(rows);
    readAddress();
    let layout = layoutOf(innerWidth);
    const table = new window.Tabulator("#board", {
      data: rows,
      columns: columns(innerWidth),
      layout: "fitColumns",
      renderVertical: "basic",
      groupBy: "ranking",
      groupHeader,
      groupToggleElement: false,
      rowFormatter: (row) => row.getElement().classList.toggle("starts-group", row.getData().starts ?? false),
      initialSort: [{ column: "rank", dir: "asc" }],
      initialFilter: passes,
      pagination: rows.length > PAGE,
      paginationSize: PAGE,
      paginationCounter: "rows",
      placeholder: () => make("p", { class: "quiet" }, rows.length ? "No row passes these filters." : "There is no row yet."),
    });

    const tell = () => (find("shown").textContent = `${table.getDataCount("active")} of ${rows.length} rows`);
    const again = () => {
      writeAddress();
      table.setFilter(passes);
      tell();
    };
    table.on("dataSorted", ([first]) => find("board").classList.toggle("by-rank", first?.field === "rank" && first.dir === "asc"));
    table.on("tableBuilt", () => {
      tell();
      find("no-table").hidden = true;
      document.documentElement.dataset.ready = "yes";
    });
    for (const name of [...FILTERS, "method"]) find(`filter-${name}`).addEventListener("input", again);
    find("filter-box").open = innerWidth >= NARROW;
    find("filters").addEventListener("submit", (event) => event.preventDefault());
    find("filters").addEventListener("reset", () => setTimeout(again));
    find("order").addEventListener("input", () => {
      orderRankings(find("order").value);
      table.setSort(table.getSorters().map((one) => ({ column: one.field, dir: one.dir })));
    });
    addEventListener("hashchange", () => {
      readAddress();
      table.setFilter(passes);
      tell();
    });
    addEventListener("resize", () => {
      if (layoutOf(innerWidth) === layout) return;
      layout = layoutOf(innerWidth);
      table.setColumns(columns(innerWidth));
      table.setSort("rank", "asc");
    });
    offerDownloads(table);
  }

  document.addEventListener("DOMContentLoaded", start);
})();
