// The twin in the browser: a bar of time over one explorer, or over two that go the same way, and what changed between them.
//
// timebar.js and explorer.js stand before this. Each explorer has a model of its own that puts the side, the time and the time that
// it is compared with on every question; the kernel keeps no time of a person. Values are text nodes and attributes, never HTML.

const SIGNS = { added: "+", removed: "−", changed: "~" };
const LOOK_MS = 1000;

function twin({ model, el }) {
  const plan = model.get("plan");
  const alone = document.body.dataset.voila === "voila"; // the page is ours: the times go to its address
  const asked = alone ? new URLSearchParams(window.location.search) : new URLSearchParams();
  const own = new Wire(model, (busy) => root.classList.toggle("busy", busy));
  const sides = {}; // side -> {tie, node, close}
  let moments = [], at = null, from = null, place = { text: asked.get("objects") ?? plan.text, card: null, graph: null };
  const lives = new Map();
  let lifeQueue = Promise.resolve();
  let closed = false, shown = "", looked = Date.now(), turn = 0;

  const bar = new TimeBar({ label: "snapshots", compare: true, pick: (value, against) => goTo(value, against) });
  const problem = h("div", { class: "sgx-problem", role: "alert", hidden: true });
  const summary = h("div", { class: "sgw-summary", role: "group", "aria-label": "what changed", hidden: true });
  const list = h("div", { class: "sgw-list", hidden: true });
  const panes = h("div", { class: "sgw-panes" });
  const root = h("div", { class: "sgw", "data-lm-suppress-shortcuts": "true", on: { keydown: (event) => key(event) } }, bar.node, problem, summary, list, panes);
  el.append(root);

  // ---- the times

  const known = (name) => moments.find((m) => m.value === name || m.label === name)?.value ?? null;
  const labelOf = (value) => moments.find((m) => m.value === value)?.label ?? value;

  async function look() {
    looked = Date.now();
    let found;
    try {
      const last = moments.at(-1);
      found = (await own.ask("moments", { since: last ? last.value : "" })).moments;
    } catch (error) {
      return fail(error);
    }
    if (closed || (!found.length && moments.length)) return;
    const newest = moments.length === 0 || at === moments.at(-1).value; // who looks at the newest goes on with the newest
    moments = [...moments, ...found];
    if (!moments.length) return drawNone();
    const wanted = at === null ? known(asked.get("at") ?? plan.at) ?? moments.at(-1).value : newest && from === null ? moments.at(-1).value : at;
    if (at === null) from = known(asked.get("from") ?? plan.against);
    bar.set(moments, wanted, from);
    if (wanted !== at) goTo(wanted, from);
  }

  async function goTo(value, against) {
    const mine = ++turn;
    at = value;
    from = against;
    toAddress();
    problem.hidden = true;
    root.classList.toggle("two", from !== null);
    if (from === null) drop("from");
    const arrived = [];
    for (const side of from === null ? ["at"] : ["from", "at"]) arrived.push(sides[side] ? sides[side].tie.moved() : open(side));
    drawTitles();
    if (from === null) { summary.hidden = list.hidden = true; shown = ""; } else drawSummary();
    await Promise.allSettled(arrived);
    if (mine === turn) {
      bar.arrived();
      root.dataset.at = at;
      root.dataset.from = from ?? "";
    }
  }

  function toAddress() {
    if (!alone) return;
    const said = new URLSearchParams(window.location.search);
    for (const [name, value] of [["at", at === moments.at(-1)?.value ? null : at], ["from", from], ["objects", place.text || null]]) {
      if (value === null) said.delete(name);
      else said.set(name, value);
    }
    history.replaceState(null, "", `${window.location.pathname}${said.size ? `?${said}` : ""}${window.location.hash}`);
  }

  // ---- the explorers

  function open(side) {
    const box = h("div", { class: "sgw-view" });
    const title = h("div", { class: `sgw-title ${side}` });
    const node = h("section", { class: `sgw-pane ${side}`, "aria-label": side === "at" ? "the time that is shown" : "the time that it is compared with" }, title, box);
    if (side === "from") panes.prepend(node);
    else panes.append(node);
    const facade = {
      get: (name) => (name === "start" ? place.text : ""),
      on: (event, run) => event === "msg:custom" && model.on(event, run),
      off: (event, run) => event === "msg:custom" && model.off(event, run),
      send: (message) => model.send({ ...message, side, at: side === "at" ? at : from, against: from === null ? null : side === "at" ? from : at }),
    };
    const tie = { went: (now) => went(side, now), life: (body, type, key) => drawLife(body, type, key) };
    const end = explorer({ model: facade, el: box, tie });
    sides[side] = { tie, node, title, close: () => { end(); node.remove(); } };
    return tie.ready.then(() => (place.card || place.graph ? tie.visit(place) : null));
  }

  function drop(side) {
    sides[side]?.close();
    delete sides[side];
  }

  // One side went somewhere: the other one follows.
  function went(side, now) {
    const words = (one) => JSON.stringify([one.text, one.card && [one.card.type, one.card.key], one.graph && [one.graph.type, one.graph.key]]);
    if (now.text === null || words(now) === words(place)) return;
    place = now;
    toAddress();
    for (const other of Object.keys(sides)) if (other !== side) sides[other].tie.visit(place);
  }

  function drawTitles() {
    for (const [side, value] of [["at", at], ["from", from]]) {
      sides[side]?.node.classList.toggle("earlier", from !== null && value === earlier()[0]);
      if (sides[side]) fill(sides[side].title, from === null ? null : h("b", {}, labelOf(value)), from === null ? null : h("small", {}, moments.find((m) => m.value === value)?.taken_at ?? ""));
    }
  }

  function drawNone() {
    drop("at");
    drop("from");
    bar.set([], null);
    fill(panes, h("div", { class: "sgx-empty" }, h("b", {}, "No snapshot yet"), h("p", {}, "Take one with"), h("code", {}, "skygraph snapshot take")));
  }

  // ---- what changed

  async function drawSummary() {
    const [a, b] = earlier();
    let found;
    try {
      found = await own.ask("changes", { a, b, type: "" });
    } catch (error) {
      return fail(error);
    }
    if (closed || from === null || earlier().join() !== [a, b].join()) return;
    const changed = found.counts.filter((c) => c.added || c.removed || c.changed);
    summary.hidden = false;
    fill(summary, h("span", { class: "sgw-said" }, changed.length ? `${number(found.total)} changed` : "Nothing changed between these two times."),
      ...changed.map((c) => h("button", {
        type: "button", class: "sgw-chip", "data-type": c.type, "aria-expanded": String(shown === c.type), title: `Show what changed in ${c.type}`,
        on: { click: () => { shown = shown === c.type ? "" : c.type; drawSummary(); } },
      }, h("b", {}, c.type), c.link ? h("small", {}, "link") : null,
      ...Object.keys(SIGNS).filter((kind) => c[kind]).map((kind) => h("i", { class: kind, title: kind }, `${SIGNS[kind]}${number(c[kind])}`)))));
    if (!changed.some((c) => c.type === shown)) shown = "";
    list.hidden = !shown;
    if (shown) drawList(a, b, changed.find((c) => c.type === shown));
  }

  const earlier = () => {
    const order = [from, at].map((value) => moments.findIndex((m) => m.value === value));
    return order[0] <= order[1] ? [from, at] : [at, from];
  };

  async function drawList(a, b, counts) {
    let found, only = "";
    try {
      found = await own.ask("changes", { a, b, type: counts.type });
    } catch (error) {
      return fail(error);
    }
    if (closed || shown !== counts.type) return;
    const all = found.changes.filter((c) => c.type === counts.type);
    const draw = () => drawChanges(all.filter((c) => !only || c.kind === only), only ? counts[only] : counts.added + counts.removed + counts.changed, counts, only, (kind) => {
      only = only === kind ? "" : kind;
      draw();
    });
    draw();
  }

  function drawChanges(changes, total, counts, only, choose) {
    fill(list, h("div", { class: "sgw-kinds", role: "group", "aria-label": "kind of change" }, Object.keys(SIGNS).filter((kind) => counts[kind]).map((kind) => h("button", {
      type: "button", class: "sgw-chip", "data-kind": kind, "aria-expanded": String(only === kind), on: { click: () => choose(kind) },
    }, h("i", { class: kind }, `${SIGNS[kind]}${number(counts[kind])} ${kind}`)))), h("table", {}, h("thead", {}, h("tr", {}, ["", counts.type, "what"].map((word) => h("th", { scope: "col" }, word)))), h("tbody", {}, changes.map((c) => h("tr", {},
      h("td", {}, h("i", { class: `sgw-kind ${c.kind}` }, `${SIGNS[c.kind]} ${c.kind}`)),
      h("td", {}, c.link ? cut(c.title, 80) : h("button", { type: "button", class: "sgw-open", "data-key": c.key, on: { click: () => openBoth(c) } }, cut(c.title || c.key, 80))),
      h("td", {}, c.kind === "changed" ? c.properties.map((p) => changed(p)) : null))))),
    changes.length < total ? h("div", { class: "sgx-quiet" }, `the first ${number(changes.length)} of ${number(total)}`) : null);
  }

  function changed(p) {
    const side = (value) => {
      if (value === null || value === "") return value === null ? "empty" : "“”";
      return /^-?\d+\.\d{4,}$/.test(value) ? number(Math.round(value * 1000) / 1000) : cut(value, 60);
    };
    return h("span", { class: "sgw-change", title: `${p.name}: ${cut(p.old ?? "no value", 500)} → ${cut(p.new ?? "no value", 500)}` }, h("small", {}, p.name), " ", h("s", {}, side(p.old)), " → ", h("ins", {}, side(p.new)));
  }

  function openBoth(c) {
    place = { text: c.type, card: { type: c.type, key: c.key, title: c.title || c.key }, graph: null };
    toAddress();
    for (const side of Object.values(sides)) side.tie.visit(place);
  }

  // ---- the life of one object

  // Asked once for both sides, and one after the other: a newer question would make the older stale.
  function lifeOf(type, key) {
    const id = JSON.stringify([type, key, moments.length]);
    if (!lives.has(id)) {
      if (lives.size > 50) lives.clear();
      const answer = lifeQueue.then(() => own.ask("life", { type, key }));
      answer.catch(() => lives.delete(id));
      lives.set(id, answer);
      lifeQueue = answer.catch(() => {});
    }
    return lives.get(id);
  }

  async function drawLife(body, type, key) {
    let found;
    try {
      found = await lifeOf(type, key);
    } catch {
      return; // the card says what is wrong
    }
    if (closed || !body.isConnected || !found.versions.length) return;
    const seen = moments.findIndex((m) => m.value === at);
    const past = (version) => moments.findIndex((m) => m.value === version.value) <= seen;
    const first = found.versions.findIndex(past);
    const mark = body.querySelector(".sgw-mark");
    const made = [h("h4", {}, "Life"), h("ol", { class: "sgw-life", "aria-label": "versions, newest first" }, found.versions.map((version, i) => h("li", { class: `${version.kind}${i === first ? " now" : ""}${past(version) ? "" : " later"}` },
      h("button", { type: "button", title: `Go to ${version.label}`, "data-value": version.value, on: { click: () => jump(version.value) } }, version.label), h("i", { class: `sgw-kind ${version.kind}` }, version.kind),
      ...version.properties.slice(0, 6).map((p) => h("div", {}, changed(p))), version.properties.length > 6 ? h("div", { class: "sgx-quiet" }, `and ${number(version.properties.length - 6)} more`) : null)),
    found.more ? h("li", { class: "sgx-quiet" }, `${number(found.more)} older ones`) : null)];
    if (mark) mark.after(...made);
    else body.prepend(...made);
  }

  function jump(value) {
    if (known(value) === null) return;
    bar.set(moments, value, from);
    goTo(value, from);
  }

  // ---- the rest

  function fail(error) {
    if (error instanceof Stale || closed) return;
    problem.hidden = false;
    fill(problem, h("span", {}, error.message), error.hint ? h("i", {}, error.hint) : null,
      h("button", { type: "button", class: "sgx-x", title: "Dismiss", on: { click: () => { problem.hidden = true; } } }, "×"));
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
    if (event.key === "," || event.key === ".") {
      const next = moments[moments.findIndex((m) => m.value === at) + (event.key === "." ? 1 : -1)];
      if (next) jump(next.value);
    } else if (event.key === "p") bar.toggle();
    else if (event.key === "c") bar.pair();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  const clock = setInterval(() => {
    if (plan.every_s && !document.hidden && Date.now() - looked > plan.every_s * 1000) look();
  }, LOOK_MS);
  look().finally(() => { document.documentElement.dataset.skyReady = "yes"; });

  return () => {
    closed = true;
    clearInterval(clock);
    bar.close();
    drop("at");
    drop("from");
    own.close();
  };
}

export default { render: twin };
