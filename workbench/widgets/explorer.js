// The explorer in the browser: draws what the kernel answers, and asks it for more.
//
// The one state is a short text, such as `Customer[country=Brazil]/invoices sort=-total`; only the kernel reads and writes
// it. Here it is carried along. The kernel speaks first only through the trait `news`. What stands in grid.js comes before this.

const PAGE = 100; // rows asked for at once
const NEAR = 8; // objects that a link of the graph shows at first
const NEAR_MOST = 24; // and when asked for more; what is beyond is opened as a set
const TYPES_MOST = 36; // types of the drawing at the beginning
const NODES_MOST = 160; // nodes of a graph

const OPERATORS = {
  string: ["=", "!=", "contains", "starts with", "in", "is null", "is not null"],
  boolean: ["=", "is null", "is not null"],
  other: ["=", "!=", ">", ">=", "<", "<=", "in", "is null", "is not null"],
};
const OPERATOR_WORDS = {
  "=": "is", "!=": "is not", contains: "contains", "starts with": "starts with", in: "is one of (a, b)",
  "is null": "has no value", "is not null": "has a value", ">": ">", ">=": "≥", "<": "<", "<=": "≤",
};

// ---------------------------------------------------------------- drawings of nodes and lines

// Nodes that push each other away and lines that pull, until it is quiet.
class Drawing {
  constructor(hooks) {
    this.hooks = hooks;
    this.nodes = new Map();
    this.lines = new Map();
    this.view = null; // what the person moved to; null: everything fits
    this.paths = h("svg:g", {});
    this.words = h("svg:g", { class: "sgx-words" });
    this.marks = h("svg:g", {});
    this.svg = h("svg:svg", { class: "sgx-svg", role: "group", "aria-label": hooks.label, on: {
      wheel: (event) => this.zoom(event), pointerdown: (event) => this.grab(event),
    } }, this.paths, this.words, this.marks);
    this.heat = 0;
    this.frame = 0;
    this.watch = new ResizeObserver(() => this.fit());
    this.watch.observe(this.svg);
  }

  add(node, near) {
    const found = this.nodes.get(node.id);
    if (found) return found;
    const angle = this.nodes.size * 2.4;
    const reach = near ? 70 : 30 + 14 * this.nodes.size;
    const seed = this.hooks.seed?.get(node.id);
    Object.assign(node, seed ?? { x: (near?.x ?? 0) + reach * Math.cos(angle), y: (near?.y ?? 0) + reach * Math.sin(angle) }, { tall: 14 });
    this.nodes.set(node.id, node);
    node.mark = this.hooks.draw(node);
    node.mark.classList.add("sgx-node");
    node.mark.setAttribute("data-node", node.id);
    node.mark.setAttribute("tabindex", "0");
    node.mark.setAttribute("role", "button");
    const run = () => this.hooks.click(node);
    node.mark.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      run();
    });
    node.mark.addEventListener("click", () => !this.moved && run());
    this.marks.append(node.mark);
    return node;
  }

  join(a, b, props = {}) {
    const id = `${a.id}\n${b.id}\n${props.name ?? ""}`;
    if (this.lines.has(id)) return;
    const path = h("svg:path", { class: `sgx-line ${props.look ?? ""}` });
    const word = props.name ? h("svg:text", { class: "sgx-word", "text-anchor": "middle" }, props.name) : null;
    this.paths.append(path);
    if (word) this.words.append(word);
    this.lines.set(id, { a, b, path, word, bend: props.bend ?? 0, length: props.length ?? 60 });
  }

  drop(id) {
    const node = this.nodes.get(id);
    if (!node) return;
    node.mark.remove();
    this.nodes.delete(id);
    for (const [key, line] of this.lines) {
      if (line.a !== node && line.b !== node) continue;
      line.path.remove();
      line.word?.remove();
      this.lines.delete(key);
    }
  }

  settle(heat = 1) {
    this.heat = Math.max(this.heat, heat);
    if (calm()) {
      for (let i = 0; i < 60; i++) this.step();
      if (heat === 1) this.level();
      while (this.heat > 0.02) this.step();
      this.place();
    } else {
      // most of the way at once, the rest to be seen
      for (let i = 0; i < 60 && this.heat > 0.3; i++) this.step();
      if (heat === 1) this.level();
      if (!this.frame) this.frame = requestAnimationFrame(() => this.tick());
    }
  }

  // Turns the whole so that it lies wide rather than tall.
  level() {
    const nodes = [...this.nodes.values()];
    const mx = nodes.reduce((sum, n) => sum + n.x, 0) / nodes.length, my = nodes.reduce((sum, n) => sum + n.y, 0) / nodes.length;
    let xx = 0, yy = 0, xy = 0;
    for (const n of nodes) { xx += (n.x - mx) ** 2; yy += (n.y - my) ** 2; xy += (n.x - mx) * (n.y - my); }
    const angle = -0.5 * Math.atan2(2 * xy, xx - yy), cos = Math.cos(angle), sin = Math.sin(angle);
    for (const n of nodes) {
      const x = n.x - mx, y = n.y - my;
      n.x = x * cos - y * sin;
      n.y = x * sin + y * cos;
    }
  }

  tick() {
    this.frame = 0;
    for (let i = 0; i < 2 && this.heat > 0.02; i++) this.step();
    this.place();
    if (this.heat > 0.02) this.frame = requestAnimationFrame(() => this.tick());
    else this.svg.setAttribute("data-quiet", "");
  }

  // One step: all nodes push each other away, lines pull their ends together, and no two nodes lie on each other.
  step() {
    const nodes = [...this.nodes.values()], reach = this.hooks.reach ?? 90, pull = 0.035 + nodes.length * 0.0012;
    this.svg.removeAttribute("data-quiet");
    for (const node of nodes) { node.vx = -node.x * pull; node.vy = -node.y * pull * 2.6; }
    for (let i = 0; i < nodes.length; i++) {
      const a = nodes[i];
      for (let j = i + 1; j < nodes.length; j++) {
        const b = nodes[j];
        const dx = a.x - b.x || 0.1 * (i - j), dy = a.y - b.y || 0.1, far = Math.hypot(dx, dy);
        if (far > reach * 5) continue;
        const push = (reach * reach) / (far * far);
        a.vx += dx * push; a.vy += dy * push; b.vx -= dx * push; b.vy -= dy * push;
      }
    }
    for (const { a, b, length } of this.lines.values()) {
      const dx = b.x - a.x, dy = b.y - a.y, far = Math.hypot(dx, dy) || 1, draw = far / length;
      a.vx += dx * draw; a.vy += dy * draw; b.vx -= dx * draw; b.vy -= dy * draw;
    }
    const most = 38 * this.heat;
    for (const node of nodes) {
      if (node.held) continue;
      const far = Math.hypot(node.vx, node.vy) || 1, by = Math.min(far, most) / far;
      node.x += node.vx * by; node.y += node.vy * by;
    }
    for (let i = 0; i < nodes.length; i++) {
      for (let j = i + 1; j < nodes.length; j++) {
        const a = nodes[i], b = nodes[j];
        const dx = b.x - a.x, dy = b.y + (b.low ?? 0) - a.y - (a.low ?? 0);
        const over = a.room + b.room + 10 - Math.abs(dx), under = a.tall + b.tall + 8 - Math.abs(dy);
        if (over <= 0 || under <= 0) continue;
        if (over < under) { const by = (Math.sign(dx) || 1) * over * 0.25; if (!a.held) a.x -= by; if (!b.held) b.x += by; }
        else { const by = (Math.sign(dy) || 1) * under * 0.25; if (!a.held) a.y -= by; if (!b.held) b.y += by; }
      }
    }
    this.heat *= 0.98;
  }

  place() {
    for (const node of this.nodes.values()) node.mark.setAttribute("transform", `translate(${node.x.toFixed(1)},${node.y.toFixed(1)})`);
    for (const { a, b, path, word, bend } of this.lines.values()) {
      const dx = b.x - a.x, dy = b.y - a.y, far = Math.hypot(dx, dy) || 1;
      const mx = (a.x + b.x) / 2 - (dy / far) * bend, my = (a.y + b.y) / 2 + (dx / far) * bend;
      const d = a === b
        ? `M${a.x + a.room * 0.5},${a.y - 12} c 34,-44 -${a.room + 20},-44 -${a.room},0`
        : `M${a.x.toFixed(1)},${a.y.toFixed(1)} Q${mx.toFixed(1)},${my.toFixed(1)} ${b.x.toFixed(1)},${b.y.toFixed(1)}`;
      path.setAttribute("d", d);
      if (word) {
        word.setAttribute("x", a === b ? a.x : ((a.x + b.x) / 4 + mx / 2).toFixed(1));
        word.setAttribute("y", (a === b ? a.y - 42 : (a.y + b.y) / 4 + my / 2 + 3).toFixed(1));
      }
    }
    this.fit();
  }

  fit() {
    const wide = this.svg.clientWidth || 600, tall = this.svg.clientHeight || 400;
    if (this.view) {
      const { x, y, scale } = this.view;
      this.svg.setAttribute("viewBox", `${x - wide / scale / 2} ${y - tall / scale / 2} ${wide / scale} ${tall / scale}`);
      return;
    }
    const nodes = [...this.nodes.values()];
    if (!nodes.length) return;
    const left = Math.min(...nodes.map((n) => n.x - n.room - 26)), right = Math.max(...nodes.map((n) => n.x + n.room + 26));
    const top = Math.min(...nodes.map((n) => n.y - 46)), bottom = Math.max(...nodes.map((n) => n.y + 46));
    const scale = Math.min(wide / (right - left), tall / (bottom - top), 1.2);
    this.shown = { x: (left + right) / 2, y: (top + bottom) / 2, scale };
    this.svg.setAttribute("viewBox", `${this.shown.x - wide / scale / 2} ${this.shown.y - tall / scale / 2} ${wide / scale} ${tall / scale}`);
  }

  zoom(event) {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return; // the page scrolls
    event.preventDefault();
    this.scale(Math.exp(-event.deltaY * 0.002));
  }

  scale(by) {
    const view = this.view ?? { ...(this.shown ?? { x: 0, y: 0, scale: 1 }) };
    view.scale = Math.max(0.1, Math.min(4, view.scale * by));
    this.view = view;
    this.fit();
  }

  whole() {
    this.view = null;
    this.fit();
  }

  grab(event) {
    if (event.button !== 0) return;
    const id = event.target.closest?.("[data-node]")?.getAttribute("data-node");
    const node = id === undefined ? null : this.nodes.get(id);
    const view = this.view ?? { ...(this.shown ?? { x: 0, y: 0, scale: 1 }) };
    let { clientX, clientY } = event;
    this.moved = false;
    const move = (now) => {
      const dx = now.clientX - clientX, dy = now.clientY - clientY;
      if (!this.moved && Math.hypot(dx, dy) < 4) return;
      this.moved = true;
      ({ clientX, clientY } = now);
      if (node) {
        node.held = true;
        node.x += dx / view.scale; node.y += dy / view.scale;
        this.settle(0.25);
      } else {
        view.x -= dx / view.scale; view.y -= dy / view.scale;
        this.view = view;
        this.fit();
      }
    };
    const end = () => {
      if (node) node.held = false;
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
  }

  close() {
    cancelAnimationFrame(this.frame);
    this.heat = 0;
    this.watch.disconnect();
  }
}

