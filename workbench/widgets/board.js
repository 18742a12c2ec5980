// A dashboard in the browser: draws what the kernel answers, asks it again when a filter changes, and counts the age of the data.
//
// The kernel alone says what there is: the plan (a trait), and answers to questions {id, ask: "show" | "csv", filters, part}. Nothing
// that comes from it becomes HTML: values are text nodes and attributes.

const SVG = "http://www.w3.org/2000/svg";
const PATIENCE_MS = 20_000; // without a word from the kernel, the page says that it is not connected
const AGAIN_MS = 5_000; // after an answer that the lake could not give

function h(tag, props, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, run] of Object.entries(value)) node.addEventListener(event, run);
    else if (name === "style") for (const [key, part] of Object.entries(value)) node.style.setProperty(key, part);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return node;
}

// ---------------------------------------------------------------- words for values

const number = (value, most = 2) => {
  if (value === null || value === undefined) return "—";
  const digits = Number.isInteger(value) ? 0 : most;
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
};
const short = (value) => {
  const size = Math.abs(value);
  const cut = (by, letter) => `${(value / by).toLocaleString("en-US", { maximumFractionDigits: size / by < 10 ? 1 : 0 })}${letter}`;
  return size >= 1e9 ? cut(1e9, "G") : size >= 1e6 ? cut(1e6, "M") : size >= 10_000 ? cut(1e3, "k") : number(value, size < 10 ? 2 : 0);
};
const withUnit = (text, unit) => (unit ? `${text} ${unit}` : text);

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "—";
  const s = Math.max(0, seconds);
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10 && !Number.isInteger(s)) return `${(Math.floor(s * 10) / 10).toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = parts.findIndex(([size]) => s >= size);
  const [size, unit] = parts[at];
  const [next, small] = parts[at + 1];
  const rest = Math.floor((s % size) / next);
  return `${Math.floor(s / size)} ${unit}${rest ? ` ${rest} ${small}` : ""}`;
}

const age = (seconds) => duration(Math.max(1, Math.floor(seconds)));
const when = (text) => new Date(text).toLocaleString("en-GB", {
  day: "2-digit", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: "UTC",
}) + " UTC";
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const isMonth = (text) => /^\d{4}-\d{2}(-01)?$/.test(text);
const point = (value) => (typeof value === "string" && isMonth(value) ? `${MONTHS[Number(value.slice(5, 7)) - 1]} ${value.slice(0, 4)}` : String(value));

const TONES = {
  good: ["ok", "success", "pass", "up", "ready", "added", "succeeded"],
  bad: ["failed", "fail", "error", "down", "killed", "lost", "timeout", "runtime error", "removed"],
  warn: ["warn", "running", "starting", "stopped", "skipped", "changed", "late", "backing off", "partial success"],
};
const toneOf = (word) => Object.keys(TONES).find((tone) => TONES[tone].includes(String(word).toLowerCase())) ?? "quiet";

// ---------------------------------------------------------------- one tooltip for all charts

class Tip {
  constructor(root) {
    this.node = h("div", { class: "sgb-tip", role: "status" });
    this.root = root;
    root.append(this.node);
  }

  show(event, title, lines) {
    this.node.replaceChildren(
      h("b", {}, title),
      ...lines.map(([label, text, color]) => h("div", {}, color && h("i", { style: { background: color } }), h("span", {}, label), h("em", {}, text))),
    );
    this.node.classList.add("on");
    const box = this.root.getBoundingClientRect();
    const own = this.node.getBoundingClientRect();
    const x = Math.min(Math.max(event.clientX - box.left + 14, 4), box.width - own.width - 4);
    const above = event.clientY - box.top - own.height - 12;
    this.node.style.left = `${x}px`;
    this.node.style.top = `${above > 0 ? above : event.clientY - box.top + 16}px`;
  }

  hide() {
    this.node.classList.remove("on");
  }
}

// ---------------------------------------------------------------- charts

// Round steps from 0 to at least the greatest value.
function ticks(most, wanted = 4) {
  if (!(most > 0)) return [0, 1];
  const raw = most / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const found = [];
  for (let value = 0; value < most + step * 0.999; value += step) found.push(value);
  return found;
}

function columnChart(part, rows, tip) {
  const { x, y, before, unit } = part;
  const HEIGHT = 230, LEFT = 46, BOTTOM = 24, TOP = 8;
  const holder = h("div", { class: "sgb-chart", role: "img", "aria-label": `${part.title}: ${rows.length} columns` });
  const least = Math.min(0, ...rows.map((row) => row[y] ?? 0));
  const most = Math.max(...rows.map((row) => Math.max(row[y] ?? 0, before ? row[before] ?? 0 : 0)));
  const steps = ticks(Math.max(most, -least));
  const top = steps.at(-1);

  const draw = (width) => {
    if (width < 80) return;
    const inner = width - LEFT - 6, high = HEIGHT - TOP - BOTTOM;
    const slot = inner / rows.length, bar = Math.max(1, Math.min(34, slot * 0.68));
    const at = (value) => TOP + high - (Math.max(0, value) / top) * high;
    const middle = (i) => LEFT + slot * (i + 0.5);
    const svg = h("svg:svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` });
    for (const step of steps) {
      svg.append(h("svg:line", { class: step ? "grid" : "axis", x1: LEFT, x2: width - 6, y1: at(step), y2: at(step) }));
      svg.append(h("svg:text", { class: "tick", x: LEFT - 8, y: at(step) + 4, "text-anchor": "end" }, short(step)));
    }
    const every = Math.ceil(rows.length / Math.max(1, Math.floor(inner / 70)));
    const years = rows.length > 18 && rows.every((row) => isMonth(String(row[x])));
    rows.forEach((row, i) => {
      const label = years ? (String(row[x]).slice(5, 7) === "01" ? String(row[x]).slice(0, 4) : "") : i % every ? "" : point(row[x]);
      if (label) svg.append(h("svg:text", { class: "tick", x: middle(i), y: HEIGHT - 6, "text-anchor": "middle" }, label));
    });
    const bars = rows.map((row, i) => {
      const value = row[y] ?? 0, edge = at(value);
      return h("svg:rect", { class: "bar", x: middle(i) - bar / 2, y: edge, width: bar, height: Math.max(value > 0 ? 1 : 0, TOP + high - edge), rx: Math.min(3, bar / 3) });
    });
    svg.append(...bars);
    if (before && rows.some((row) => row[before] !== null)) {
      const points = rows.map((row, i) => (row[before] === null ? "" : `${middle(i)},${at(row[before])}`)).filter(Boolean).join(" ");
      svg.append(h("svg:polyline", { class: "before", points }));
    }
    const hover = h("svg:rect", { class: "hover", y: TOP, width: slot, height: high });
    svg.prepend(hover);
    svg.addEventListener("pointermove", (event) => {
      const i = Math.floor((event.clientX - svg.getBoundingClientRect().left - LEFT) / slot);
      const row = rows[i];
      for (const one of bars) one.classList.remove("on");
      hover.classList.toggle("on", Boolean(row));
      if (!row) return tip.hide();
      hover.setAttribute("x", LEFT + slot * i);
      bars[i].classList.add("on");
      const lines = [[part.label || "value", withUnit(number(row[y]), unit), "var(--sgb-accent)"]];
      if (before && row[before] !== null) lines.push([part.before_label || "before", withUnit(number(row[before]), unit), "var(--sgb-second)"]);
      tip.show(event, point(row[x]), lines);
    });
    svg.addEventListener("pointerleave", () => {
      tip.hide();
      hover.classList.remove("on");
      for (const one of bars) one.classList.remove("on");
    });
    holder.replaceChildren(svg);
  };
  const watch = new ResizeObserver(([entry]) => draw(Math.floor(entry.contentRect.width)));
  watch.observe(holder);
  return holder;
}

