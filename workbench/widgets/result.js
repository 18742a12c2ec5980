// The answer to a statement in the browser: rows by their number, in an order that the lake makes of all of them.
//
// What is shown is always of one answer, which its pages name (`of`): when the kernel begins to read from the kept answer, the pages that
// came before it are asked for again. What stands in grid.js comes before this.

let grids = 0;

function result({ model, el }) {
  const id = `sgr-${++grids}`;
  let asked = 0;
  const wire = new Wire(model, (busy) => root?.classList.toggle("busy", busy));
  let about = null, book = null, of = null, total = null, shown = null, at = "", refused = "", order = { sort: null, down: false };
  let closed = false, panel = null; // what the side shows: {row} or {column}
  let root = null;

  const button = (text, title, run, props = {}) => h("button", { type: "button", title, "aria-label": title, ...props, on: { click: run } }, text);
  const title = h("div", { class: "sgr-title" });
  const wait = h("span", { class: "sgx-wait", role: "status", "aria-label": "reading" });
  const sum = button("Σ Column", "Sums of the column, over all rows (S)", () => openSums(grid.column), { disabled: true });
  const save = h("select", { "aria-label": "save all rows as a file", title: "The server writes the whole answer to a file beside the notebook", hidden: true, on: { change: () => write() } });
  const going = h("div", { class: "sgr-going", role: "status", hidden: true });
  const problem = h("div", { class: "sgx-problem", role: "alert", hidden: true });
  const none = h("div", { class: "sgr-none", hidden: true }, "no rows");
  const card = h("aside", { class: "sgx-card", "aria-label": "in full", hidden: true });
  const count = h("span", { class: "sgr-count", "aria-live": "off" });
  const rest = h("span", { class: "sgr-rest" });
  const said = h("span", { class: "sgx-said", "aria-live": "polite" });
  const foot = h("footer", { class: "sgx-foot" }, count, rest, said, button("Copy SQL", "Copy the statement", () => copied()));

  const grid = new Grid({
    id, label: "rows of the answer", double: true, nothing: "NULL", empty: "''",
    unit: (column) => column.full,
    way: (_, i) => (order.sort === i ? (order.down ? "descending" : "ascending") : "none"),
    sort: (_, i) => arrange(order.sort !== i ? { sort: i, down: false } : !order.down ? { sort: i, down: true } : { sort: null, down: false }),
    open: (row) => openRow(row.index),
    glance: (_, index) => panel && "row" in panel && later(() => openRow(index)),
    loaded: () => drawFoot(),
    seen: () => drawFoot(),
    failed: (error) => fail(error, () => { grid.failed = ""; problem.hidden = true; grid.draw(); }),
  });
  const main = h("div", { class: "sgx-main" }, h("div", { class: "sgx-rows" }, grid.node, none), card);
  root = h("div", { class: "sgx sgr", "data-lm-suppress-shortcuts": "true", on: { keydown: (event) => shortcut(event) } },
    h("header", { class: "sgx-top" }, title, wait, sum, save), going, problem, main, foot);

  let timer = 0;
  const later = (run) => {
    clearTimeout(timer);
    timer = setTimeout(run, 140);
  };

  // --- reading

  async function begin() {
    try {
      about = await wire.ask("open");
      const page = await wire.ask("page", { start: 0, ...order });
      if (closed) return;
      arrive(page, order);
      fill(title, h("b", {}, about.name || "Answer"), about.raw ? h("em", { class: "sgx-mark warn", title: "superseded versions and deleted keys too" }, "all physical rows") : null,
        h("code", { title: cut(about.sql, 2000) }, about.sql.replace(/\s+/g, " ")));
      sum.disabled = !total && total !== null || !about.columns.length;
      save.hidden = !about.files.length;
      fill(save, h("option", { value: "" }, "Save all as …"), about.files.map((name) => h("option", { value: name }, name)));
      if (total === null) counted(await wire.ask("count"));
    } catch (error) {
      fail(error, begin);
    }
  }

  // The first page of an answer in an order.
  function arrive(page, asked) {
    const fresh = !book;
    order = asked;
    take(page);
    book = new Numbered(about.size, page.rows, lengthOf(), async (start) => {
      const mine = order;
      const found = await wire.ask("page", { start, ...mine });
      if (found.of !== of && mine === order) book.pages.clear(); // of another moment: nothing that was there stands beside it
      take(found);
      return { rows: found.rows, length: lengthOf() };
    });
    const columns = about.columns.map((column) => ({ ...column, unit: column.type }));
    if (fresh) {
      const tall = Math.min(420, 31 + 18 + (total ?? page.rows.length) * ROW);
      main.style.setProperty("--tall", `${Math.max(total === 0 ? 96 : 80, tall)}px`);
    }
    none.hidden = total !== 0;
    grid.show(columns, book, { across: !fresh });
    drawFoot();
  }

  function take(page) {
    ({ of, at, refused } = page);
    if (page.total !== null) total = page.total;
    shown = page.shown;
  }

  // How many rows can be scrolled to; null while nobody knows.
  const lengthOf = () => (shown !== null ? shown : total);

  function counted(found) {
    if (closed) return;
    if (total === null) total = found.total;
    book.known = lengthOf();
    grid.resized();
    drawFoot();
  }

  async function arrange(wanted) {
    const mine = ++asked;
    problem.hidden = true;
    try {
      const page = await wire.ask("page", { start: 0, ...wanted });
      if (closed || mine !== asked) return;
      arrive(page, wanted);
      if (panel && "row" in panel) closeCard();
    } catch (error) {
      fail(error, () => arrange(wanted));
    }
  }

  // --- what is said

  function drawFoot() {
    if (!book) return;
    const [first, last] = grid.seen;
    const rows = book.length ? `rows ${number(first)}–${number(last)} of ` : "";
    fill(count, total === null ? `${rows}more, counting …` : `${rows}${plural(total, "row").replace(rows ? /( rows?)$/ : /$^/, "")}`, total === null ? null : h("span", { class: "sgr-exact" }, ", exact"));
    const parts = [];
    if (shown !== null && total !== null && shown < total) parts.push(`the first ${number(shown)} in this order can be seen`);
    if (order.sort !== null) parts.push(`all rows sorted by ${cut(about.columns[order.sort].name, 30)} ${order.down ? "↓" : "↑"}`);
    parts.push(about.raw ? "physical rows" : "current rows", `as of ${at}`);
    if (of === "first") parts.push(`${number(about.ms)} ms`);
    rest.textContent = `· ${parts.join(" · ")}`;
    rest.title = refused || (of?.startsWith("skygraph") ? `the answer of ${at} is kept on the server while it is paged through (${of})` : "");
  }

  function fail(error, again) {
    if (error instanceof Stale || closed) return;
    problem.hidden = false;
    fill(problem, h("span", {}, error.message), error.hint ? h("i", {}, error.hint) : null, again ? button("Try again", "Ask once more", () => { problem.hidden = true; again(); }) : null,
      button("×", "Dismiss", () => { problem.hidden = true; }, { class: "sgx-x" }));
  }

  function progress() {
    const said = model.get("progress") ?? {};
    going.hidden = !said.text;
    if (!said.text) return;
    const bar = h("progress", said.percent === null || said.percent === undefined ? {} : { max: "100", value: String(said.percent) });
    fill(going, bar, h("span", {}, said.percent === null || said.percent === undefined ? said.text : `${said.percent}% · ${said.text}`),
      button("Stop", "End the statement on the server", () => wire.ask("halt").catch(() => {})));
  }

  async function copied() {
    said.textContent = (await copy(about?.sql ?? "")) ? "copied" : "cannot copy here";
    setTimeout(() => { if (said.textContent === "copied") said.textContent = ""; }, 2000);
  }

  async function write() {
    const format = save.value;
    save.value = "";
    if (!format) return;
    problem.hidden = true;
    said.textContent = `writing ${format} …`;
    try {
      const found = await wire.ask("export", { format, ...order });
      said.textContent = `wrote ${found.file}, ${(found.bytes / 1e6).toLocaleString("en-US", { maximumFractionDigits: 2 })} MB in ${found.seconds} s`;
      said.title = found.path;
    } catch (error) {
      said.textContent = "";
      fail(error);
    }
  }

  // --- the side: a row in full, or sums of a column

  async function openRow(index) {
    let found;
    try {
      found = await wire.ask("row", { index, ...order });
    } catch (error) {
      fail(error);
      return;
    }
    if (closed) return;
    panel = { row: index };
    grid.opened = String(index);
    fill(card, h("header", {}, h("div", {}, h("h3", {}, `Row ${number(index + 1)}`)), button("×", "Close (Esc)", () => closeCard(), { class: "sgx-x" })),
      h("div", { class: "sgx-card-body" }, h("dl", {}, found.values.flatMap((value, i) => [
        h("dt", { title: about.columns[i].full }, about.columns[i].name, h("small", {}, about.columns[i].type)),
        value === null ? h("dd", { class: "null" }, "NULL") : value.text === "" ? h("dd", { class: "null", title: "a text without characters" }, "''")
          : h("dd", { dir: about.columns[i].number ? null : "auto" }, value.text, value.more ? h("small", {}, ` … and ${number(value.more)} characters more`) : null)]))));
    card.hidden = false;
    grid.draw();
  }

  async function openSums(column) {
    panel = { column };
    const chosen = h("select", { "aria-label": "column", on: { change: () => openSums(Number(chosen.value)) } },
      about.columns.map((one, i) => h("option", { value: String(i), selected: i === column }, one.name)));
    const head = h("header", {}, chosen, button("×", "Close (Esc)", () => closeCard(), { class: "sgx-x" }));
    fill(card, head, h("div", { class: "sgx-card-body" }, h("p", { class: "sgx-quiet" }, "adding up …")));
    card.hidden = false;
    try {
      const found = await wire.ask("summary", { column });
      if (closed || panel?.column !== column) return;
      fill(card, head, h("div", { class: "sgx-card-body" }, h("p", { class: "sgx-quiet" }, `${found.type}, over all ${plural(found.total, "row")}`),
        h("dl", {}, found.facts.flatMap((fact) => [h("dt", {}, fact.name), fact.text === null ? h("dd", { class: "null" }, "NULL") : h("dd", {}, fact.text)]))));
    } catch (error) {
      if (error instanceof Stale) return;
      closeCard();
      fail(error);
    }
  }

  function closeCard() {
    clearTimeout(timer);
    panel = null;
    card.hidden = true;
    grid.opened = null;
    grid.draw();
    grid.node.focus({ preventScroll: true });
  }

  function shortcut(event) {
    if (["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && !card.hidden) closeCard();
    else if (event.key === "s" && !sum.disabled) openSums(grid.column);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  model.on("change:progress", progress);
  el.append(root);
  begin();

  return () => {
    closed = true;
    clearTimeout(timer);
    model.off("change:progress", progress);
    wire.close();
    grid.close();
  };
}

export default { render: result };
