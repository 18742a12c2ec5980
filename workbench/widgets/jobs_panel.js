// The jobs panel in the browser: draws what the kernel answers, and asks it again every few seconds while somebody looks.
//
// A question is {id, ask, ...}; its answer {id, answer} or {id, error: {message, hint}}. Of two questions of a kind the newer counts.
// Nothing that comes from the kernel becomes HTML: values are text nodes and attributes. The page of a run goes into a frame that has no
// origin, runs no script and loads nothing.

const SVG = "http://www.w3.org/2000/svg";
const STEP = 7, WIDE = 5, HIGH = 26; // pixels of a bar of the line
const SLOTS = 40;
const ROWS = 60; // jobs shown at first
const EVERY_MS = 5000;
const LOST_MS = 30000; // without an answer the kernel is gone, or very busy

function h(tag, props, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, run] of Object.entries(value)) node.addEventListener(event, run);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return node;
}

const number = (count) => count.toLocaleString("en-US");
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
const when = (text) => (text ? `${text.slice(0, 10)} ${text.slice(11, 19)}` : "");
const TONES = { ok: "good", failing: "bad", failed: "bad", killed: "bad", timeout: "bad", lost: "bad", late: "warn", waiting: "warn", running: "brand" };
const tone = (word) => TONES[word] ?? "";
const isBad = (status) => !["ok", "running", "stopped"].includes(status);