function ranks(part, rows, tip) {
  const most = Math.max(...rows.map((row) => Math.abs(row[part.y] ?? 0)), 0) || 1;
  const total = rows.reduce((sum, row) => sum + (row[part.y] ?? 0), 0);
  return h("div", { class: "sgb-ranks" }, rows.map((row, i) => {
    const value = row[part.y] ?? 0;
    return h("div", {
      class: "sgb-rank",
      on: {
        pointermove: (event) => tip.show(event, String(row[part.x]), [
          [part.label || "value", withUnit(number(value), part.unit)], ["of those shown", `${number((100 * value) / (total || 1), 1)} %`],
        ]),
        pointerleave: () => tip.hide(),
      },
    },
      h("span", { class: "place" }, String(i + 1)),
      h("span", { class: "name" }, String(row[part.x] ?? "—")),
      h("span", { class: "track" }, h("i", { style: { width: `${Math.max(0.5, (100 * Math.abs(value)) / most)}%` } })),
      h("span", { class: "n" }, withUnit(number(value), part.unit)));
  }));
}

function spark(values, bad = []) {
  const found = values.map((value) => (value === null ? 0 : Number(value)));
  const most = Math.max(...found, 1e-9), WIDTH = 5, HEIGHT = 20;
  return h("svg:svg", { class: "sgb-spark", width: found.length * WIDTH, height: HEIGHT, role: "img", "aria-label": `the last ${found.length}` },
    found.map((value, i) => {
      const high = Math.max(2, (value / most) * HEIGHT);
      return h("svg:rect", { class: bad[i] ? "bad" : "", x: i * WIDTH, y: HEIGHT - high, width: WIDTH - 1.5, height: high, rx: 1 });
    }));
}