const hued = (hue) => ({ "--hue": String(hue ?? 210) });
const initials = (type) => (type.match(/\p{Lu}/gu)?.length > 1 ? type.match(/\p{Lu}/gu).slice(0, 2).join("") : type.slice(0, 2));
const badge = (type, hue) => h("span", { class: "sgx-badge", style: hued(hue), "aria-hidden": "true" }, initials(type));

function nodeMark(node) {
  const hue = hued(node.hue);
  if (node.kind === "hub") {
    const was = node.was === undefined ? "" : `${number(node.was ?? 0)} → `;
    const text = `${node.name} · ${node.dangling ? "dangling" : `${was}${number(node.count)}`}`;
    const wide = text.length * 6.2 + 22;
    node.room = wide / 2;
    return h("svg:g", { class: `sgx-hub${node.dangling ? " dangling" : ""}`, style: hue, "aria-label": `link ${node.name}, ${plural(node.count, "object")}` },
      h("svg:rect", { x: -wide / 2, y: -11, width: wide, height: 22, rx: 11 }), h("svg:text", { y: 4, "text-anchor": "middle" }, text),
      h("svg:title", {}, node.title));
  }
  if (node.kind === "more") {
    const wide = node.label.length * 6.2 + 20;
    node.room = wide / 2;
    return h("svg:g", { class: "sgx-more", "aria-label": node.label },
      h("svg:rect", { x: -wide / 2, y: -10, width: wide, height: 20, rx: 10 }), h("svg:text", { y: 4, "text-anchor": "middle" }, node.label));
  }
  if (node.kind === "type") {
    const count = node.count === null ? "not built" : number(node.count);
    const wide = Math.max(node.name.length * 7.6 + 46, 92);
    node.room = wide / 2 + 14;
    node.tall = 30;
    return h("svg:g", { class: `sgx-type${node.deprecated ? " old" : ""}`, style: hue, "aria-label": `${node.name}, ${count}` },
      h("svg:rect", { class: "box", x: -wide / 2, y: -21, width: wide, height: 42, rx: 8 }),
      h("svg:rect", { class: "edge", x: -wide / 2, y: -21, width: 5, height: 42, rx: 2.5 }),
      h("svg:text", { class: "name", x: -wide / 2 + 16, y: -3 }, node.name), h("svg:text", { class: "count", x: -wide / 2 + 16, y: 13 }, count),
      h("svg:title", {}, node.description || node.name));
  }
  const size = node.root ? 21 : 15;
  node.room = Math.max(size, Math.min(node.title.length, 24) * (node.root ? 3.7 : 2.9));
  node.tall = size + 9;
  node.low = 8; // the words are below
  return h("svg:g", { class: `sgx-object${node.root ? " root" : ""}${node.change ? ` mark-${node.change}` : ""}`, style: hue, "aria-label": `${node.type} ${node.title}` },
    h("svg:circle", { r: size }), h("svg:text", { class: "two", y: 4, "text-anchor": "middle" }, initials(node.type)),
    h("svg:text", { class: "title", y: size + 14, "text-anchor": "middle" }, cut(node.title, 24)), h("svg:title", {}, `${node.type} ${node.key}: ${node.title}${node.change ? ` (${node.change})` : ""}`));
}

