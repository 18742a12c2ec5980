// The inspector in the browser: draws what the kernel answers, and asks it again while somebody looks.
//
// A question is {id, ask, ...}; its answer {id, answer}, {id, error: {message, hint}}, or {id, gone} when a newer one of its kind took its
// place. A section is asked for when it is opened; `now`, which is cheap, every few seconds, and only while the widget is on the screen of
// a visible page. Nothing that comes from the kernel becomes HTML: values are text nodes and attributes.

const PATIENCE_MS = 30_000; // without a word from the kernel, the page says so
const SLOWER = 5; // times, after an error
const COUNT_AGAIN_S = 0.5; // a count that took less is taken again by itself when the parts are others
const ROWS = 60; // parts that are listed at first
const FLASH_MS = 5_000;

function h(tag, props, ...children) {
  const node = document.createElement(tag);
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

const number = (value) => (value === null || value === undefined ? "—" : Number(value).toLocaleString("en-US"));
const plural = (count, noun) => `${number(count)} ${noun}${Number(count) === 1 ? "" : "s"}`;
const percent = (part, whole) => {
  const share = whole ? (100 * part) / whole : 0;
  return share > 0 && share < 0.1 ? "<0.1 %" : `${share.toFixed(share < 10 ? 1 : 0)} %`;
};
function size(bytes) {
  let left = Number(bytes ?? 0);
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (left < 1000) return unit === "B" ? `${left} B` : `${left.toFixed(1)} ${unit}`;
    left /= 1000;
  }
  return `${left.toFixed(1)} TB`;
}
const ms = (seconds) => `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
function age(seconds) {
  if (seconds === null || seconds === undefined) return "—";
  for (const [long, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (seconds >= long) return `${Math.round(seconds / long)} ${unit}`;
  return `${Math.max(0, Math.round(seconds))} s`;
}
const when = (text) => (text ? String(text).replace("T", " ").replace(/(\.\d{3})?\d*(\+00:00|Z)?$/, "$1").slice(0, 19) : "—");
const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1).replace(/[\ud800-\udbff]$/, "")}…` : text);
const words = (error) => h("span", {}, error.message, error.hint ? h("em", {}, `; ${error.hint}`) : "");
const chip = (text, tone = "", title = null) => h("span", { class: `sgi-chip ${tone}`, title }, text);
const STATES = { current: "good", deleted: "bad", superseded: "warn", merged: "" };

// ---------------------------------------------------------------- questions and answers

class Wire {
  constructor(model) {
    this.model = model;
    this.name = Math.random().toString(36).slice(2, 10);
    this.serial = 0;
    this.open = new Map(); // kind -> {id, done, failed}
    this.hear = (message) => this.answered(message);
    model.on("msg:custom", this.hear);
  }

  // A newer question of a kind takes the place of the one before.
  ask(kind, done, failed, more = {}) {
    clearTimeout(this.open.get(kind)?.patience);
    const id = `${this.name}.${++this.serial}`;
    const lost = () => { this.open.delete(kind); failed({ message: "The kernel of this inspector does not answer", hint: "run its cell again", kind: "lost" }); };
    this.open.set(kind, { id, done, failed, more, patience: setTimeout(lost, PATIENCE_MS * (["facts", "keys", "meter", "cost"].includes(kind) ? 10 : 1)) });
    try {
      this.model.send({ id, ask: kind, ...more });
    } catch {
      clearTimeout(this.open.get(kind).patience);
      lost();
    }
  }

  waits(kind) {
    return this.open.has(kind);
  }

  answered(message) {
    for (const [kind, one] of this.open) {
      if (one.id !== message.id) continue;
      clearTimeout(one.patience);
      this.open.delete(kind);
      if (message.error) one.failed(message.error);
      else if (!message.gone) one.done(message.answer);
      else setTimeout(() => this.waits(kind) || this.ask(kind, one.done, one.failed, one.more), 250); // another view asked the same
      return;
    }
  }

  close() {
    this.model.off("msg:custom", this.hear);
    for (const one of this.open.values()) clearTimeout(one.patience);
    this.open.clear();
  }
}

// ---------------------------------------------------------------- the picture of key ranges