// ---------------------------------------------------------------- tiles and tables

function tiles(rows) {
  return h("div", { class: "sgb-tiles" }, rows.map((row) => {
    const value = typeof row.value === "number" ? (row.kind === "duration" ? duration(row.value) : number(row.value)) : row.value ?? "—";
    const has = typeof row.before === "number" && typeof row.value === "number";
    const change = has && row.before ? (100 * (row.value - row.before)) / Math.abs(row.before) : null;
    const tone = change === null || Math.abs(change) < 0.05 ? "quiet" : change > 0 ? "good" : "bad";
    return h("div", { class: `sgb-tile ${TONES[row.tone] ? row.tone : ""}` },
      h("div", { class: "label" }, row.label),
      h("div", { class: "value" }, value, row.unit && h("small", {}, row.unit)),
      h("div", { class: "foot" },
        change !== null && h("span", { class: `delta ${tone}` }, `${change > 0 ? "▲" : change < 0 ? "▼" : ""} ${number(Math.abs(change), 1)} %`),
        change !== null ? `from ${withUnit(number(row.before), row.unit)}` : row.note ?? ""));
  }));
}

// `commands` in a text
const marked = (text) => h("span", {}, String(text).split("`").map((piece, i) => (i % 2 ? h("code", {}, piece) : piece)));

const CELLS = {
  text: (value) => (value === null || value === "" ? h("span", { class: "dim" }, "—") : marked(value)),
  number: (value, column) => (value === null ? h("span", { class: "dim" }, "—") : withUnit(number(value), column.unit)),
  duration: (value) => duration(value),
  status: (value) => h("span", { class: `sgb-chip ${toneOf(value)}` }, String(value ?? "—")),
  ago: (value) => (value ? h("span", { class: "sgb-ago", "data-at": value, title: when(value) }, "") : h("span", { class: "dim" }, "never")),
  spark: (value) => (value?.length ? spark(value.map((one) => (typeof one === "object" ? one.value : one)), value.map((one) => one?.bad)) : h("span", { class: "dim" }, "—")),
  change: (value) => h("span", {}, (value ?? []).map((one) => h("span", { class: "sgb-change" },
    h("span", { class: "dim" }, `${one.name} `), one.old !== undefined && one.old !== null && h("s", {}, String(one.old)),
    one.old !== undefined && one.old !== null && one.new !== undefined && one.new !== null && " → ",
    one.new !== undefined && one.new !== null && h("ins", {}, String(one.new))))),
  // an age as a bar that is full when the next sync is due; what is later than that is late
  lag: (value, column, row) => {
    if (value === null) return h("span", { class: "sgb-chip warn" }, "never");
    const share = row.every_s ? value / row.every_s : 0;
    return h("span", { class: `sgb-lag ${row.every_s && share > 1.5 ? (share > 3 ? "bad" : "warn") : "good"}`, title: row.every_s ? `due every ${duration(row.every_s)}` : "" },
      h("span", { class: "track" }, h("i", { style: { width: `${Math.min(100, Math.max(3, share * 100))}%` } })),
      h("span", { class: "sgb-age", "data-age": String(value), "data-from": String(Date.now()) }, duration(value)));
  },
};
const RIGHT = new Set(["number", "duration"]);
const PAGE = 12;

function table(part, rows) {
  const node = h("div", {});
  let shown = Math.min(rows.length, part.page || PAGE);
  const draw = () => {
    const head = part.columns.map((c) => h("th", { scope: "col", class: RIGHT.has(c.kind) ? "n" : "" }, c.label));
    const body = rows.slice(0, shown).map((row) => h("tr", {}, part.columns.map((c) =>
      h("td", { class: `${RIGHT.has(c.kind) ? "n" : ""} ${c.kind}` }, (CELLS[c.kind] ?? CELLS.text)(row[c.name] ?? null, c, row)))));
    node.replaceChildren(
      h("div", { class: "sgb-scroll" }, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body))),
      shown < rows.length ? h("button", { class: "sgb-more", on: { click: () => { shown = rows.length > shown * 4 ? shown * 4 : rows.length; draw(); } } },
        `Show more (${number(rows.length - shown)} of ${number(rows.length)} left)`) : "");
    tickAges(node);
  };
  draw();
  return node;
}