// ---------------------------------------------------------------- the explorer

// `tie` joins it with the widget around it: `went` hears where the person is, `life` adds to a card; here it gets `visit`, `moved` (read
// the same place again, quietly) and `ready`.
function explorer({ model, el, tie = null }) {
  const id = `sgx-${Math.random().toString(36).slice(2, 8)}`;
  const wire = new Wire(model, (busy) => root.classList.toggle("busy", busy));
  const now = { text: null, card: null, graph: null }; // where the person is
  const past = [], future = [];
  let state = null, types = [], links = [], drawing = null, closed = false, cardOf = null;

  const hue = (type) => types.find((t) => t.name === type)?.hue ?? 210;
  const button = (text, title, run, props = {}) => h("button", { type: "button", title, "aria-label": title, ...props, on: { click: run } }, text);

  // the frame
  const back = button("‹", "Back (Alt+Left)", () => step(past, future), { class: "sgx-icon", disabled: true });
  const forth = button("›", "Forward (Alt+Right)", () => step(future, past), { class: "sgx-icon", disabled: true });
  const crumbs = h("nav", { class: "sgx-crumbs", "aria-label": "path" });
  const again = button("↻", "Read again (R)", () => reload(), { class: "sgx-icon" });
  const wait = h("span", { class: "sgx-wait", role: "status", "aria-label": "reading" });
  const banner = h("div", { class: "sgx-banners", "aria-live": "polite" });
  const problem = h("div", { class: "sgx-problem", role: "alert", hidden: true });
  const typeSearch = h("input", { type: "search", placeholder: "Find a type", "aria-label": "find an object type", hidden: true, on: { input: () => drawTypes() } });
  const typeList = h("ul", { class: "sgx-types" });
  const heading = h("div", { class: "sgx-heading" });
  const search = h("input", { type: "search", class: "sgx-search", placeholder: "Search titles  /", "aria-label": "search the titles" });
  const pills = h("div", { class: "sgx-pills", role: "list", "aria-label": "filters" });
  const follow = h("div", { class: "sgx-follow", role: "group", "aria-label": "follow a link from the whole set" });
  const facets = h("aside", { class: "sgx-facets", "aria-label": "facets" });
  const stage = h("div", { class: "sgx-stage" });
  const empty = h("div", { class: "sgx-empty", hidden: true });
  const card = h("aside", { class: "sgx-card", "aria-label": "object", tabindex: "-1", hidden: true });
  const command = h("code", { class: "sgx-command", tabindex: "0", "aria-label": "the command that shows this" });
  const said = h("span", { class: "sgx-said", "aria-live": "polite" });
  const foot = h("footer", { class: "sgx-foot" }, command,
    button("Copy", "Copy the command", () => copied(state?.command ?? "%skygraph objects")), said,
    button("Copy link", "Copy a link that opens this again", () => copyLink(), { class: "sgx-link" }));
  const setHead = h("div", { class: "sgx-set-head" }, h("div", { class: "sgx-line1" }, heading, search), pills, follow);
  const grid = new Grid({
    id, label: "objects",
    loaded: () => drawShown(),
    unit: (column) => `in ${column.unit}`,
    way: (column) => (state.sort === column.name ? "ascending" : state.sort === `-${column.name}` ? "descending" : "none"),
    sort: ({ name }) => go({ sort: state.sort === name ? `-${name}` : state.sort === `-${name}` ? "" : name }),
    open: (row) => openCard(state.type.name, row.key, row.title),
    glance: (row) => row && row.key !== null && later(() => openCard(state.type.name, row.key, row.title, { remember: false })),
  });
  const body = h("div", { class: "sgx-body" }, facets, h("div", { class: "sgx-rows" }, grid.node, empty));
  const set = h("section", { class: "sgx-set" }, setHead, body);
  const root = h("div", { class: "sgx", "data-lm-suppress-shortcuts": "true", on: { keydown: (event) => shortcut(event) } },
    h("header", { class: "sgx-top" }, h("button", { type: "button", class: "sgx-brand", title: "All types", on: { click: () => show("") } }, "Explorer"),
      back, forth, crumbs, wait, again),
    banner, problem,
    h("div", { class: "sgx-main" }, h("nav", { class: "sgx-left", "aria-label": "object types" }, typeSearch, typeList), h("div", { class: "sgx-center" }, set, stage), card),
    foot);

  let timer = 0;
  const later = (run) => {
    clearTimeout(timer);
    timer = setTimeout(run, 140);
  };

  // moving
  function snapshot() {
    return { text: now.text, card: now.card, graph: now.graph };
  }

  let telling = 0;
  function tell() {
    if (!tie) return;
    clearTimeout(telling);
    telling = setTimeout(() => closed || tie.went(snapshot()), 40);
  }

  function remember() {
    if (now.text === null) return;
    past.push(snapshot());
    if (past.length > 100) past.shift();
    future.length = 0;
  }

  function step(from, to) {
    const place = from.pop();
    if (!place) return;
    to.push(snapshot());
    visit(place);
    drawMoves();
  }

  async function visit(place) {
    now.card = place.card;
    now.graph = place.graph;
    if (place.text !== now.text || !state) {
      if (!(await show(place.text, { remember: false }))) return;
    }
    if (!place.text) return;
    if (place.graph) openGraph(place.graph, { remember: false });
    else closeGraph();
    if (place.card) return openCard(place.card.type, place.card.key, place.card.title, { remember: false });
    closeCard({ remember: false });
  }

  // What was asked for the place that is left does not come to the next one.
  function leave() {
    clearTimeout(timer);
    clearTimeout(typed);
    wire.drop("card");
  }

  // Goes to a set: by its text, or from the one here by an edit that the kernel makes.
  async function show(text, { edit = null, remember: keep = true, quiet = false } = {}) {
    const wanted = text;
    if (!quiet) leave();
    if (!wanted && !edit) {
      if (keep && now.text !== "") { remember(); }
      home();
      return true;
    }
    try {
      const found = await wire.ask("open", { text: wanted, edit, size: PAGE });
      if (closed) return false;
      if (keep && (found.text !== now.text || now.graph || now.card)) remember();
      if (!quiet) problem.hidden = true;
      arrive(found, keep || now.text === null);
      return true;
    } catch (error) {
      if (error instanceof Stale) return false;
      fail(error);
      if (!state && now.text === null) home();
      return false;
    }
  }

  const go = (edit) => show(state.text, { edit });

  function arrive(found, fresh) {
    const held = root.getRootNode().activeElement, inside = root.contains(held), onStage = stage.contains(held);
    const before = state;
    now.text = found.text;
    state = found;
    links = [];
    closeGraph();
    if (fresh) { now.card = null; now.graph = null; card.hidden = true; }
    root.classList.remove("home");
    const { text } = found;
    // a new order of the same columns leaves the grid where it is across
    grid.show(found.columns, new Chain(found.page, (after) => wire.ask("page", { text, after, size: PAGE })), { across: before?.type.name === found.type.name });
    drawHead();
    drawPills();
    drawFollow();
    drawCrumbs();
    drawTypes();
    drawMoves();
    drawFoot();
    drawEmpty(found.page);
    fill(facets, h("div", { class: "sgx-quiet" }, found.page.rows.length ? "counting …" : ""));
    const here = state;
    const mine = (run) => (answer) => state === here && !closed && run(answer);
    const give = (error) => error instanceof Stale || state !== here || fail(error);
    wire.ask("count", { text: state.text }).then(mine((answer) => { state.count = answer.count; drawHead(); drawEmpty(found.page); }), give);
    wire.ask("facets", { text: state.text }).then(mine(drawFacets), (error) => {
      if (error instanceof Stale || state !== here) return;
      fill(facets, h("div", { class: "sgx-quiet" }, error.message));
    });
    wire.ask("links", { text: state.text }).then(mine((answer) => { links = answer.links; drawFollow(); }), () => {});
    if (inside && (onStage || !root.contains(root.getRootNode().activeElement))) (grid.node.hidden ? back : grid.node).focus({ preventScroll: true });
    if (fresh && found.one) openCard(found.type.name, found.one.key, found.one.title, { remember: false });
  }

  function home() {
    now.text = "";
    now.card = null;
    now.graph = null;
    state = null;
    card.hidden = true;
    for (const kind of ["open", "page", "count", "facets", "links"]) wire.drop(kind);
    root.classList.add("home");
    drawCrumbs();
    drawTypes();
    drawMoves();
    drawFoot();
    drawHome();
  }

  // The same place at another time: the rows stay where they were scrolled to, the graph as it was laid out.
  async function moved() {
    await readTypes();
    if (!state) return home();
    const kept = snapshot(), top = grid.top, left = grid.node.scrollLeft, active = grid.active;
    if (!(await show(state.text, { remember: false, quiet: true }))) return;
    grid.active = Math.max(0, Math.min(active, grid.length - 1));
    grid.node.scrollLeft = left;
    grid.goTo(top);
    await visit(kept);
  }

  async function reload() {
    await readTypes();
    if (state) {
      const kept = snapshot();
      if (await show(state.text, { remember: false })) visit(kept);
    } else home();
  }

  async function readTypes() {
    try {
      origins.clear();
      const answer = await wire.ask("types");
      types = answer.types.map((type, i) => ({ ...type, hue: Math.round(205 + i * 137.5) % 360 }));
      edges = answer.links;
      troubles(answer.problems, answer.warnings);
      drawTypes();
      counts();
      return true;
    } catch (error) {
      if (!(error instanceof Stale)) fail(error);
      return false;
    }
  }
  let edges = [], originOpen = true;
  const origins = new Map();

  async function counts() {
    try {
      const answer = await wire.ask("counts");
      for (const type of types) if (type.name in answer.counts) type.count = answer.counts[type.name];
      drawTypes();
      if (now.text === "") drawHome();
    } catch (error) {
      if (!(error instanceof Stale)) fail(error);
    }
  }

  // what went wrong, and what is new
  function fail(error) {
    if (error instanceof Stale || closed) return;
    problem.hidden = false;
    fill(problem, h("span", {}, error.message), error.hint ? h("i", {}, error.hint) : null, button("×", "Dismiss", () => { problem.hidden = true; }, { class: "sgx-x" }));
  }

  function troubles(problems, warnings) {
    for (const old of banner.querySelectorAll(".bad,.warn")) old.remove();
    if (problems.length) {
      banner.append(h("details", { class: "sgx-banner bad" }, h("summary", {}, h("b", {}, "The ontology’s files are wrong"), ` ${plural(problems.length, "problem")}; the last good model is shown.`),
        h("ul", {}, problems.map((one) => h("li", {}, h("code", {}, one.where), " ", one.message)))));
    }
    for (const warning of warnings) banner.append(h("div", { class: "sgx-banner warn" }, warning));
  }

  async function news() {
    const said = model.get("news");
    if (!said || !said.serial || closed) return;
    for (const old of banner.querySelectorAll(".news")) old.remove();
    if (said.text) {
      const line = h("div", { class: "sgx-banner news" }, h("b", {}, "The ontology changed"), ` ${said.text}`, button("×", "Dismiss", () => line.remove(), { class: "sgx-x" }));
      banner.append(line);
    }
    await readTypes();
    if (said.text && state) {
      const kept = snapshot();
      if (await show(state.text, { remember: false, quiet: true })) visit(kept);
    } else if (now.text === "") drawHome();
  }

  // the left side and the head
  function drawTypes() {
    typeSearch.hidden = types.length <= 12;
    const part = typeSearch.hidden ? "" : typeSearch.value.trim().toLowerCase();
    const shown = types.filter((type) => `${type.name} ${type.description} ${(type.aliases ?? []).join(" ")}`.toLowerCase().includes(part));
    fill(typeList, ...shown.map((type) => h("li", {}, h("button", {
      type: "button", "aria-current": state?.type.name === type.name ? "true" : null, class: type.deprecated ? "old" : "",
      title: [type.description, type.deprecated && `deprecated: ${type.deprecated}`, type.missing.length ? `without column: ${type.missing.join(", ")}` : "",
        `model ${type.model}`].filter(Boolean).join("\n"),
      on: { click: () => show(type.name) },
    }, badge(type.name, type.hue), h("span", { class: "name" }, type.name),
    type.deprecated ? h("em", { class: "sgx-mark" }, "deprecated") : null, type.missing.length ? h("em", { class: "sgx-mark warn", title: `without column: ${type.missing.join(", ")}` }, "⚠") : null,
    type.built ? h("span", { class: "count" }, type.count === null ? "·" : number(type.count)) : h("span", { class: "count none" }, "not built")))));
    if (!types.length) fill(typeList, h("li", { class: "sgx-quiet" }, "no types"));
    else if (!shown.length) fill(typeList, h("li", { class: "sgx-quiet" }, "no type has this name"));
  }

  function drawMoves() {
    tell();
    back.disabled = !past.length;
    forth.disabled = !future.length;
  }

  function drawCrumbs() {
    const parts = (state?.path ?? []).flatMap((hop, i, all) => {
      const last = i === all.length - 1;
      const label = [i ? h("span", { class: "arrow", "aria-hidden": "true" }, "›") : null, h("button", {
        type: "button", "aria-current": last ? "page" : null, title: hop.text, on: { click: () => show(hop.text) },
      }, badge(hop.type, hue(hop.type)), h("span", {}, hop.name), hop.about ? h("small", { dir: "auto" }, cut(hop.about, 40)) : null)];
      return label;
    });
    fill(crumbs, ...parts.filter(Boolean));
  }

  function drawHead() {
    const type = state.type;
    const count = state.count === undefined ? null : state.count;
    fill(heading, badge(type.name, hue(type.name)), h("h3", {}, type.name),
      h("span", { class: "sgx-count", role: "status" }, count === null ? "" : plural(count, "object")),
      type.deprecated ? h("em", { class: "sgx-mark", title: type.deprecated }, `deprecated: ${type.deprecated}`) : null,
      type.missing.length ? h("em", { class: "sgx-mark warn", title: "these properties have no column in the model any more" }, `⚠ without ${type.missing.join(", ")}`) : null,
      h("span", { class: "sgx-about", title: type.description }, type.description));
    if (document.activeElement !== search) search.value = state.search;
    drawShown();
  }

  function drawShown() {
    root.querySelector(".sgx-shown")?.remove();
    if (!state || state.count === undefined) return;
    const loaded = grid.length;
    if (loaded < state.count) foot.insertBefore(h("span", { class: "sgx-shown" }, `${number(loaded)} of ${number(state.count)} read`), foot.lastChild);
  }

  function drawPills() {
    const made = state.filters.map((text, i) => {
      const pill = h("span", { class: "sgx-pill", role: "listitem", tabindex: "0", title: `${text}\nDelete removes it`, on: { keydown: (event) => {
        if (event.key !== "Delete" && event.key !== "Backspace") return;
        event.preventDefault();
        event.stopPropagation();
        go({ remove: i });
      } } }, h("span", { dir: "auto" }, cut(text, 60)), button("×", `Remove the filter ${text}`, () => go({ remove: i }), { class: "sgx-x", tabindex: "-1" }));
      return pill;
    });
    if (state.search) made.push(h("span", { class: "sgx-pill", role: "listitem" }, `title has “${cut(state.search, 40)}”`, button("×", "Remove the search", () => { search.value = ""; go({ search: "" }); }, { class: "sgx-x" })));
    made.push(h("span", { class: "sgx-adder" }, button("+ Filter", "Add a filter (F)", () => openFilter(), { class: "sgx-add", "aria-expanded": "false" })));
    if (state.sort) made.push(h("span", { class: "sgx-sorted" }, `sorted by ${state.sort.replace(/^-/, "")} ${state.sort[0] === "-" ? "↓" : "↑"}`, button("×", "Remove the order", () => go({ sort: "" }), { class: "sgx-x" })));
    fill(pills, ...made);
  }

  function drawFollow() {
    const known = new Map(links.map((link) => [link.name, link]));
    follow.hidden = !state.links.length;
    fill(follow, h("span", { class: "sgx-label" }, "Follow set"), ...state.links.flatMap((link) => {
      const found = known.get(link.name);
      const made = [button([h("span", {}, link.name), found && found.count !== null ? h("b", {}, number(found.count)) : null, h("i", { "aria-hidden": "true" }, "→")],
        `Follow set: ${link.name} → ${link.to}${link.description ? `\n${link.description}` : ""}`, () => go({ follow: link.name }),
        { class: `sgx-chip${link.deprecated ? " old" : ""}`, style: hued(hue(link.to)), "data-link": link.name, disabled: found?.count === 0 })];
      if (found?.dangling) {
        made.push(button([h("b", {}, number(found.dangling)), " dangling"], `${plural(found.dangling, "object")} lead to no ${link.to}: ${number(found.dangling - found.unnamed)} name one that is not there${found.unnamed ? `, ${number(found.unnamed)} name none` : ""}. Show them.`,
          () => go({ add: { text: found.dangling_filter } }), { class: "sgx-chip dangling", "data-dangling": link.name }));
      }
      return made;
    }));
    for (const chip of follow.querySelectorAll(".sgx-chip")) chip.style.setProperty("--hue", chip.style.getPropertyValue("--hue") || "30");
  }

  function drawEmpty(page) {
    const none = !page.rows.length;
    empty.hidden = !none;
    grid.node.hidden = none;
    body.classList.toggle("none", none);
    if (!none) return;
    const name = state.type.name;
    if (!state.type.built) {
      fill(empty, h("b", {}, `${name} is not built yet`), h("p", {}, `Its model ${state.type.model} has no table in the lake. Run`), h("code", {}, "%skygraph dbt run"), h("p", {}, "then read again with ↻."));
    } else if (state.filters.length || state.search) {
      fill(empty, h("b", {}, `No ${name} meets this`), h("p", {}, "Take a filter away with its ×, or"),
        button("remove all of them", "Remove all filters", () => go({ clear: true }), { class: "sgx-chip" }));
    } else if (state.path.length > 1) fill(empty, h("b", {}, "Nothing is linked"), h("p", {}, `${state.path.at(-1).name} leads to no ${name} from here.`));
    else fill(empty, h("b", {}, `No ${name} yet`), h("p", {}, "The model is built and has no row. Run"), h("code", {}, "%skygraph sync --all"), h("p", {}, "and"), h("code", {}, "%skygraph dbt build"));
  }

  function drawFoot() {
    tell();
    const one = now.card && !card.hidden ? cardOf : null;
    command.textContent = (one ? one.command : state?.command) ?? "%skygraph objects";
    command.title = one?.python ?? state?.python ?? "bench.explorer()";
    said.textContent = "";
    drawShown();
  }

  async function copied(text) {
    const one = now.card && !card.hidden ? cardOf : null;
    said.textContent = (await copy(one && text === state?.command ? one.command : text)) ? "copied" : "the browser refused; select the text";
    setTimeout(() => { said.textContent = ""; }, 2500);
  }

  async function copyLink() {
    const one = now.card && !card.hidden ? cardOf : null;
    const text = one?.text ?? state?.text ?? "";
    const address = model.get("address");
    const home = address === "." ? window.location.origin + window.location.pathname : address;
    const link = home ? `${home}${home.includes("?") ? "&" : "?"}objects=${encodeURIComponent(text)}` : (one ?? state)?.python ?? "bench.explorer()";
    const done = await copy(link);
    said.textContent = !done ? "the browser refused; select the text" : home ? "link copied" : "copied as Python: no dashboards run here";
    setTimeout(() => { said.textContent = ""; }, 3500);
  }

  // facets
  function drawFacets(answer) {
    if (!answer.facets.length) {
      fill(facets, h("div", { class: "sgx-quiet" }, "no property with few values"));
      return;
    }
    fill(facets, ...answer.facets.map((facet) => {
      const most = Math.max(...facet.values.map((value) => value.count), 1);
      const about = facet.sampled ? "about " : "";
      const line = (label, count, edit, look, active) => h(edit ? "button" : "div", {
        ...(edit ? { type: "button" } : {}), class: `sgx-bar ${look}${active ? " on" : ""}`, style: { "--share": String(Math.min(count / most, 1)) }, title: `${label}: ${about}${number(count)}`,
        "aria-pressed": edit ? String(Boolean(active)) : null, on: edit ? { click: () => go(active ? { remove: state.filters.indexOf(active) } : { add: edit }) } : {},
      }, h("span", { class: "label", dir: "auto" }, label), h("span", { class: "count" }, number(count)));
      const rows = facet.values.map((value) => line(value.label, value.count, { text: value.filter }, "", state.filters.find((text) => text === value.filter)));
      if (facet.nulls) rows.push(line("no value", facet.nulls, { text: facet.null_filter }, "null", state.filters.find((text) => text === facet.null_filter)));
      if (facet.other) rows.push(line(`${facet.distinct ? `${plural(Math.max(facet.distinct - facet.values.length, 1), "other value")}` : "other values"}`, facet.other, null, "other"));
      return h("details", { open: true, class: "sgx-facet" }, h("summary", { title: facet.description || facet.name }, h("span", {}, facet.name),
        facet.sampled ? h("em", { class: "sgx-mark warn", title: "counted on a part of the objects, to answer in time" }, `about, from ${facet.share}`) : h("small", {}, facet.distinct ? number(facet.distinct) : "")), rows);
    }));
  }

  // the form of a filter
  function openFilter() {
    const place = pills.querySelector(".sgx-adder");
    if (place.querySelector("form")) { closeFilter(); return; }
    const names = (columns, prefix = "") => columns.filter((c) => !c.missing).map((c) => h("option", { value: prefix + c.name }, prefix + c.name));
    const property = h("select", { "aria-label": "property" }, h("optgroup", { label: state.type.name }, names(state.columns)),
      state.links.map((link) => h("optgroup", { label: `has a ${link.to} by ${link.name}` }, names(link.columns, `${link.name}.`))));
    const op = h("select", { "aria-label": "operator" });
    const value = h("input", { "aria-label": "value", autocomplete: "off", spellcheck: "false", list: `${id}-values` });
    const offered = h("datalist", { id: `${id}-values` });
    const written = h("input", { "aria-label": "a condition as text", autocomplete: "off", spellcheck: "false", placeholder: "or write: country=Brazil and not total_spent<10" });
    const kind = () => {
      const [head, tail] = property.value.split(".");
      const columns = tail ? state.links.find((link) => link.name === head)?.columns : state.columns;
      return columns?.find((c) => c.name === (tail ?? head))?.type ?? "string";
    };
    const choose = () => {
      const type = kind();
      fill(op, ...(OPERATORS[type] ?? OPERATORS.other).map((one) => h("option", { value: one }, OPERATOR_WORDS[one])));
      value.placeholder = { integer: "0", decimal: "0.00", number: "0", date: "2026-01-31", timestamp: "2026-01-31T12:00", boolean: "yes" }[type] ?? "value";
      suggest();
    };
    const suggest = () => {
      value.hidden = op.value.endsWith("null");
      wire.ask("suggest", { text: state.text, property: property.value, typed: value.value }).then(
        (answer) => fill(offered, ...answer.values.map((one) => h("option", { value: one }))), () => {});
    };
    property.addEventListener("change", choose);
    op.addEventListener("change", suggest);
    let waiting = 0;
    value.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(suggest, 120); });
    const form = h("form", { class: "sgx-form", "aria-label": "add a filter", on: {
      submit: async (event) => {
        event.preventDefault();
        const edit = written.value.trim() ? { text: written.value.trim() } : { property: property.value, op: op.value, value: value.value };
        if (await go({ add: edit })) closeFilter();
      },
      keydown: (event) => {
        event.stopPropagation();
        if (event.key === "Escape") closeFilter();
        else if (event.key === "Enter" && event.target.tagName === "INPUT") {
          // a browser that shows the list of values does not submit by itself
          event.preventDefault();
          form.requestSubmit();
        }
      },
    } }, h("div", {}, property, op, value, offered), h("div", {}, written, h("button", { type: "submit", class: "sgx-go" }, "Add")));
    place.append(form);
    place.querySelector(".sgx-add").setAttribute("aria-expanded", "true");
    choose();
    property.focus();
  }

  function closeFilter() {
    const place = pills.querySelector(".sgx-adder");
    place?.querySelector("form")?.remove();
    place?.querySelector(".sgx-add")?.setAttribute("aria-expanded", "false");
    place?.querySelector(".sgx-add")?.focus();
  }

  // the card of one object
  async function openCard(type, key, title, { remember: keep = true } = {}) {
    let found;
    try {
      found = await wire.ask("card", { type, key });
    } catch (error) {
      fail(error);
      return;
    }
    if (closed) return;
    if (keep && (now.card?.key !== key || now.card?.type !== type)) { remember(); drawMoves(); }
    now.card = { type, key, title };
    cardOf = found;
    if (state?.type.name === type) { grid.opened = key; grid.draw(); }
    drawing?.pick?.(type, key);
    const value = (one) => {
      if (one.was !== undefined) return h("dd", { class: "was" }, h("span", { class: "sgx-was" }, h("s", {}, cut(one.was ?? "no value", 400)), " → "), one.value ?? "no value", one.unit ? h("small", {}, ` ${one.unit}`) : null);
      if (one.value === null) return h("dd", { class: "null" }, one.missing ? "its column is gone" : "no value");
      return h("dd", { dir: one.number ? null : "auto", class: one.value.length > 400 ? "long" : "" }, one.value, one.unit ? h("small", {}, ` ${one.unit}`) : null);
    };
    const properties = h("dl", {}, found.properties.flatMap((one) => [
      h("dt", { class: one.deprecated ? "old" : "", title: [one.description, one.computed && `computed: ${one.computed}`, one.deprecated && `deprecated: ${one.deprecated}`].filter(Boolean).join("\n") || one.type },
        one.computed ? h("i", { class: "sgx-fx", "aria-label": "computed", title: `computed: ${one.computed}` }, "ƒ") : null, one.name), value(one)]));
    const origin = h("details", { class: "sgx-lineage", hidden: true, open: originOpen, on: { toggle: () => { originOpen = origin.open; } } }, h("summary", {}, "Where it comes from"));
    lineageOf(type, origin);
    const leads = found.links.map((link) => h("button", {
      type: "button", class: `sgx-lead${link.dangling ? " dangling" : ""}${link.deprecated ? " old" : ""}`, style: hued(hue(link.to)), "data-link": link.name, disabled: !link.count,
      title: link.dangling ? `${link.name} names a ${link.to} that is not there` : `${link.name}: ${plural(link.count ?? 0, link.to)}`,
      on: { click: () => show(found.text, { edit: { follow: link.name } }) },
    }, badge(link.to, hue(link.to)), h("span", {}, link.name), h("small", {}, link.dangling ? `dangling: no ${link.to} ${link.dangling}` : link.to),
    h("b", {}, link.was === undefined ? null : h("span", { class: "sgx-was" }, `${number(link.was ?? 0)} → `), link.count === null ? "not built" : number(link.count)), h("i", { "aria-hidden": "true" }, link.count ? "→" : "")));
    fill(card, 
      h("header", { style: hued(hue(type)) }, badge(type, hue(type)), h("div", {}, h("small", {}, `${type} ${cut(found.key, 60)}`), h("h3", { dir: "auto", title: found.title.length > 60 ? cut(found.title, 2000) : null }, cut(found.title, 160))),
        button("×", "Close (Esc)", () => closeCard(), { class: "sgx-x" })),
      h("div", { class: "sgx-card-tools" }, button("Graph", "Draw what is linked to it (G)", () => openGraph({ type, key, title: found.title })),
        found.absent ? null : button("Only this", "Show it alone, as a set", () => show(found.text), {})),
      h("div", { class: "sgx-card-body" }, found.absent ? h("p", { class: "sgx-caution" }, `There is no ${type} ${cut(found.key, 60)} at this time.`) : null,
        found.mark ? h("p", { class: `sgw-mark ${found.mark}` }, found.mark) : null, found.warnings.map((text) => h("p", { class: "sgx-caution" }, text)),
        leads.length ? h("div", { class: "sgx-leads", role: "group", "aria-label": "links" }, leads) : null, found.absent ? null : h("h4", {}, "Properties"), properties, origin));
    tie?.life(card.querySelector(".sgx-card-body"), type, key);
    card.hidden = false;
    drawFoot();
  }

  // where the objects of a type come from: asked once, until the types are read again
  async function lineageOf(type, place) {
    if (!origins.has(type)) origins.set(type, wire.ask("lineage", { type }).then((answer) => answer.lines));
    let lines;
    try {
      lines = await origins.get(type);
    } catch (error) {
      origins.delete(type);
      if (error instanceof Stale) return;
      lines = [{ kind: "mart", name: "?", detail: error.message, late: true }];
    }
    if (!lines.length) return;
    place.append(h("ol", {}, lines.map((one) => h("li", { class: one.kind }, h("span", { class: "kind" }, one.kind),
      h("code", {}, one.name), one.detail ? h("small", { class: one.late ? "late" : "" }, one.detail) : null))));
    place.hidden = false;
  }

  function closeCard({ remember: keep = true } = {}) {
    leave();
    if (card.hidden && !now.card) return;
    if (keep) remember();
    now.card = null;
    card.hidden = true;
    grid.opened = null;
    grid.draw();
    drawFoot();
    drawMoves();
    if (keep && !now.graph) grid.node.focus({ preventScroll: true });
  }

  // the neighbourhood of one object
  function openGraph(place, { remember: keep = true } = {}) {
    if (keep) remember();
    now.graph = place;
    drawMoves();
    drawing?.close();
    const said = h("span", { class: "sgx-quiet", role: "status" }, "");
    drawing = new Drawing({ label: `what is linked to ${place.type} ${place.key}`, reach: 78, draw: nodeMark, click: (node) => act(node) });
    drawing.hooks.seed = layout?.root === `${place.type}\n${place.key}` ? layout.seed : null;
    const graph = drawing;
    const live = () => graph === drawing && !closed;
    const object = (type, key, title, near, rooted = false, change = null) => graph.add({ id: `o\n${type}\n${key}`, kind: "object", type, key, title, root: rooted, change, hue: hue(type) }, near);
    const full = () => {
      if (graph.nodes.size < NODES_MOST) return false;
      said.textContent = `${NODES_MOST} nodes are drawn, and no more: start again from one of them, or open a link as a set`;
      return true;
    };
    graph.pick = (type, key) => {
      for (const node of graph.nodes.values()) node.mark.classList.toggle("picked", node.kind === "object" && node.type === type && node.key === key);
    };

    async function expand(node, all = false) {
      if (node.expanded) return;
      node.expanded = true;
      let found;
      try {
        found = await asked(() => wire.ask("links_of", { type: node.type, key: node.key }));
      } catch (error) {
        node.expanded = false;
        fail(error);
        return;
      }
      if (!live()) return;
      node.text = found.text;
      const hubs = [];
      for (const link of found.links) {
        if (!link.count && !link.dangling || full()) continue;
        const hub = graph.add({
          id: `h\n${node.id}\n${link.name}`, kind: "hub", name: link.name, count: link.count ?? 0, owner: node, to: link.to, hue: hue(link.to), shown: 0, dangling: link.dangling, was: link.was,
          title: link.dangling ? `names a ${link.to} that is not there: ${link.dangling}` : `${link.name} → ${link.to}: click to show`, back: link.back,
        }, node);
        graph.join(node, hub, { length: 70 });
        hubs.push(hub);
      }
      graph.settle(0.8);
      // of an object that was reached by a link, the way back is known
      for (const hub of hubs) if (hub.count && (all || hub.count === 1) && live()) await unfold(hub, all ? 5 : 2);
    }

    async function unfold(hub, most = NEAR) {
      if (hub.busy || hub.count <= hub.shown || full()) return;
      hub.busy = true;
      try {
        const wanted = Math.min(hub.shown + most, NEAR_MOST);
        const found = await asked(() => wire.ask("near", { type: hub.owner.type, key: hub.owner.key, link: hub.name, limit: wanted }));
        if (!live()) return;
        for (const one of found.objects) {
          if (full()) break;
          const node = object(hub.to, one.key, one.title, hub, false, one.mark ?? null);
          graph.join(hub, node, { length: 60, look: `thin${one.mark ? ` mark-${one.mark}` : ""}` });
        }
        for (const one of found.lost ?? []) {
          if (full()) break;
          graph.join(hub, object(hub.to, one.key, one.title, hub, false, one.mark), { length: 60, look: `thin mark-${one.mark}` });
        }
        hub.shown = found.objects.length;
        hub.mark.classList.add("shown");
        graph.drop(`m\n${hub.id}`);
        if (hub.shown < hub.count) {
          const rest = hub.count - hub.shown;
          const more = graph.add({ id: `m\n${hub.id}`, kind: "more", hub, label: hub.shown >= NEAR_MOST ? `${number(rest)} more: as a set →` : `${number(rest)} more` }, hub);
          graph.join(hub, more, { length: 50, look: "thin" });
        }
        graph.settle(0.8);
      } catch (error) {
        fail(error);
      } finally {
        hub.busy = false;
      }
    }

    function act(node) {
      if (node.kind === "object") {
        openCard(node.type, node.key, node.title, { remember: false });
        expand(node);
      } else if (node.kind === "hub") {
        if (node.count > node.shown) unfold(node);
        else if (node.dangling) said.textContent = node.title;
      } else if (node.hub.shown >= NEAR_MOST) show(node.hub.owner.text, { edit: { follow: node.hub.name } });
      else unfold(node.hub, NEAR);
    }

    // questions of one kind go one after the other: a newer one would make the older stale
    let chain = Promise.resolve();
    function asked(run) {
      const mine = chain.then(() => (live() ? run() : Promise.reject(new Stale())));
      chain = mine.catch(() => {});
      return mine;
    }

    const first = object(place.type, place.key, place.title ?? place.key, null, true);
    const rootOn = () => now.card && openGraph({ ...now.card, title: now.card.title ?? now.card.key });
    fill(stage, h("div", { class: "sgx-stage-head" }, badge(place.type, hue(place.type)), h("h3", { dir: "auto" }, cut(place.title ?? place.key, 60)), said,
      button("Start here", "Draw the graph anew, around the object of the card", rootOn), button("−", "Smaller", () => graph.scale(0.8), { class: "sgx-icon" }),
      button("+", "Larger", () => graph.scale(1.25), { class: "sgx-icon" }), button("All", "See everything", () => graph.whole()), button("Table", "Back to the table (Esc)", () => leaveGraph())), graph.svg);
    stage.hidden = false;
    root.classList.add("graph");
    graph.settle(1);
    expand(first, true);
    first.mark.focus({ preventScroll: true });
  }

  let layout = null; // where the nodes of the last graph lay
  function closeGraph() {
    root.classList.remove("graph");
    if (tie && drawing && now.graph) {
      layout = { root: `${now.graph.type}\n${now.graph.key}`, seed: new Map([...drawing.nodes].map(([id, node]) => [id, { x: node.x, y: node.y }])) };
    }
    now.graph = null;
    drawing?.close();
    drawing = null;
    fill(stage);
  }

  function leaveGraph() {
    remember();
    closeGraph();
    drawMoves();
    if (!state) home();
    else grid.node.focus({ preventScroll: true });
  }

  // the types and their links, where nothing is chosen
  function drawHome() {
    drawing?.close();
    if (!types.length) {
      fill(stage, h("div", { class: "sgx-empty" }, h("b", {}, "No object types yet"), h("p", {}, "Describe one in ontology/objects/, then run"), h("code", {}, "%skygraph ontology check")));
      return;
    }
    drawing = new Drawing({ label: "the object types and their links", reach: types.length > 14 ? 96 : 150, draw: nodeMark, click: (node) => show(node.name) });
    const lines = new Map(types.map((type) => [type.name, 0]));
    for (const edge of edges) for (const name of new Set([edge.from, edge.to])) lines.set(name, (lines.get(name) ?? 0) + 1);
    const shown = types.length <= TYPES_MOST ? types : [...types].sort((a, b) => lines.get(b.name) - lines.get(a.name)).slice(0, TYPES_MOST);
    const nodes = new Map(shown.map((type) => [type.name, { id: type.name, kind: "type", ...type, count: type.built ? type.count : null }]));
    for (const node of [...nodes.values()].sort((a, b) => lines.get(b.name) - lines.get(a.name))) drawing.add(node);
    const pairs = new Map();
    for (const edge of edges.filter((one) => nodes.has(one.from) && nodes.has(one.to))) {
      const pair = [edge.from, edge.to].sort().join("\n");
      pairs.set(pair, [...(pairs.get(pair) ?? []), edge]);
    }
    for (const pair of pairs.values()) {
      pair.forEach((edge, nth) => drawing.join(nodes.get(edge.from), nodes.get(edge.to), {
        name: edge.name, length: (types.length > 14 ? 110 : 150) + 40 * (pair.length - 1), bend: (nth - (pair.length - 1) / 2) * 90 * (edge.from <= edge.to ? 1 : -1),
      }));
    }
    const total = types.reduce((sum, type) => sum + (type.count ?? 0), 0);
    fill(stage, h("div", { class: "sgx-stage-head" }, h("h3", {}, "What is in here"), h("span", { class: "sgx-quiet" }, `${plural(types.length, "object type")}, ${plural(edges.length, "link")}${total ? `, ${plural(total, "object")}` : ""}${types.length > TYPES_MOST ? `; the ${TYPES_MOST} with most links are drawn` : ""}. Choose a type to see its objects.`)), drawing.svg);
    drawing.settle(1);
  }

  // keys
  function shortcut(event) {
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    if (event.altKey && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      (event.key === "ArrowLeft" ? back : forth).click();
    } else if (event.key === "Escape") {
      if (typing && event.target === search && search.value) { search.value = ""; go({ search: "" }); }
      else if (!card.hidden) closeCard();
      else if (now.graph) leaveGraph();
      else return;
    } else if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "/" && state) search.focus();
    else if (event.key === "f" && state && !now.graph) openFilter();
    else if (event.key === "g" && now.card && !now.graph) openGraph({ ...now.card });
    else if (event.key === "r") reload();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  let typed = 0;
  search.addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(() => state && search.value.trim() !== state.search && go({ search: search.value.trim() }), 280);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && state) { clearTimeout(typed); go({ search: search.value.trim() }); }
    if (event.key === "ArrowDown") { event.preventDefault(); grid.node.focus(); }
  });

  const heard = () => news();
  model.on("change:news", heard);
  el.append(root);
  root.classList.add("home");
  if (tie) Object.assign(tie, { visit, moved });
  const ready = readTypes().then((good) => {
    // a dashboard may be ready before it is asked for: its address is known only here
    const asked = model.get("address") === "." ? new URLSearchParams(window.location.search).get("objects") : null;
    const text = asked ?? model.get("start");
    if (text) return show(text, { remember: false });
    if (good) home();
    return good;
  });
  if (tie) tie.ready = ready;

  return () => {
    closed = true;
    clearTimeout(timer);
    clearTimeout(typed);
    clearTimeout(telling);
    model.off("change:news", heard);
    wire.close();
    grid.close();
    drawing?.close();
  };
}
