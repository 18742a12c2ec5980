// What the explorer and the grid of an answer share: making nodes, asking the kernel, and a grid that reads only what is in view.
//
// This text stands before that of the widget. Nothing that comes from the kernel becomes HTML: values are text nodes and attributes.
//
// A question is {id, ask, ...}; its answer {id, answer} or {id, error: {message, hint}} or {id, gone} when a newer question
// of the same kind took its place.

const SVG = "http://www.w3.org/2000/svg";
const ROW = 30; // pixels of a row of the grid
const KEPT = 30; // pages of rows that stay in memory around those in view
const TALLEST = 10_000_000; // pixels that a browser scrolls for certain; what is taller is scrolled by rows
const ALL_DRAWN = 40; // columns; of more, only those in view are drawn

function h(tag, props, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, run] of Object.entries(value)) node.addEventListener(event, run);
    else if (name === "style") for (const [key, part] of Object.entries(value)) node.style.setProperty(key, part);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...kept(children));
  return node;
}

const kept = (children) => children.flat().filter((child) => child !== null && child !== undefined && child !== false && child !== "");

// What draws a part anew leaves the keyboard where it was: on what has the same words.
function fill(node, ...children) {
  const held = node.getRootNode().activeElement;
  const words = held && held !== node && node.contains(held) ? wordsOf(held) : null;
  node.replaceChildren(...kept(children));
  if (words) [...node.querySelectorAll("button, input, [tabindex]")].find((one) => wordsOf(one) === words)?.focus({ preventScroll: true });
}
const wordsOf = (node) => node.getAttribute("data-link") ?? node.getAttribute("aria-label") ?? (node.getAttribute("title") || node.textContent);