function tickAges(root) {
  for (const node of root.querySelectorAll(".sgb-ago")) node.textContent = `${age((Date.now() - new Date(node.dataset.at)) / 1000)} ago`;
  for (const node of root.querySelectorAll(".sgb-age")) node.textContent = age(Number(node.dataset.age) + (Date.now() - Number(node.dataset.from)) / 1000);
}

// ---------------------------------------------------------------- flaps

const FLIP_MS = 70; // one turn of a flap
const TURNS = 6; // at most, before it shows what it is to show
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 :-";
const calmly = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

// A board of flaps: rows of cells of a fixed number of characters. What changes turns over, from left to right.
class Flaps {
  constructor(part) {
    this.part = part;
    this.timers = new Set();
    this.rows = Array.from({ length: part.page }, () => {
      const cells = part.columns.map((column) => {
        const flaps = Array.from({ length: column.size }, () => h("i", {}, ""));
        return { column, flaps, shown: " ".repeat(column.size), node: h("td", {}, h("span", { class: "sgb-word", "aria-hidden": "true" }, flaps), h("span", { class: "sgb-said" })) };
      });
      return { cells, node: h("tr", {}, cells.map((cell) => cell.node)) };
    });
    this.node = h("div", { class: "sgb-flaps" }, h("table", {},
      h("thead", {}, h("tr", {}, part.columns.map((column) => h("th", { scope: "col" }, column.label)))),
      h("tbody", {}, this.rows.map((row) => row.node))));
  }

  show(rows) {
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
    const still = !this.drawn || calmly();
    this.drawn = true;
    this.rows.forEach((row, i) => {
      const found = rows[i];
      row.node.className = found && TONES[found.tone] ? found.tone : "";
      row.node.hidden = false;
      row.cells.forEach((cell, j) => {
        const value = found?.[cell.column.name];
        const said = value === null || value === undefined ? "" : String(value);
        cell.node.lastChild.textContent = said;
        cell.node.title = said.length > cell.column.size ? said : "";
        const text = said.toUpperCase().slice(0, cell.column.size).padEnd(cell.column.size);
        cell.flaps.forEach((flap, k) => this.turn(flap, text[k], still ? 0 : 12 * i + 18 * (j + k)));
      });
    });
  }

  turn(flap, letter, after) {
    if (flap.textContent === letter) return;
    if (!after) {
      flap.textContent = letter;
      return;
    }
    let left = 1 + Math.floor(Math.random() * TURNS);
    const next = () => {
      left -= 1;
      flap.textContent = left > 0 ? LETTERS[Math.floor(Math.random() * LETTERS.length)] : letter;
      flap.classList.toggle("turns", left > 0);
      if (left > 0) later(FLIP_MS);
    };
    const later = (ms) => {
      const timer = setTimeout(() => { this.timers.delete(timer); next(); }, ms);
      this.timers.add(timer);
    };
    later(after);
  }
}

const DRAW = {
  tiles: (part, rows) => tiles(rows), columns: columnChart, ranks, table: (part, rows) => table(part, rows),
};

// ---------------------------------------------------------------- the board