function took(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function span(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

function away(text) {
  if (!text) return "";
  const seconds = (Date.parse(text) - Date.now()) / 1000;
  return seconds >= 0 ? `in ${span(seconds)}` : `${span(-seconds)} ago`;
}

const told = (run) => [`${when(run.started_at)} UTC`, run.status, took(run.seconds), (run.error ?? "").slice(0, 300)].filter(Boolean).join(" · ");

// The last runs, oldest left: a bar is as high as the run was long, and one that was not well has a dot above it.
function line(runs, open) {
  const shown = runs.slice(0, SLOTS).reverse();
  if (!shown.length) return h("span", { class: "dim" }, "no run yet");
  const most = Math.max(...shown.map((run) => run.seconds ?? 0), 0.001);
  const wrong = shown.filter((run) => isBad(run.status)).length;
  const width = SLOTS * STEP;
  const marks = shown.map((run, n) => {
    const x = (SLOTS - shown.length + n) * STEP + 1;
    const high = Math.max(2, ((HIGH - 9) * (run.seconds ?? 0)) / most);
    const bar = h("svg:rect", { class: `bar ${run.status === "stopped" ? "stopped" : tone(run.status)}`, x, y: HIGH - 1 - high, width: WIDE, height: high, rx: 1 });
    const dot = isBad(run.status) ? h("svg:circle", { class: "dot", cx: x + WIDE / 2, cy: HIGH - 5 - high, r: 2.2 }) : null;
    return h("svg:g", { class: "run", "data-run": run.run_id, on: { click: () => open(run.run_id) } },
      h("svg:title", {}, told(run)), h("svg:rect", { class: "area", x: x - 1, y: 0, width: STEP, height: HIGH }), bar, dot);
  });
  const label = `last ${plural(shown.length, "run")}${wrong ? `, ${wrong} not well` : ""}; newest: ${told(shown.at(-1))}`;
  return h("svg:svg", { role: "img", "aria-label": label, width, height: HIGH, viewBox: `0 0 ${width} ${HIGH}` },
    h("svg:line", { class: "ground", x1: 0, x2: width, y1: HIGH - 0.5, y2: HIGH - 0.5 }), marks);
}

const chip = (word) => h("span", { class: `sjp-chip ${tone(word)}` }, word);

class Panel {
  constructor(model, node) {
    this.model = model;
    this.name = Math.random().toString(36).slice(2, 10);
    this.serial = 0;
    this.open = new Map(); // kind -> {id, done, at}
    this.found = null; // the last answer about jobs
    this.rows = new Map(); // job -> {node, stamp}
    this.most = ROWS;
    this.job = ""; // the one whose runs are shown
    this.run = "";
    this.list = { first: 0, total: 0, rows: [] };
    this.hear = (message) => this.answered(message);
    model.on("msg:custom", this.hear);
    this.build(node);
    this.read();
    this.timer = setInterval(() => this.tick(), EVERY_MS);
  }

  build(node) {
    this.note = h("span", { class: "sjp-note", role: "status" });
    this.refresh = h("button", { type: "button", title: "Read jobs and runs again", on: { click: () => { this.read(); if (this.job) this.readRuns(this.list.first, true); } } }, "Refresh");
    this.find = h("input", { type: "search", placeholder: "find a job or a state", "aria-label": "find a job or a state", hidden: true, on: { input: () => this.drawRows() } });
    this.banners = h("div", {});
    this.head = h("div", { class: "sjp-row sjp-head" }, h("div", {}, "job"), h("div", {}, "state"), h("div", {}, "next due"),
      h("div", { title: "oldest left; a higher bar took longer, a dot was not well" }, `last ${SLOTS} runs`), h("div", {}, "last run"));
    this.body = h("div", { class: "sjp-body" });
    this.more = h("button", { type: "button", hidden: true, on: { click: () => { this.most += ROWS * 4; this.drawRows(); } } });
    this.detail = h("section", { class: "sjp-detail", hidden: true });
    this.root = h("div", { class: "sjp" },
      h("div", { class: "sjp-top" }, h("b", {}, "Jobs"), this.note, this.find, this.refresh), this.banners,
      h("div", { class: "sjp-jobs" }, this.head, this.body), this.more, this.detail);
    node.append(this.root);
  }

  // --- questions

  ask(kind, body, done) {
    const id = `${this.name}.${++this.serial}`;
    this.open.set(kind, { id, done, at: Date.now() });
    try {
      this.model.send({ id, ask: kind, ...body });
    } catch {
      this.lost();
    }
  }

  answered(message) {
    for (const [kind, one] of this.open) {
      if (one.id !== message.id) continue;
      this.open.delete(kind);
      one.done(message.answer, message.error);
      return;
    }
  }

  lost() {
    this.open.clear();
    this.say("the kernel of this panel does not answer; run its cell again", "bad");
  }

  say(text, kind = "") {
    this.note.textContent = text;
    this.note.title = text;
    this.note.className = `sjp-note ${kind}`;
  }

  tick() {
    if (!this.root.isConnected || document.visibilityState !== "visible" || this.root.offsetParent === null) return;
    const waiting = this.open.get("jobs");
    if (!waiting) this.read();
    else if (Date.now() - waiting.at > LOST_MS) {
      this.lost();
      this.read();
    }
  }

  read() {
    this.ask("jobs", {}, (answer, error) => {
      if (error) {
        this.banner([["bad", `${error.message}${error.hint ? `; ${error.hint}` : ""}`]]);
        return;
      }
      const before = this.found?.jobs.find((job) => job.job === this.job)?.runs[0];
      this.found = answer;
      this.draw();
      const after = answer.jobs.find((job) => job.job === this.job)?.runs[0];
      // the open list follows, while it shows the newest runs and nobody reads one of them
      if (this.job && !this.run && this.list.first === 0 && before?.run_id + before?.status !== after?.run_id + after?.status) this.readRuns(0, true);
    });
  }

  // --- jobs

  draw() {
    const { jobs, running, problems, at } = this.found;
    const wrong = jobs.filter((job) => ["failing", "late"].includes(job.state)).length;
    this.say(`${plural(jobs.length, "job")}${wrong ? `, ${wrong} failing or late` : ""}${running ? "" : ", the scheduler does not run"} · as of ${at.slice(11, 19)} UTC`);
    const banners = problems.map((text) => ["bad", `The plan before the last edit is in use: ${text}`]);
    if (!running) banners.push(["warn", "The scheduler does not run, so nothing starts by itself: ", "skygraph up"]);
    this.banner(banners);
    this.find.hidden = jobs.length <= 12;
    this.drawRows();
  }

  banner(lines) {
    this.banners.replaceChildren(...lines.map(([kind, text, command]) => h("div", { class: `sjp-banner ${kind}` }, text, command ? h("code", {}, command) : null)));
  }

  drawRows() {
    if (!this.found) return;
    const words = this.find.hidden ? [] : this.find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const jobs = this.found.jobs.filter((job) => words.every((word) => `${job.job} ${job.state} ${job.when} ${job.notebook}`.toLowerCase().includes(word)));
    const shown = jobs.slice(0, this.most);
    const nodes = shown.map((job) => this.row(job));
    if (nodes.some((node, n) => this.body.children[n] !== node) || this.body.children.length !== nodes.length) {
      const held = this.root.contains(document.activeElement) ? document.activeElement : null;
      this.body.replaceChildren(...nodes);
      held?.focus({ preventScroll: true });
    }
    if (!this.found.jobs.length) {
      this.body.replaceChildren(h("div", { class: "sjp-empty" }, "No job yet. Give a table an interval (", h("code", {}, "every: 5 minutes"),
        "), or write a job under ", h("code", {}, "jobs:"), " in sync_jobs/tables.yml; run a notebook by hand with ", h("code", {}, "skygraph run jobs/sync.ipynb")));
    } else if (!jobs.length) this.body.replaceChildren(h("div", { class: "sjp-empty" }, "No job has these words."));
    this.head.hidden = !jobs.length;
    this.more.hidden = jobs.length <= this.most;
    this.more.textContent = `${number(jobs.length - shown.length)} more`;
  }

  row(job) {
    const kept = this.rows.get(job.job);
    const stamp = JSON.stringify(job) + (job.job === this.job ? this.run || "open" : "");
    if (kept?.stamp === stamp) {
      kept.times();
      return kept.node;
    }
    const last = job.runs[0];
    const due = h("span", {}), ago = h("small", {});
    const times = () => {
      due.textContent = job.next_due && Date.parse(job.next_due) <= Date.now() ? "now" : away(job.next_due);
      ago.textContent = last ? [away(last.started_at), took(last.seconds)].filter(Boolean).join(", ") : "";
    };
    times();
    const node = h("div", { class: `sjp-job${job.job === this.job ? " chosen" : ""}`, "data-job": job.job },
      h("div", { class: "sjp-row" },
        h("div", {}, h("button", { type: "button", class: "name", "aria-expanded": String(job.job === this.job), title: `Runs of ${job.job}\n${job.notebook} ${job.parameters}`, on: { click: () => this.choose(job.job === this.job ? "" : job.job) } }, job.job),
          h("small", {}, job.when || "by hand")),
        h("div", {}, chip(job.state)),
        h("div", { title: job.next_due ? `${when(job.next_due)} UTC` : "not due by time" }, job.next_due ? due : h("span", { class: "dim" }, "—")),
        h("div", { class: "line" }, line(job.runs, (run) => this.choose(job.job, run))),
        h("div", { title: last ? `${when(last.started_at)} UTC` : "" }, last ? [chip(last.status), ago] : h("span", { class: "dim" }, "never"))),
      job.error ? h("pre", { class: "sjp-error" }, job.error) : null);
    if (kept?.node.isConnected) {
      const held = kept.node.contains(document.activeElement);
      kept.node.replaceWith(node);
      if (held) node.querySelector("button").focus({ preventScroll: true });
    }
    this.rows.set(job.job, { node, stamp, times });
    return node;
  }

  // --- runs of one job

  choose(job, run = "") {
    this.job = job;
    this.run = run;
    this.list = { first: 0, total: 0, rows: [] };
    this.detail.hidden = !job;
    this.drawRows();
    if (!job) return;
    this.detail.replaceChildren(h("div", { class: "dim" }, "reading…"));
    this.readRuns(0);
    if (run) this.readPage();
  }

  readRuns(first, quiet = false) {
    const job = this.job;
    this.ask("runs", { job, first }, (answer, error) => {
      if (job !== this.job) return;
      if (error) {
        if (!quiet) this.detail.replaceChildren(h("div", { class: "sjp-banner bad" }, `${error.message}${error.hint ? `; ${error.hint}` : ""}`));
        return;
      }
      this.list = answer;
      this.drawDetail();
    });
  }

  readPage() {
    const run = this.run;
    this.page = null;
    this.ask("page", { run }, (answer, error) => {
      if (run !== this.run) return;
      this.page = answer ?? { error };
      this.drawPage();
    });
  }

  drawDetail() {
    const { first, total, rows } = this.list;
    const cell = (text, kind = "") => h("td", { class: kind }, text);
    const lines = rows.map((run) => h("tr", { class: run.run_id === this.run ? "chosen" : "", "data-run": run.run_id },
      h("td", {}, h("button", { type: "button", title: "Show what this run gave", on: { click: () => { this.run = run.run_id === this.run ? "" : run.run_id; this.drawDetail(); this.drawRows(); if (this.run) this.readPage(); } } }, when(run.started_at))),
      h("td", {}, chip(run.status)), cell(took(run.seconds), "n"), cell(run.peak_mb ? `${Math.round(run.peak_mb)} MB` : "", "n"),
      cell(run.attempt > 1 ? `try ${run.attempt}` : run.due_at ? "" : "by hand", "dim"), cell(run.parameters, "words"), cell((run.error ?? "").split("\n")[0], "words bad")));
    this.frame = h("div", { class: "sjp-page" });
    const pages = total > 100 ? h("div", { class: "sjp-pager" },
      h("button", { type: "button", disabled: first === 0, "aria-label": "newer runs", on: { click: () => this.readRuns(Math.max(0, first - 100)) } }, "‹"),
      h("span", { class: "dim" }, `${number(first + 1)} to ${number(first + rows.length)} of ${number(total)}`),
      h("button", { type: "button", disabled: first + rows.length >= total, "aria-label": "older runs", on: { click: () => this.readRuns(first + 100) } }, "›")) : null;
    const held = this.root.contains(document.activeElement) && document.activeElement.closest("tr")?.dataset.run;
    const top = this.detail.querySelector(".sjp-runs")?.scrollTop ?? 0;
    const list = h("div", { class: "sjp-runs" }, rows.length
      ? h("table", {}, h("thead", {}, h("tr", {}, ["started (UTC)", "outcome", "took", "memory", "", "parameters", "error"].map((name) => h("th", { scope: "col", class: ["took", "memory"].includes(name) ? "n" : "" }, name)))), h("tbody", {}, lines))
      : h("div", { class: "sjp-empty" }, "No run of it is known. By hand: ", h("code", {}, `skygraph run ${this.job.includes(" ") ? "jobs/sync.ipynb" : this.job}`)));
    this.detail.replaceChildren(h("div", { class: "sjp-detail-top" }, h("b", {}, this.job), h("span", { class: "dim" }, plural(total, "run")), pages,
      h("button", { type: "button", class: "x", "aria-label": "close the runs", on: { click: () => this.choose("") } }, "×")), list, this.frame);
    list.scrollTop = top;
    if (held) [...list.querySelectorAll("tr")].find((row) => row.dataset.run === held)?.querySelector("button")?.focus({ preventScroll: true });
    this.drawPage();
  }

  drawPage() {
    if (!this.frame) return;
    if (!this.run) return this.frame.replaceChildren();
    const run = this.list.rows.find((one) => one.run_id === this.run);
    const facts = run ? h("div", { class: "sjp-facts" }, chip(run.status), h("span", {}, `${when(run.started_at)} UTC`), took(run.seconds) ? h("span", {}, took(run.seconds)) : null,
      run.parameters ? h("code", {}, run.parameters) : null, h("span", { class: "dim" }, `run ${run.run_id.slice(0, 8)}`)) : null;
    const fault = run?.error ? h("pre", { class: "sjp-error" }, run.error) : null;
    let shown = h("div", { class: "dim" }, "reading its page…");
    if (this.page?.error) shown = h("div", { class: "sjp-banner" }, `${this.page.error.message}${this.page.error.hint ? `; ${this.page.error.hint}` : ""}`);
    else if (this.page) {
      shown = h("iframe", { title: `output of run ${this.run}`, sandbox: "", referrerpolicy: "no-referrer" });
      shown.srcdoc = this.page.page;
    }
    const path = run?.output ? h("div", { class: "sjp-path dim" }, run.output) : null;
    this.frame.replaceChildren(...[facts, fault, shown, path].filter(Boolean));
  }

  close() {
    clearInterval(this.timer);
    this.model.off("msg:custom", this.hear);
  }
}

export default {
  render({ model, el }) {
    const panel = new Panel(model, el);
    return () => panel.close();
  },
};