const number = (count) => (count === null || count === undefined ? "" : count.toLocaleString("en-US"));
const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1).replace(/[\ud800-\udbff]$/, "")}…` : text); // no half of a pair
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { style: { position: "fixed", opacity: "0" } });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

// ---------------------------------------------------------------- questions and answers

class Stale extends Error {}

class Wire {
  constructor(model, busy) {
    this.model = model;
    this.busy = busy;
    this.name = Math.random().toString(36).slice(2, 10);
    this.serial = 0;
    this.open = new Map(); // kind -> {id, resolve, reject, body}
    this.hear = (message) => this.answered(message);
    model.on("msg:custom", this.hear);
  }

  // The answer to a question. A newer one of the same kind makes this one stale.
  ask(kind, body = {}) {
    this.drop(kind);
    return new Promise((resolve, reject) => {
      const id = `${this.name}.${++this.serial}`;
      this.open.set(kind, { id, resolve, reject, body });
      this.busy(true);
      this.send(kind);
    });
  }

  send(kind) {
    const { id, body } = this.open.get(kind);
    try {
      this.model.send({ id, ask: kind, ...body });
    } catch {
      // nothing that waits will be answered
      const lost = [...this.open.values()];
      this.open.clear();
      this.busy(false);
      for (const one of lost) one.reject(Object.assign(new Error("The kernel of this explorer has ended"), { hint: "run its cell again" }));
    }
  }

  drop(kind) {
    const old = this.open.get(kind);
    if (!old) return;
    this.open.delete(kind);
    this.busy(this.open.size > 0);
    old.reject(new Stale());
  }

  answered(message) {
    for (const [kind, one] of this.open) {
      if (one.id !== message.id) continue;
      if (message.gone) {
        // another view of this widget asked too: try again
        setTimeout(() => this.open.get(kind) === one && this.send(kind), 250);
        return;
      }
      this.open.delete(kind);
      this.busy(this.open.size > 0);
      if (message.error) one.reject(Object.assign(new Error(message.error.message), { hint: message.error.hint }));
      else one.resolve(message.answer);
      return;
    }
  }

  close() {
    this.model.off("msg:custom", this.hear);
    this.open.clear();
  }
}

// ---------------------------------------------------------------- the grid

// Rows that are known by what came before them: pages one after the other, of whatever length, each from where the last one ended.
class Chain {
  constructor(first, ask) {
    this.ask = ask; // what the next page begins after -> {rows, next}
    this.pages = first ? [{ after: null, rows: first.rows, count: first.rows.length, from: 0 }] : [];
    this.next = first ? first.next : null;
  }

  get length() {
    const last = this.pages.at(-1);
    return last ? last.from + last.count : 0;
  }

  get more() {
    return this.next !== null;
  }

  // The place of the page that has a row.
  pageOf(index) {
    let low = 0, high = this.pages.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.pages[middle].from <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  row(index) {
    const page = this.pages[this.pageOf(index)];
    return page?.rows?.[index - page.from] ?? null;
  }

  missing(from, to) {
    for (let p = this.pageOf(from); p < this.pages.length && this.pages[p].from < to; p++) if (!this.pages[p].rows) return p;
    return this.more && to + 12 >= this.length ? this.pages.length : null;
  }

  async read(page) {
    const after = page === this.pages.length ? this.next : this.pages[page].after;
    const found = await this.ask(after);
    if (page === this.pages.length) {
      this.pages.push({ after, rows: found.rows, count: found.rows.length, from: this.length });
      this.next = found.next;
    } else {
      // rows that went away meanwhile leave their places empty
      const one = this.pages[page], width = found.rows[0]?.cells.length ?? 0;
      one.rows = Array.from({ length: one.count }, (_, i) => found.rows[i] ?? { key: null, title: "", cells: Array(width).fill(null) });
    }
  }

  forget(row, but) {
    const here = this.pageOf(row);
    this.pages.forEach((one, p) => Math.abs(p - here) > KEPT / 2 && p !== but && (one.rows = null));
  }
}

// Rows that are known by their number, in pages of one size.
class Numbered {
  constructor(size, first, length, ask) {
    this.size = size;
    this.ask = ask; // number of the first row -> {rows, length}
    this.pages = new Map([[0, first]]);
    this.known = length; // null: not yet
  }

  get length() {
    return this.known ?? this.pages.get(0).length;
  }

  get more() {
    return this.known === null;
  }

  row(index) {
    const cells = this.pages.get(Math.floor(index / this.size))?.[index % this.size];
    return cells ? { key: String(index), index, cells } : null;
  }

  missing(from, to) {
    const last = Math.max(0, Math.ceil(Math.min(to, this.length) / this.size) - 1);
    for (let page = Math.floor(from / this.size); page <= last; page++) if (!this.pages.has(page)) return page;
    return this.more && to + 12 >= this.length ? last + 1 : null;
  }

  async read(page) {
    const found = await this.ask(page * this.size);
    if (found.length !== undefined) this.known = found.length;
    this.pages.set(page, found.rows);
  }

  forget(row, but) {
    const here = Math.floor(row / this.size);
    for (const page of this.pages.keys()) if (Math.abs(page - here) > KEPT / 2 && page !== but && page !== 0) this.pages.delete(page);
  }
}

// Only the rows in view are in the document. `hooks`: id, label, way(column, i), sort(column, i), open(row), glance(row), loaded(), head(column), empty.
class Grid {
  constructor(hooks) {
    this.hooks = hooks;
    this.head = h("div", { class: "sgx-grid-head", role: "row", "aria-rowindex": "1" });
    this.rows = h("div", { class: "sgx-grid-rows", role: "rowgroup" });
    this.inner = h("div", { class: "sgx-grid-inner" }, h("div", { role: "rowgroup", class: "sgx-grid-top" }, this.head), this.rows);
    this.node = h("div", {
      class: "sgx-grid", role: "grid", tabindex: "0", "aria-label": hooks.label, "aria-multiselectable": "false",
      on: { scroll: () => this.scrolled(), keydown: (event) => this.key(event), click: (event) => this.click(event) },
    }, this.inner);
    this.node.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.node);
    this.columns = null;
  }

  // Another set of rows. Where the columns are the same ones, the grid stays where it is across, and if asked along them.
  show(columns, book, { stay = false, across = false } = {}) {
    const left = across ? this.node.scrollLeft : 0;
    this.columns = columns;
    this.book = book;
    this.asking = false;
    this.failed = "";
    this.drawn = "";
    if (!stay) {
      this.active = 0;
      this.column = 0;
      this.opened = null;
      this.top = 0; // the number of the first row in view, with its part that is scrolled away
      this.node.scrollTop = 0;
    }
    this.node.setAttribute("aria-colcount", String(columns?.length ?? 0));
    if (columns && !stay) this.drawHead();
    if (!stay) fill(this.rows);
    this.node.scrollLeft = left;
    this.resized();
  }

  get length() {
    return this.book?.length ?? 0;
  }

  row(index) {
    return this.book.row(index);
  }

  // --- where it is: rows by their pixels, or, when there are too many for a browser, the bar by the part and the rows by their number

  get height() {
    return this.length * ROW + (this.book.more || this.failed ? ROW : 0);
  }

  get isTall() {
    return this.height > TALLEST;
  }

  get room() {
    return Math.max(ROW, this.node.clientHeight - this.head.offsetHeight - 14);
  }

  // How far the bar goes, in pixels.
  get bar() {
    return Math.max(1, this.node.scrollHeight - this.node.clientHeight);
  }

  // The length has changed: the place in rows stays.
  resized() {
    if (!this.columns) return;
    this.rows.style.height = `${Math.min(this.height, TALLEST)}px`;
    if (this.isTall) this.goTo(this.top);
    else this.draw();
  }

  goTo(top) {
    const most = Math.max(0, this.length - this.room / ROW);
    this.top = Math.max(0, Math.min(top, most));
    this.node.scrollTop = this.isTall ? (this.top / most) * this.bar : this.top * ROW;
    this.own = this.node.scrollTop; // where the browser put it: that it tells so is no wish of the person
    this.draw();
  }

  scrolled() {
    if (!this.columns) return;
    const at = this.node.scrollTop;
    if (!this.isTall) this.top = at / ROW;
    else if (Math.abs(at - (this.own ?? -9)) > 1) {
      this.top = Math.max(0, Math.min(1, at / this.bar)) * Math.max(0, this.length - this.room / ROW);
      this.own = at;
    }
    this.draw();
  }

  wheel(event) {
    if (!this.columns || !this.isTall || event.ctrlKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    event.preventDefault();
    this.goTo(this.top + (event.deltaMode === 1 ? event.deltaY : event.deltaMode === 2 ? (event.deltaY * this.room) / ROW : event.deltaY / ROW));
  }

  // The numbers of the first and last row that can be seen, from 1; [0, 0] when there is none.
  get seen() {
    if (!this.length) return [0, 0];
    const first = Math.min(Math.round(this.top), this.length - 1);
    return [first + 1, Math.min(this.length, first + Math.max(1, Math.floor((this.room + 14) / ROW)))];
  }

  // --- drawing

  drawHead() {
    this.widths = this.columns.map((column, i) => {
      const texts = Array.from({ length: Math.min(60, this.length) }, (_, n) => this.row(n)?.cells[i]).filter((cell) => cell !== null && cell !== undefined);
      const widest = texts.reduce((most, cell) => Math.max(most, (cell.cut ?? cell).length), 0);
      return Math.round(Math.min(Math.max(widest * 7.3 + 26, column.name.length * 7.2 + (column.unit ? column.unit.length * 7 + 6 : 0) + (column.computed ? 14 : 0) + 42, 64), i === 0 ? 250 : 300));
    });
    this.lefts = this.widths.reduce((lefts, width) => [...lefts, lefts.at(-1) + width], [0]);
    this.inner.style.setProperty("--columns", [...this.widths.map((width) => `${width}px`), "1fr"].join(" "));
    fill(this.head, ...this.columns.map((column, i) => {
      const way = this.hooks.way(column, i);
      const about = [column.description, column.unit && this.hooks.unit(column), column.computed && `computed: ${column.computed}`,
        column.deprecated && `deprecated: ${column.deprecated}`, column.missing && "its column is gone from the model: no values"];
      return h("div", {
        class: `sgx-th${column.number ? " n" : ""}${i === 0 ? " first" : ""}`, role: "columnheader", "aria-sort": way, "aria-colindex": String(i + 1),
      }, h("button", {
        type: "button", tabindex: "-1", title: about.filter(Boolean).join("\n") || `sort by ${column.name}`, disabled: column.missing || column.sorts === false,
        class: `${column.deprecated ? "old" : ""}${column.missing ? " missing" : ""}`, "data-sort": column.name, "data-column": String(i),
      }, column.computed ? h("i", { class: "sgx-fx", "aria-label": "computed" }, "ƒ") : null,
        h("span", {}, column.name), column.unit ? h("small", {}, column.unit) : null,
        h("b", { "aria-hidden": "true" }, way === "ascending" ? "↑" : way === "descending" ? "↓" : "")));
    }));
  }

  // The columns to draw: the first, which stays in view, and those from the first to the last of these two.
  across() {
    const count = this.columns.length;
    if (count <= ALL_DRAWN) return [1, count];
    const left = this.node.scrollLeft + this.widths[0], right = this.node.scrollLeft + this.node.clientWidth;
    let from = 1, to = count;
    while (from < count && this.lefts[from + 1] < left - 300) from++;
    while (to > from && this.lefts[to - 1] > right + 300) to--;
    return [from, to];
  }

  draw() {
    if (!this.columns) return;
    const count = this.length;
    const from = Math.max(0, Math.floor(this.top) - 4);
    const to = Math.min(count, Math.ceil(this.top + this.node.clientHeight / ROW) + 4);
    const tall = this.isTall ? this.node.scrollTop - this.top * ROW : 0; // added to the place of every row
    this.rows.style.height = `${Math.min(this.height, TALLEST)}px`;
    this.node.setAttribute("aria-rowcount", String(this.book.more ? -1 : count + 1));
    const [left, right] = this.across();
    const there = Array.from({ length: to - from }, (_, i) => (this.row(from + i) ? 1 : 0)).join("");
    const stamp = [from, to, count, this.active, this.column, this.opened, this.asking, this.failed, there, left, right, tall].join();
    if (stamp !== this.drawn) {
      this.drawn = stamp;
      const lines = [];
      for (let i = from; i < to; i++) lines.push(this.line(i, tall, left, right));
      if (to >= count && (this.book.more || this.failed)) {
        const text = this.failed || "loading more …";
        lines.push(h("div", { class: "sgx-tr more", style: { transform: `translateY(${count * ROW + tall}px)` } }, h("div", { class: "sgx-td" }, text)));
      }
      fill(this.rows, ...lines);
    }
    this.want(from, to);
    this.hooks.seen?.();
  }

  line(index, tall, left, right) {
    const row = this.row(index);
    const marks = `${row?.mark ? ` mark-${row.mark}` : ""}${index === this.active ? " active" : ""}${row && row.key !== null && row.key === this.opened ? " open" : ""}`;
    const cell = (i) => {
      const column = this.columns[i], value = row.cells[i];
      const place = { role: "gridcell", "aria-colindex": String(i + 1), style: { "grid-column": String(i + 1) } };
      const look = `${column.number ? " n" : ""}${i === 0 ? " first" : ""}${index === this.active && i === this.column ? " at" : ""}`;
      if (row.was && i in row.was) { // what it was at the time that it is compared with
        const old = row.was[i] === null ? "–" : row.was[i].cut ?? row.was[i], text = value === null ? "–" : value.cut ?? value;
        return h("div", { ...place, class: `sgx-td was${look}`, title: `${old} → ${text}` }, h("span", { class: "sgx-was" }, h("s", {}, old), " "), text);
      }
      if (value === null) return h("div", { ...place, class: `sgx-td null${look}` }, this.hooks.nothing ?? "–");
      if (value === "" && this.hooks.empty) return h("div", { ...place, class: `sgx-td null${look}`, title: "a text without characters" }, this.hooks.empty);
      const text = value.cut ?? value;
      return h("div", { ...place, class: `sgx-td${look}`, dir: column.number ? null : "auto", title: value.title ?? (text.length > 28 ? text : null) }, text);
    };
    const cells = row ? [cell(0), ...Array.from({ length: Math.max(0, right - left) }, (_, i) => cell(left + i))] : [h("div", { class: "sgx-td null", role: "gridcell" }, "…")];
    return h("div", {
      class: `sgx-tr${marks}${index % 2 ? " odd" : ""}`, role: "row", "aria-rowindex": String(index + 2), "data-row": String(index), id: `${this.hooks.id}-row-${index}`,
      "aria-selected": String(index === this.active), style: { transform: `translateY(${index * ROW + tall}px)` },
    }, cells);
  }

  // Asks for the page in view that is not there: one at a time.
  want(from, to) {
    if (this.asking || this.failed) return;
    const page = this.book.missing(from, to);
    if (page === null) return;
    const book = this.book;
    this.asking = true;
    book.read(page).then(() => {
      if (this.book !== book) return;
      this.asking = false;
      book.forget(Math.floor(this.top), page);
      this.hooks.loaded();
      this.resized();
    }, (error) => {
      if (this.book !== book || error instanceof Stale) return;
      this.asking = false;
      this.failed = error.message;
      this.hooks.failed?.(error);
      this.draw();
    });
  }

  move(index, column = this.column) {
    const count = this.length;
    if (!count) return;
    this.active = Math.max(0, Math.min(index, count - 1));
    this.column = Math.max(0, Math.min(column, this.columns.length - 1));
    const rows = this.room / ROW;
    if (this.column > 0) {
      const left = this.lefts[this.column], lead = this.widths[0];
      if (left - lead < this.node.scrollLeft) this.node.scrollLeft = left - lead;
      else if (left + this.widths[this.column] > this.node.scrollLeft + this.node.clientWidth) this.node.scrollLeft = left + this.widths[this.column] - this.node.clientWidth;
    } else this.node.scrollLeft = 0;
    this.node.setAttribute("aria-activedescendant", `${this.hooks.id}-row-${this.active}`);
    if (this.active < this.top) this.goTo(this.active);
    else if (this.active + 1 > this.top + rows) this.goTo(this.active + 1 - rows);
    else this.draw();
    if (this.opened !== null) this.hooks.glance(this.row(this.active), this.active);
  }

  key(event) {
    if (event.target !== this.node || event.ctrlKey || event.metaKey || event.altKey) return;
    const screen = Math.max(1, Math.floor(this.node.clientHeight / ROW) - 2);
    const moves = {
      ArrowDown: [1, 0], ArrowUp: [-1, 0], PageDown: [screen, 0], PageUp: [-screen, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
      Home: [-Infinity, 0], End: [Infinity, 0],
    };
    if (event.key in moves) {
      const [down, right] = moves[event.key];
      this.move(Math.max(0, Math.min(this.active + down, this.length - 1)), this.column + right);
    } else if (event.key === "Enter" || event.key === " ") {
      const row = this.row(this.active);
      if (row && row.key !== null) this.hooks.open(row);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  click(event) {
    const sort = event.target.closest?.("[data-sort]");
    if (sort) {
      const i = Number(sort.getAttribute("data-column"));
      this.hooks.sort(this.columns[i], i);
      return;
    }
    const line = event.target.closest?.("[data-row]");
    if (!line) return;
    const place = event.target.closest(".sgx-td")?.getAttribute("aria-colindex");
    this.opened = null;
    this.move(Number(line.getAttribute("data-row")), place ? Number(place) - 1 : 0);
    const row = this.row(this.active);
    if (row && row.key !== null && (!this.hooks.double || event.detail > 1)) this.hooks.open(row);
  }

  close() {
    this.watch.disconnect();
  }
}