class BoardView {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.name = Math.random().toString(36).slice(2, 10);
    this.serial = 0;
    this.id = "";
    this.saving = new Map();
    this.values = {};
    this.alone = document.body.dataset.voila === "voila"; // the page is ours: filters go to its address, the stamp to its header
    this.node = h("div", { class: "sgb", "data-board": "" });
    this.bar = h("div", { class: "sgb-bar" });
    this.banner = h("div", { class: "sgb-banner", role: "alert" });
    this.line = h("div", { class: "sgb-line" });
    this.grid = h("div", { class: "sgb-grid" });
    this.node.append(this.bar, this.line, this.banner, this.grid);
    this.tip = new Tip(this.node);
    el.append(this.node);
    this.stamp = h("span", { class: "sgb-stamp", role: "status" });
    this.hear = (message) => this.answered(message);
    model.on("msg:custom", this.hear);
    this.replan = () => this.build();
    model.on("change:plan", this.replan);
    this.build();
    this.clock = setInterval(() => this.tick(), 1000);
    this.back = () => { this.values = this.fromAddress(); this.show(); };
    if (this.alone) window.addEventListener("popstate", this.back);
    this.values = this.fromAddress();
    this.show();
  }

  build() {
    const plan = this.model.get("plan");
    this.plan = plan;
    this.cards = new Map();
    this.stale = 0;
    const slot = this.alone && document.getElementById("sky-stamp");
    if (slot) slot.replaceChildren(this.stamp);
    this.controls = h("div", { class: "sgb-filters" });
    this.refresh = h("button", { class: "sgb-button", title: "Read it again now", on: { click: () => this.show() } }, "Refresh");
    this.bar.replaceChildren(...(slot ? [] : [h("span", { class: "sgb-title" }, plan.title)]), this.controls,
      h("span", { class: "sgb-grow" }), ...(slot ? [] : [this.stamp]), ...(plan.parts.length ? [this.refresh] : []));
    this.bar.hidden = Boolean(slot) && !plan.parts.length;
    for (const one of this.times?.values() ?? []) one.close();
    this.times = new Map(plan.filters.filter((one) => one.moments).map((one) => [one.name, new TimeBar({
      label: one.label, pick: (value) => { this.values = { ...this.values, [one.name]: value }; this.show(); },
    })]));
    this.line.replaceChildren(...[...this.times.values()].map((one) => one.node));
    this.grid.replaceChildren(...plan.parts.map((part) => {
      const body = h("div", { class: "sgb-body" }, h("div", { class: "sgb-wait" }, h("i"), h("i"), h("i")));
      const save = part.kind === "tiles" ? "" : h("button", {
        class: "sgb-save", title: "Download these rows as CSV", "aria-label": `Download ${part.title} as CSV`, on: { click: () => this.save(part, save) },
      }, "CSV");
      const head = part.kind === "tiles" ? "" : h("header", {}, h("h2", {}, part.title), part.note && h("span", { class: "note" }, part.note), save);
      const card = h("section", { class: `sgb-card ${part.kind}`, "data-part": part.id, style: { "--span": String(part.width) } }, head, body);
      this.cards.set(part.id, { card, body, part });
      return card;
    }));
  }

  fromAddress() {
    if (!this.alone) return {};
    const asked = new URLSearchParams(location.search);
    return Object.fromEntries(this.plan.filters.filter((f) => asked.has(f.name)).map((f) => [f.name, asked.get(f.name)]));
  }

  toAddress(filters) {
    if (!this.alone) return;
    const said = new URLSearchParams(location.search);
    for (const one of filters) {
      if (one.value === one.first) said.delete(one.name);
      else said.set(one.name, one.value);
    }
    const text = said.toString();
    history.replaceState(null, "", `${location.pathname}${text ? `?${text}` : ""}${location.hash}`);
  }

  ask(kind, more) {
    const id = `${this.name}.${++this.serial}`;
    try {
      this.model.send({ id, ask: kind, filters: this.values, ...more });
    } catch {
      this.lost();
    }
    clearTimeout(this.patience);
    this.patience = setTimeout(() => this.lost(), PATIENCE_MS);
    return id;
  }

  show() {
    clearTimeout(this.again);
    this.node.classList.add("busy");
    this.id = this.ask("show", {});
    this.asked = Date.now();
  }

  save(part, button) {
    if (this.saving.size) return;
    button.disabled = true;
    this.saving.set(this.ask("csv", { part: part.id }), button);
  }

  lost() {
    this.node.classList.remove("busy");
    this.say("This page has lost its connection.", "Reload", () => location.reload());
    if (this.alone && this.fresh) this.returning ??= setInterval(() => this.comeBack(), AGAIN_MS); // filters are in its address
  }

  async comeBack() {
    const answer = await fetch("/health").catch(() => null);
    if (answer?.ok && this.returning) location.reload();
  }

  say(text, action, run) {
    this.banner.replaceChildren(h("span", {}, text), action ? h("button", { class: "sgb-button", on: { click: run } }, action) : "");
    this.banner.classList.toggle("on", Boolean(text));
  }

  answered(message) {
    clearTimeout(this.patience);
    clearInterval(this.returning);
    this.returning = undefined;
    const button = this.saving.get(message.id);
    if (button) {
      this.saving.delete(message.id);
      button.disabled = false;
      if (message.error) this.say(words(message.error));
      else this.download(message.name, message.csv);
      return;
    }
    if (message.id !== this.id) return;
    if (message.refused) {
      this.node.classList.remove("busy");
      this.say(words(message.refused), "Show all", () => { this.values = {}; this.say(""); this.show(); });
      this.ready();
      return;
    }
    if (message.failed) {
      this.node.classList.remove("busy");
      this.say(words(message.failed), "Try again", () => this.show());
      this.again = setTimeout(() => this.show(), AGAIN_MS);
      this.ready();
      return;
    }
    if (message.filters) {
      this.say("");
      this.drawFilters(message.filters);
      this.drawStamp(message.stamp);
    }
    if (message.part) this.drawPart(message);
    if (message.done) {
      this.node.classList.remove("busy");
      for (const one of this.times.values()) one.arrived();
      this.node.dataset.shown = String(Number(this.node.dataset.shown ?? 0) + 1);
      this.ready();
    }
  }

  ready() {
    document.documentElement.dataset.skyReady = "yes";
  }

  drawFilters(filters) {
    this.values = Object.fromEntries(filters.map((one) => [one.name, one.value]));
    this.toAddress(filters);
    const held = document.activeElement?.dataset?.filter;
    for (const one of filters) {
      this.times.get(one.name)?.set(one.options.map(([value, label, count]) => ({ value, label, count })), one.value);
    }
    this.controls.replaceChildren(...filters.filter((one) => !this.times.has(one.name)).map((one) => h("label", {}, h("span", {}, one.label),
      h("select", { "data-filter": one.name, on: { change: (event) => { this.values = { ...this.values, [one.name]: event.target.value }; this.show(); } } },
        one.options.map(([value, label]) => h("option", { value, selected: value === one.value }, label))))));
    if (held) this.controls.querySelector(`[data-filter="${CSS.escape(held)}"]`)?.focus();
  }

  drawStamp(stamp) {
    this.fresh = stamp;
    this.freshFrom = Date.now();
    this.tick();
  }

  tick() {
    tickAges(this.grid);
    const stamp = this.fresh;
    if (stamp) {
      const old = stamp.age_s === null ? null : stamp.age_s + (Date.now() - this.freshFrom) / 1000;
      const late = old === null || (stamp.every_s && old > 3 * stamp.every_s);
      this.stamp.className = `sgb-stamp ${late ? "late" : ""}`;
      this.stamp.replaceChildren(h("i"), h("span", {}, old === null ? "no data yet" : `data as of ${age(old)} ago`));
      this.stamp.title = old === null ? "Nothing was synced yet."
        : `Oldest source behind this page: ${stamp.table}, synced ${when(stamp.at)}${stamp.watermark ? `, read up to ${stamp.watermark}` : ""}.`
          + (stamp.built_at ? ` Models built ${when(stamp.built_at)}.` : "") + (stamp.never ? ` ${stamp.never} table(s) were never synced.` : "");
    }
    const every = this.plan.every_s * 1000;
    if (every && !document.hidden && this.asked && Date.now() - this.asked > every && !this.node.classList.contains("busy") && this.fresh) this.show();
  }

  drawPart(message) {
    const held = this.cards.get(message.part);
    if (!held) return;
    const { card, body, part } = held;
    card.classList.toggle("wrong", Boolean(message.error));
    const same = JSON.stringify([message.rows, message.error]);
    if (held.same === same && part.kind !== "table") return;
    held.same = same;
    if (message.error) body.replaceChildren(h("div", { class: "sgb-empty", role: "alert" }, words(message.error)));
    else if (part.kind === "flaps") this.drawFlaps(held, message.rows);
    else if (!message.rows.length) body.replaceChildren(h("div", { class: "sgb-empty" }, marked(part.empty)));
    else body.replaceChildren(DRAW[part.kind](part, message.rows, this.tip));
  }

  drawFlaps(held, rows) {
    held.flaps ??= new Flaps(held.part);
    held.flaps.show(rows);
    if (!held.flaps.node.isConnected) held.body.replaceChildren(held.flaps.node);
  }

  download(name, text) {
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    const link = h("a", { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  close() {
    this.model.off("msg:custom", this.hear);
    this.model.off("change:plan", this.replan);
    window.removeEventListener("popstate", this.back);
    for (const one of this.times.values()) one.close();
    clearInterval(this.clock);
    clearTimeout(this.patience);
    clearTimeout(this.again);
    clearInterval(this.returning);
  }
}

const words = (error) => (error.hint ? `${error.message}; ${error.hint}` : error.message);

export default {
  render({ model, el }) {
    const view = new BoardView(model, el);
    return () => view.close();
  },
};