// A line per part from its least key to its greatest, darker where more of its rows are; under them, how many parts lie over each key.
class KeyPicture {
  constructor(say) {
    this.say = say;
    this.canvas = h("canvas", { role: "img", tabindex: "0" });
    this.depth = h("canvas", { role: "img" });
    this.box = h("div", { class: "sgi-map" }, this.canvas);
    this.foot = h("div", { class: "sgi-ends" });
    this.node = h("div", {}, this.box, this.depth, this.foot);
    this.chosen = -1;
    this.canvas.addEventListener("pointermove", (event) => this.point(Math.floor((event.clientY - this.canvas.getBoundingClientRect().top) / this.step)));
    this.canvas.addEventListener("pointerleave", () => this.point(-1));
    this.canvas.addEventListener("keydown", (event) => {
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!by || !this.map) return;
      event.preventDefault();
      this.point(Math.max(0, Math.min(this.map.parts.length - 1, this.chosen + by)));
    });
    this.watch = new ResizeObserver(() => this.paint());
    this.watch.observe(this.node);
    this.theme = new MutationObserver(() => this.paint());
    this.theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "data-jp-theme-light", "class", "data-theme"] });
  }

  draw(map, fresh, merging) {
    this.map = map;
    this.fresh = fresh;
    this.merging = merging;
    const deepest = Math.max(0, ...map.depth);
    this.canvas.setAttribute("aria-label", `key ranges of ${plural(map.parts.length, "part")}; at most ${deepest} over one key`);
    this.depth.setAttribute("aria-label", `how many parts lie over each key: at most ${deepest}`);
    this.foot.replaceChildren(h("span", { class: "mono" }, cut(map.first, 40)), h("span", { class: "dim" }, `keys in order → parts over each: at most ${deepest}`), h("span", { class: "mono" }, cut(map.last, 40)));
    this.paint();
  }

  paint() {
    const { map, node } = this;
    const width = Math.floor(node.clientWidth);
    if (!map || width < 40) return;
    const look = getComputedStyle(node);
    const color = (name) => look.getPropertyValue(name).trim();
    this.step = map.parts.length > 200 ? 2 : map.parts.length > 60 ? 4 : map.parts.length > 20 ? 8 : 14;
    const gap = this.step > 4 ? 3 : this.step > 2 ? 1 : 0;
    const x = (bucket) => Math.round((bucket / map.buckets) * width); // whole pixels, so that neighbours neither overlap nor part
    const paper = this.sheet(this.canvas, width, Math.max(this.step, this.step * map.parts.length));
    map.parts.forEach((part, i) => {
      const [top, high] = [i * this.step, this.step - gap];
      const merges = this.merging.has(part.name), isNew = this.fresh.has(part.name);
      const base = merges ? color("--warn") : isNew ? color("--good") : color("--brand");
      paper.fillStyle = base;
      paper.globalAlpha = this.chosen === i ? 0.45 : 0.22;
      paper.fillRect(x(part.lo), top, Math.max(2, x(part.hi + 1) - x(part.lo)), high);
      const most = Math.max(1, ...part.cells.map(([, rows]) => rows));
      for (const [bucket, rows] of part.cells) {
        paper.globalAlpha = 0.25 + 0.65 * (rows / most);
        paper.fillRect(x(bucket), top, Math.max(1, x(bucket + 1) - x(bucket)), high);
      }
    });
    const HIGH = 34, deepest = Math.max(1, ...map.depth);
    const under = this.sheet(this.depth, width, HIGH);
    map.depth.forEach((count, bucket) => {
      under.fillStyle = count > 4 ? color("--bad") : count > 1 ? color("--warn") : color("--good");
      under.globalAlpha = 0.75;
      const high = count ? Math.max(2, (count / deepest) * (HIGH - 2)) : 0;
      under.fillRect(x(bucket), HIGH - high, Math.max(1, x(bucket + 1) - x(bucket)), high);
    });
  }

  sheet(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const paper = canvas.getContext("2d");
    paper.scale(ratio, ratio);
    return paper;
  }

  point(i) {
    const part = this.map?.parts[i];
    if (i === this.chosen) return;
    this.chosen = part ? i : -1;
    this.paint();
    this.say(part ? `${part.name}: ${plural(part.rows, "row")}, ${cut(part.first, 60)} to ${cut(part.last, 60)}` : "");
  }

  close() {
    this.watch.disconnect();
    this.theme.disconnect();
  }
}

// ---------------------------------------------------------------- the inspector

const TABS = [["rows", "Rows"], ["keys", "Keys"], ["parts", "Parts"], ["reading", "Reading"], ["schema", "Schema"], ["sync", "Sync"]];

class InspectorView {
  constructor(model, el) {
    this.model = model;
    this.plan = model.get("start");
    this.wire = new Wire(model);
    this.held = {}; // section -> what was answered last
    this.print = "";
    this.fresh = new Map(); // part -> when it was first seen
    this.keyText = this.plan.key;
    this.onlyChanged = true;
    this.picture = new KeyPicture((text) => { this.pointed.textContent = text || " "; });
    this.build(el);
    this.seen = false;
    this.eye = new IntersectionObserver(([entry]) => {
      this.seen = entry.isIntersecting;
      if (this.seen) this.look();
    });
    this.eye.observe(this.node);
    this.wake = () => { if (!document.hidden) this.look(); };
    document.addEventListener("visibilitychange", this.wake);
    this.clock = setInterval(() => this.tick(), 500);
    this.ask("head");
    this.open(this.plan.key ? "keys" : "rows");
    if (this.keyText) this.live(this.keyText);
  }

  build(el) {
    this.title = h("div", { class: "sgi-head" });
    this.strip = h("div", { class: "sgi-strip" });
    this.problem = h("div", { class: "sgi-problem", role: "alert", hidden: true });
    const tab = ([id, label], i) => h("button", {
      role: "tab", id: `${this.wire.name}-${id}`, "data-tab": id, "aria-selected": "false", tabindex: "-1", "aria-controls": `${this.wire.name}-panel`,
      on: {
        click: () => this.open(id),
        keydown: (event) => {
          const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: TABS.length - 1 }[event.key];
          if (to === undefined) return;
          event.preventDefault();
          const [next] = TABS[(to + TABS.length) % TABS.length];
          this.open(next);
          this.tabs.querySelector(`[data-tab="${next}"]`).focus();
        },
      },
    }, label);
    this.tabs = h("div", { class: "sgi-tabs", role: "tablist", "aria-label": "what to look at" }, TABS.map(tab));
    this.again = h("button", { class: "sgi-button", title: "Read this again now", on: { click: () => this.refresh() } }, "Refresh");
    this.panel = h("div", { class: "sgi-panel", role: "tabpanel", id: `${this.wire.name}-panel`, tabindex: "-1" });
    this.pointed = h("div", { class: "sgi-pointed mono dim", "aria-live": "polite" }, " ");
    this.node = h("div", { class: "sgi", "data-now": "0" }, this.title, this.strip, this.problem, h("div", { class: "sgi-bar" }, this.tabs, this.again), this.panel);
    // keys are the inspector's own here: JupyterLab's shortcuts of one letter would act on the notebook
    this.node.setAttribute("data-lm-suppress-shortcuts", "true");
    el.append(this.node);
    this.drawHead();
    this.drawStrip();
  }

  // --- asking

  ask(kind, more) {
    this.wire.ask(kind, (answer) => this.answered(kind, answer), (error) => this.failed(kind, error), more);
    this.busy();
  }

  busy() {
    this.node.classList.toggle("busy", [...this.wire.open.keys()].some((kind) => kind !== "now"));
  }

  answered(kind, answer) {
    this.busy();
    if (kind === "now") return this.heardNow(answer);
    this.held[kind === "cost" ? "price" : kind] = answer;
    if (kind !== "life" && this.wrong === kind) this.say(null);
    if (kind === "life") this.say(null);
    if (kind === "parts") this.note(answer.parts);
    if (kind === "head") this.drawHead();
    if (kind === "facts") this.countedAt = Date.now();
    this.draw();
  }

  failed(kind, error) {
    this.busy();
    if (kind === "now") {
      this.slow = true;
      this.running = false;
      this.node.classList.remove("live");
      this.say(error, kind);
      return;
    }
    if (kind === "life") this.held.life = null;
    this.say(error, kind);
    this.draw();
  }

  say(error, kind = "") {
    this.wrong = error ? kind : "";
    this.problem.hidden = !error;
    this.problem.replaceChildren(...(error ? [words(error)] : []));
  }

  // --- what changes by itself

  tick() {
    this.drawHead();
    const wait = this.plan.every_s * 1000 * (this.slow ? SLOWER : 1);
    if (Date.now() - (this.lookedAt ?? 0) >= wait) this.look();
    if ([...this.fresh.values()].some((at) => at && Date.now() - at > FLASH_MS)) {
      for (const [name, at] of this.fresh) if (at && Date.now() - at > FLASH_MS) this.fresh.set(name, 0);
      if (this.tab === "parts") this.drawParts();
    }
  }

  look() {
    if (!this.seen || document.hidden || this.wire.waits("now")) return;
    this.lookedAt = Date.now();
    this.ask("now");
  }

  heardNow(now) {
    this.node.classList.add("live");
    this.slow = false;
    if (this.wrong === "now") this.say(null);
    const before = this.held.now;
    this.held.now = now;
    this.node.dataset.now = String(Number(this.node.dataset.now) + 1);
    this.drawStrip();
    const ended = before?.runs && !now.runs;
    if (ended || (before && before.print !== now.print)) this.ask("head");
    if (!before || before.print === now.print) {
      if (this.tab === "parts" && this.held.parts) this.drawParts();
      return;
    }
    if (this.tab === "parts") this.ask("parts"), this.ask("ranges");
    else this.held.parts = this.held.ranges = undefined;
    const f = this.held.facts;
    if (f && f.seconds_current + f.seconds_raw < COUNT_AGAIN_S) {
      if (this.tab === "rows") this.ask("facts"), this.ask("tombstones");
      else this.held.facts = undefined;
    } else if (f) this.draw();
    if (this.keyText && this.held.life) {
      if (this.tab === "keys") this.ask("life", { key: this.keyText });
    }
  }

  // which parts were not there at the last look
  note(parts) {
    const known = this.fresh.size > 0;
    const here = new Set(parts.map((part) => part.name));
    for (const name of [...this.fresh.keys()]) if (!here.has(name)) this.fresh.delete(name);
    for (const name of here) if (!this.fresh.has(name)) this.fresh.set(name, known ? Date.now() : 0);
  }

  // --- opening

  open(tab) {
    this.tab = tab;
    if (this.wrong && this.wrong !== "now") this.say(null); // it was of what is left now
    for (const button of this.tabs.children) {
      const on = button.dataset.tab === tab;
      button.setAttribute("aria-selected", String(on));
      button.setAttribute("tabindex", on ? "0" : "-1");
      if (on) this.panel.setAttribute("aria-labelledby", button.id);
    }
    const wanted = { rows: ["facts", "tombstones"], keys: ["keys"], parts: ["parts", "ranges"], reading: ["meter", "price"], schema: ["schema"], sync: ["head"] }[tab];
    for (const kind of wanted) if (this.held[kind] === undefined && !this.wire.waits(kind)) this.ask(kind);
    this.draw();
  }

  refresh() {
    this.say(null);
    const wanted = { rows: ["head", "facts", "tombstones"], keys: ["keys"], parts: ["parts", "ranges"], reading: ["meter", "price"], schema: ["schema"], sync: ["head"] }[this.tab];
    for (const kind of wanted) this.ask(kind);
    if (this.tab === "keys" && this.keyText) this.ask("life", { key: this.keyText });
    this.lookedAt = 0;
  }

  live(key) {
    this.keyText = key;
    this.held.life = undefined;
    if (this.box && this.box.value !== key) this.box.value = key;
    this.ask("life", { key });
    this.draw();
  }

  // --- drawing

  draw() {
    const parts = { rows: () => this.drawRows(), keys: () => this.drawKeys(), parts: () => this.drawParts(), reading: () => this.drawReading(), schema: () => this.drawSchema(), sync: () => this.drawSync() };
    parts[this.tab]?.();
    this.panel.dataset.tab = this.tab;
  }

  put(...nodes) {
    this.panel.replaceChildren(...nodes.flat().filter(Boolean));
  }

  wait() {
    return h("div", { class: "sgi-wait", "aria-label": "reading" }, h("i"), h("i"), h("i"));
  }

  drawHead() {
    const head = this.held.head;
    const sync = head?.sync;
    const said = JSON.stringify([head, sync && Math.round((Date.now() - (this.headAt ?? 0)) / 1000)]);
    if (head !== this.headShown) this.headAt = Date.now();
    this.headShown = head;
    if (said === this.headSaid) return;
    this.headSaid = said;
    const lag = sync?.lag_s === null || sync?.lag_s === undefined ? null : sync.lag_s + (Date.now() - this.headAt) / 1000;
    this.title.replaceChildren(
      h("b", { class: "mono" }, this.plan.table),
      ...(head ? [chip(head.engine, "brand")] : []),
      ...(head?.key.length ? [h("span", { class: "dim" }, "key ", h("span", { class: "mono" }, head.key.join(", ")))] : []),
      h("span", { class: "sgi-grow" }),
      ...(sync ? [
        h("span", { class: sync.overdue ? "warn" : "dim", title: sync.every_s ? `due every ${age(sync.every_s)}` : null },
          lag === null ? "never synced" : `synced ${age(lag)} ago`),
        ...(sync.watermark ? [h("span", { class: "dim" }, "watermark ", h("span", { class: "mono" }, when(sync.watermark)))] : []),
        ...(sync.last_status === "failed" ? [chip("last run failed", "bad", sync.error)] : []),
      ] : []),
    );
  }

  drawStrip() {
    const now = this.held.now;
    const runs = now?.runs, merges = now?.merges ?? [];
    const rate = runs?.seconds ? Math.round(runs.read / Math.max(runs.seconds, 0.1)) : 0;
    this.strip.replaceChildren(
      h("span", { class: "sgi-dot", title: "looked at while you look" }),
      h("span", {}, h("b", {}, number(now?.rows)), " physical rows"),
      h("span", {}, h("b", {}, number(now?.parts)), ` part${now?.parts === 1 ? "" : "s"}`),
      h("span", {}, h("b", {}, now ? size(now.bytes) : "—"), " on disk"),
      h("span", { class: "sgi-grow" }),
      ...(runs ? [chip(`sync is writing: ${number(runs.read)} rows read, ${number(rate)}/s, ${age(runs.seconds)}`, "brand sgi-run")] : []),
      ...(merges.length ? [chip(`${plural(merges.length, "merge")}, ${Math.round(100 * merges[0].progress)} %`, "warn sgi-merging")] : [h("span", { class: "dim sgi-calm" }, "no merge")]),
    );
  }

  drawRows() {
    const f = this.held.facts;
    if (!f) return this.put(this.wrong === "facts" ? "" : this.wait());
    const gone = f.superseded_rows ?? 0;
    const marks = Math.min(f.deleted_keys ?? 0, gone);
    const shown = [["current", f.current_rows ?? 0, "good"], ["superseded", gone - marks, "warn"], ["deletion marks", marks, "bad"]].filter(([, count]) => count > 0);
    const whole = f.physical_rows || 0;
    const says = shown.map(([name, count]) => `${number(count)} ${name}`).join(", ");
    const bar = whole && f.merges ? h("div", {},
      h("div", { class: "sgi-split", role: "img", "aria-label": says }, shown.map(([name, count, tone]) => h("i", { class: tone, title: `${name}: ${number(count)}`, style: { flex: `${count} 1 3px` } }))),
      h("div", { class: "sgi-legend" }, shown.map(([name, count, tone]) => h("span", {}, h("i", { class: tone }), h("b", {}, number(count)), ` ${name} `, h("span", { class: "dim" }, percent(count, whole)))))) : "";
    const t = this.held.tombstones;
    const tile = (label, value, note = "") => h("div", { class: "sgi-tile" }, h("div", { class: "label" }, label), h("div", { class: "value" }, value), h("div", { class: "dim" }, note));
    const tiles = h("div", { class: "sgi-tiles" },
      tile(f.is_view ? "rows" : "current rows", number(f.current_rows)),
      tile(f.is_view ? "without FINAL" : "physical rows", number(f.physical_rows), f.current_rows && f.merges ? `${(f.physical_rows / f.current_rows).toFixed(2)} per current` : ""),
      f.keys !== null && tile("keys", number(f.keys), `${number(f.deleted_keys)} deleted`),
      t && f.deleted_keys !== null && tile("tombstones", number(t.rows), t.rows ? `${size(t.bytes_on_disk)} in ${plural(t.parts, "part")}, oldest ${when(t.oldest)}` : ""),
      (f.merges || f.is_view) && tile("a count of current rows", ms(f.seconds_current), f.seconds_raw ? `${(f.seconds_current / f.seconds_raw).toFixed(1)}× without FINAL` : ""),
      tile(f.merges || f.is_view ? "the same without FINAL" : "a count", ms(f.seconds_raw)));
    const now = this.held.now;
    const old = now && f.merges && Number(now.rows) !== f.physical_rows;
    this.put(bar, tiles, h("div", { class: `sgi-verdict ${f.tone}` }, f.verdict),
      old && h("div", { class: "sgi-verdict warn" }, "the rows changed since they were counted ", h("button", { class: "sgi-button", on: { click: () => this.refresh() } }, "Count again")));
  }

  drawKeys() {
    const found = this.held.keys;
    const typed = this.box?.value ?? this.keyText, focused = this.box && document.activeElement === this.box;
    this.box = h("input", {
      class: "mono", "aria-label": "key", placeholder: this.held.head?.key.length > 1 ? `${this.held.head.key.join(", ")}: values between commas` : "a key; press Enter", spellcheck: "false", maxlength: "4000",
      on: { keydown: (event) => { if (event.key === "Enter" && this.box.value.trim()) this.live(this.box.value); } },
    });
    this.box.value = typed;
    const go = h("button", { class: "sgi-button", on: { click: () => this.box.value.trim() && this.live(this.box.value) } }, "Versions");
    const item = (one, i) => h("button", {
      role: "option", "data-key": one.key, "aria-selected": String(one.key === this.keyText), tabindex: one.key === this.keyText || (!i && !found.keys.some((k) => k.key === this.keyText)) ? "0" : "-1",
      on: {
        click: () => { this.live(one.key); this.panel.querySelector("[role=option][aria-selected=true]")?.focus(); },
        keydown: (event) => {
          const to = { ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: found.keys.length - 1 }[event.key];
          if (to === undefined) return;
          event.preventDefault();
          this.panel.querySelectorAll("[role=option]")[Math.max(0, Math.min(found.keys.length - 1, to))].focus();
        },
      },
    }, h("span", { class: "mono" }, cut(one.key, 60) || "''"), one.deleted && chip("deleted", "bad"), h("span", { class: "n" }, number(one.versions)));
    const scrolled = this.panel.querySelector(".sgi-list")?.scrollTop ?? 0;
    const list = !found ? this.wait() : found.why ? h("div", { class: "sgi-empty" }, found.why)
      : found.keys.length ? h("div", { class: "sgi-list", role: "listbox", "aria-label": "keys with most versions" }, found.keys.map(item))
        : h("div", { class: "sgi-empty" }, "Every key has one version in the table now.");
    const left = h("div", { class: "sgi-pane" }, h("div", { class: "label" }, found?.keys.length === found?.most ? `the ${found?.most ?? ""} keys with most versions` : "keys with several versions"), list);
    const right = h("div", { class: "sgi-pane" }, h("div", { class: "sgi-row" }, this.box, go), this.lifeOf());
    this.put(h("div", { class: "sgi-panes" }, left, right));
    const listed = this.panel.querySelector(".sgi-list");
    if (listed) listed.scrollTop = scrolled;
    if (focused) this.box.focus();
  }

  lifeOf() {
    const life = this.held.life;
    if (!this.keyText) return h("div", { class: "sgi-empty" }, "Choose or type a key to see its life.");
    if (life === null) return "";
    if (!life) return this.wait();
    const versions = life.versions;
    const moved = life.columns.map((_, i) => versions.some((v) => v.cells[i].was !== undefined));
    const few = this.onlyChanged && versions.length > 1 && moved.some(Boolean);
    const rows = life.columns.map((name, i) => [name, i]).filter(([, i]) => !few || moved[i]);
    const text = (cell) => (cell.text === null ? h("span", { class: "dim" }, "—") : cell.text === "" ? h("span", { class: "dim" }, "''") : cell.text);
    const head = (label, cell) => h("tr", { class: "about" }, h("th", { scope: "row" }, label), versions.map((v, i) => h("td", {}, cell(v, i))));
    const table = h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, ""), versions.map((v) => h("th", { scope: "col" },
        chip(v.is_tombstone && v.state !== "deleted" ? `${v.state}, deleted` : v.state, STATES[v.state] ?? "", v.expires_at ? `kept until ${when(v.expires_at)}` : null))))),
      h("tbody", {},
        head("written", (v) => when(v.at)),
        head("run", (v) => (v.run_id ? h("span", { title: v.run_id }, v.mode || "sync", " ", h("span", { class: "mono" }, v.run_id.slice(0, 8))) : "—")),
        head("part", (v) => h("span", { class: "mono" }, v.part || "—")),
        rows.map(([name, i]) => h("tr", {}, h("th", { scope: "row" }, name), versions.map((v) => {
          const cell = v.cells[i];
          return h("td", {}, cell.was === undefined ? text(cell) : h("mark", { title: `was ${cell.was === null ? "nothing" : cell.was}` }, text(cell)));
        })))));
    const merged = versions.filter((v) => v.state === "merged").length;
    const toggle = versions.length > 1 && moved.some(Boolean) && moved.some((one) => !one) && h("label", { class: "dim" },
      h("input", { type: "checkbox", checked: this.onlyChanged, on: { change: (event) => { this.onlyChanged = event.target.checked; this.drawKeys(); } } }), " only columns that changed");
    return h("div", {},
      h("div", { class: "sgi-row sgi-said" }, h("b", { class: "mono" }, cut(life.key, 80)), h("span", { class: "dim" },
        `${plural(life.total, "version")}${merged ? `, ${merged} that merges took from the table` : ""}; newest first, `, h("mark", {}, "marked"), " where it differs from the one before"), toggle),
      life.gaps > 0 && h("div", { class: "sgi-verdict warn" }, `${plural(life.gaps, "run")} since the first of these replaced too many rows to keep them: versions may be missing`),
      h("div", { class: "sgi-scroll sgi-life" }, table));
  }

  drawParts() {
    const parts = this.held.parts, ranges = this.held.ranges, now = this.held.now;
    if (!parts) return this.put(this.wrong === "parts" ? "" : this.wait());
    if (!parts.total) return this.put(h("div", { class: "sgi-empty" }, this.held.head?.is_view ? "A view has no parts; inspect what it reads." : "No part: the table has no row."));
    const merges = now?.merges ?? parts.merges;
    const merging = new Set(merges.flatMap((m) => m.sources ?? []));
    const fresh = new Set([...this.fresh].filter(([, at]) => at).map(([name]) => name));
    const moving = h("div", { class: "sgi-merges" }, merges.map((m) => h("div", { class: "sgi-merge" },
      h("span", { class: "mono" }, m.result_part), h("span", { class: "dim" }, `from ${plural(m.parts, "part")}, ${number(m.rows_read)} rows read, ${age(m.elapsed_s)}`),
      h("span", { class: "track" }, h("i", { style: { width: `${Math.round(100 * m.progress)}%` } })), h("span", { class: "n" }, `${Math.round(100 * m.progress)} %`))));
    let picture = this.wrong === "ranges" ? "" : this.wait();
    if (ranges?.parts.length) {
      const share = ranges.rows ? ranges.rows_overlapping / ranges.rows : 0;
      picture = h("div", {},
        h("div", { class: "sgi-row" }, h("span", { class: "label" }, "key ranges of the parts"), h("span", { class: "dim" },
          share ? `about ${percent(ranges.rows_overlapping, ranges.rows)} of the rows lie in ranges that overlap, or in parts never merged: FINAL merges those` : "no parts overlap: FINAL has nothing to merge"),
          h("span", { class: "sgi-grow" }), h("span", { class: "dim" }, `read in ${ms(ranges.seconds)}`)),
        this.picture.node, this.pointed);
    } else if (ranges) picture = h("div", { class: "sgi-empty" }, "No key, so no ranges of keys.");
    const bounds = new Map((ranges?.parts ?? []).map((p) => [p.name, p]));
    const shown = parts.parts.slice(0, this.shownParts ?? ROWS);
    const row = (p) => h("tr", { class: merging.has(p.name) ? "merging" : fresh.has(p.name) ? "fresh" : "" },
      h("td", { class: "mono" }, p.name, " ", merging.has(p.name) ? chip("merging", "warn") : fresh.has(p.name) ? chip("new", "good") : ""),
      p.partition && p.partition !== "tuple()" ? h("td", {}, p.partition) : h("td", {}, ""), h("td", { class: "n" }, p.level), h("td", { class: "n" }, number(p.rows)), h("td", { class: "n" }, size(p.bytes_on_disk)),
      h("td", { class: "mono" }, cut(bounds.get(p.name)?.first ?? "", 30)), h("td", { class: "mono" }, cut(bounds.get(p.name)?.last ?? "", 30)), h("td", { class: "n" }, age(p.age_s)));
    const scrolled = this.panel.querySelector(".sgi-parts")?.scrollTop ?? 0;
    const columns = [["part", ""], ["partition", ""], ["level", "n"], ["rows", "n"], ["size", "n"], ["least key", ""], ["greatest key", ""], ["age", "n"]];
    const table = h("div", { class: "sgi-scroll sgi-parts" }, h("table", {}, h("thead", {}, h("tr", {}, columns.map(([name, kind]) => h("th", { scope: "col", class: kind }, name)))), h("tbody", {}, shown.map(row))));
    const more = parts.total > shown.length && h("button", { class: "sgi-button", disabled: shown.length >= parts.parts.length, on: { click: () => { this.shownParts = (this.shownParts ?? ROWS) * 5; this.drawParts(); } } },
      shown.length >= parts.parts.length ? `the largest ${number(parts.parts.length)} of ${plural(parts.total, "part")}` : `Show more of ${plural(parts.total, "part")}`);
    this.put(moving, picture, table, more);
    const listed = this.panel.querySelector(".sgi-parts");
    if (listed) listed.scrollTop = scrolled;
    if (ranges?.parts.length) this.picture.draw(ranges, fresh, merging);
  }

  // what a read that forgot FINAL would get wrong, and what reading current rows costs
  drawReading() {
    const m = this.held.meter, p = this.held.price;
    const shares = (a) => [...a.earlier.map((e) => e.share ?? 0), a.share ?? 0];
    const most = (a) => Math.max(1e-9, ...shares(a).map(Math.abs));
    const course = (a) => h("span", { class: "sgi-course", title: [...a.earlier.map((e) => `${when(e.measured_at)}: ${((e.share ?? 0) * 100).toFixed(2)} % in ${plural(e.parts, "part")}`), "now"].join("\n") },
      shares(a).map((share, i) => h("i", { class: i === a.earlier.length ? "now" : "", style: { height: `${Math.max(1, (18 * Math.abs(share)) / most(a))}px` } })));
    const text = (value) => (typeof value === "number" ? number(value) : value ?? "—");
    const errors = !m ? (this.wrong === "meter" ? "" : this.wait()) : m.why ? h("div", { class: "sgi-empty" }, m.why) : h("div", { class: "sgi-scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, [["aggregate", ""], ["current", "n"], ["raw", "n"], ["raw would be", ""], ["over time", ""]].map(([name, kind]) => h("th", { scope: "col", class: kind }, name)))),
      h("tbody", {}, m.aggregates.map((a) => h("tr", {}, h("td", { class: "mono" }, a.aggregate), h("td", { class: "n" }, text(a.current)), h("td", { class: "n" }, text(a.raw)),
        h("td", {}, a.words === "right" ? chip("right", "good") : h("b", { class: "warn" }, a.words)), h("td", {}, course(a)))))));
    const width = (value) => `${Math.max(1, (100 * value) / Math.max(p.predicted_ms, p.predicted_raw_ms, p.actual_ms ?? 0, 0.001))}%`;
    const bar = (label, value, tone) => h("div", { class: "sgi-price" }, h("span", { class: "dim" }, label), h("span", { class: "track" }, h("i", { class: tone, style: { width: width(value) } })), h("span", { class: "n" }, ms(value / 1000)));
    const cost = !p ? (["price", "cost"].includes(this.wrong) ? "" : this.wait()) : !p.reads.length ? h("div", { class: "sgi-empty" }, "It has no versions: current rows cost nothing more.") : h("div", {},
      bar("without FINAL, predicted", p.predicted_raw_ms, "good"), bar("current rows, predicted", p.predicted_ms, "warn"), p.actual_ms !== null && bar("current rows, it took", p.actual_ms, "brand"),
      h("div", { class: "sgi-row" }, h("span", { class: "dim" }, p.words), h("span", { class: "sgi-grow" }), h("button", { class: "sgi-button", title: "Read every column once and tell what it took", disabled: this.wire.waits("cost"), on: { click: () => { this.ask("cost"); this.drawReading(); } } }, p.actual_ms === null ? "Measure it" : "Measure again")),
      p.advice.map((line) => h("div", { class: "sgi-verdict bad" }, line.split("`").map((piece, i) => (i % 2 ? h("code", {}, piece) : piece)))));
    this.put(h("div", { class: "label" }, "aggregates over physical rows instead of current ones"), errors, h("div", { class: "label" }, "what reading every column costs"), cost);
  }

  drawSchema() {
    const s = this.held.schema;
    if (!s) return this.put(this.wrong === "schema" ? "" : this.wait());
    const table = h("table", {},
      h("thead", {}, h("tr", {}, [["column", ""], ["type", ""], ["", ""], ["default", ""], ["on disk", "n"], ["comment", ""]].map(([name, kind]) => h("th", { scope: "col", class: kind }, name)))),
      h("tbody", {}, s.columns.map((c) => h("tr", {}, h("td", { class: "mono" }, c.name), h("td", { class: "mono" }, c.type), h("td", {}, c.in_key ? chip("key", "brand") : c.name === s.version ? chip("version") : c.name === s.deleted ? chip("deleted") : ""),
        h("td", { class: "mono" }, c.default || ""), h("td", { class: "n", title: c.uncompressed ? `${size(c.uncompressed)} uncompressed` : null }, c.compressed ? size(c.compressed) : ""), h("td", {}, c.comment || "")))));
    this.put(s.comment && h("div", {}, s.comment), s.reads.length > 0 && h("div", { class: "dim" }, "reads ", h("span", { class: "mono" }, s.reads.join(", "))),
      h("div", { class: "sgi-scroll" }, table), h("div", { class: "label" }, "DDL"), h("pre", { class: "sgi-ddl", tabindex: "0" }, s.ddl));
  }

  drawSync() {
    const head = this.held.head;
    if (!head) return this.put(this.wrong === "head" ? "" : this.wait());
    const s = head.sync;
    if (!s) return this.put(h("div", { class: "sgi-empty" }, head.table.startsWith("raw.") ? "No table of sync_jobs/ lands here." : "Sync does not write this table."));
    const facts = [["source", s.source], ["watermark", s.watermark || "none: every row is compared"], ["moved by", s.moved_by || "—"], ["lag", s.lag_s === null ? "never synced" : age(s.lag_s)], ["due every", s.every_s ? age(s.every_s) : "—"], ["in quarantine", number(s.quarantined)]];
    const columns = [["finished", ""], ["mode", ""], ["status", ""], ["read", "n"], ["inserted", "n"], ["deleted", "n"], ["seconds", "n"]];
    const runs = [...s.runs].reverse();
    this.put(h("dl", { class: "sgi-facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", { class: "mono" }, value)])),
      s.error && h("div", { class: "sgi-verdict bad" }, s.error),
      runs.length ? h("div", { class: "sgi-scroll" }, h("table", {}, h("thead", {}, h("tr", {}, columns.map(([name, kind]) => h("th", { scope: "col", class: kind }, name)))),
        h("tbody", {}, runs.map((r) => h("tr", {}, h("td", {}, when(r.finished_at)), h("td", {}, r.mode), h("td", {}, chip(r.status, r.status === "ok" ? "good" : "bad")), h("td", { class: "n" }, number(r.rows_read)), h("td", { class: "n" }, number(r.inserted)), h("td", { class: "n" }, number(r.deleted)), h("td", { class: "n" }, Number(r.seconds).toFixed(2))))))) : h("div", { class: "sgi-empty" }, "No run yet."));
  }

  close() {
    clearInterval(this.clock);
    document.removeEventListener("visibilitychange", this.wake);
    this.eye.disconnect();
    this.picture.close();
    this.wire.close();
  }
}

export default {
  render({ model, el }) {
    const view = new InspectorView(model, el);
    return () => view.close();
  },
};
