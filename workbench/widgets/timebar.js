// A bar of moments in time: how much happened at each, one that is chosen, play, and if wanted a second one to compare with.
//
// It stands before the script of the widget that uses it. Nothing it is given becomes HTML: values are text nodes and attributes.

const TimeBar = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const MOST = 240; // bars; more moments than that share one
  const STEP_MS = [1400, 700, 250]; // between two moments, by speed
  const LATE_MS = 15_000; // after that, playing goes on although nothing said that the last moment is drawn

  function node(tag, props, ...children) {
    const made = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
    for (const [name, value] of Object.entries(props ?? {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "on") for (const [event, run] of Object.entries(value)) made.addEventListener(event, run);
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }

  return class {
    // `pick(value, from)` is told what was chosen: values of moments; `from` is null without a comparison. `arrived()` is to be
    // called when that is drawn, so that playing waits for it. With `compare`, there is a button for a second moment.
    constructor({ label, pick, compare = false }) {
      this.pick = pick;
      this.moments = [];
      this.at = this.from = null; // places in the list
      this.speed = 1;
      this.play = node("button", { class: "sgt-play", title: "Play (Space)", "aria-label": "Play", on: { click: () => this.toggle() } }, "▶");
      this.faster = node("button", { class: "sgt-speed", title: "Speed", "aria-label": "Speed", on: { click: () => this.next() } }, "1×");
      this.bars = node("svg:svg", { class: "sgt-bars", preserveAspectRatio: "none", "aria-hidden": "true", on: { pointerdown: (event) => this.point(event) } });
      this.range = this.slider(`${label}: the time that is shown`, (place) => this.choose(place, this.from));
      this.second = this.slider("the time that it is compared with", (place) => this.choose(this.at, place));
      this.second.classList.add("from");
      this.said = node("output", { class: "sgt-said" });
      this.track = node("div", { class: "sgt-track" }, this.bars, this.range, this.second);
      this.compare = node("button", { class: "sgt-compare", "aria-pressed": "false", title: "Compare two times (C)", on: { click: () => this.pair() } }, "Compare");
      this.node = node("div", { class: "sgt", role: "group", "aria-label": label, on: { keydown: (event) => this.key(event) } },
        this.play, this.faster, this.track, this.said, ...(compare ? [this.compare] : []));
      this.comparing = compare;
      this.draw();
    }

    slider(label, moved) {
      return node("input", { type: "range", min: "0", max: "0", step: "1", "aria-label": label, on: { input: (event) => { const place = Number(event.target.value); this.stop(); moved(place); } } });
    }

    // The moments, in order: `{value, label, count}`; what is chosen, and what it is compared with.
    set(moments, value, from = null) {
      const same = moments.length === this.moments.length && moments.every((m, i) => m.value === this.moments[i].value && m.count === this.moments[i].count);
      const place = (wanted) => { const found = moments.findIndex((m) => m.value === wanted); return found < 0 ? null : found; };
      this.moments = moments;
      this.at = place(value) ?? (moments.length ? moments.length - 1 : null);
      this.from = from === null ? null : place(from);
      if (!same) this.drawBars();
      this.draw();
    }

    arrived() {
      this.waits = false;
    }

    choose(place, from) {
      if (place === this.at && from === this.from) return;
      this.at = place;
      this.from = from;
      this.draw();
      // while a handle is dragged, only where it rests is asked for
      clearTimeout(this.rest);
      this.rest = setTimeout(() => this.pick(this.moments[this.at].value, this.from === null ? null : this.moments[this.from].value), this.timer ? 0 : 120);
    }

    point(event) {
      if (!this.moments.length) return;
      const box = this.bars.getBoundingClientRect();
      const place = Math.floor(((event.clientX - box.left) / box.width) * this.moments.length);
      this.stop();
      this.choose(Math.max(0, Math.min(this.moments.length - 1, place)), this.from);
      this.range.focus();
    }

    pair() {
      if (!this.comparing || this.moments.length < 2) return;
      this.choose(this.at, this.from === null ? Math.max(0, this.at - 1) : null);
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === " " && event.target.tagName !== "BUTTON") this.toggle();
      else if (event.key.toLowerCase() === "c" && this.comparing) this.pair();
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    // ---- playing

    toggle() {
      if (this.timer) return this.stop();
      if (this.moments.length < 2) return;
      if (this.at >= this.moments.length - 1) this.choose(0, this.from);
      this.timer = setTimeout(() => this.step(), STEP_MS[this.speed - 1]);
      this.waits = false;
      this.draw();
    }

    step() {
      if (!this.node.isConnected) return this.stop();
      const late = this.waits && Date.now() - this.asked < LATE_MS;
      if (!late) {
        if (this.at >= this.moments.length - 1) return this.stop();
        this.waits = true;
        this.asked = Date.now();
        this.choose(this.at + 1, this.from);
      }
      this.timer = setTimeout(() => this.step(), late ? 50 : STEP_MS[this.speed - 1]);
    }

    stop() {
      clearTimeout(this.timer);
      this.timer = undefined;
      this.draw();
    }

    next() {
      this.speed = (this.speed % STEP_MS.length) + 1;
      this.faster.textContent = `${[1, 2, 5][this.speed - 1]}×`;
    }

    // ---- drawing

    drawBars() {
      const count = this.moments.length, shown = Math.min(count, MOST);
      const sums = Array.from({ length: shown }, () => 0);
      this.moments.forEach((m, i) => { sums[Math.floor((i * shown) / count)] += m.count || 0; });
      // the first snapshot records everything: a root keeps the others to be seen beside it
      const most = Math.sqrt(Math.max(...sums.slice(shown > 2 ? 1 : 0), 1));
      this.bars.setAttribute("viewBox", `0 0 ${shown || 1} 100`);
      this.bars.replaceChildren(...sums.map((sum, i) => {
        const high = sum ? Math.min(100, Math.max(4, (100 * Math.sqrt(sum)) / most)) : 0;
        const first = Math.ceil((i * count) / shown);
        return node("svg:rect", { x: i + 0.08, width: 0.84, y: 100 - high, height: high, "data-place": String(first) },
          node("svg:title", {}, document.createTextNode(`${this.moments[first].label}: ${sum.toLocaleString("en-US")} changed`)));
      }));
    }

    draw() {
      const count = this.moments.length, none = count === 0;
      for (const one of [this.range, this.second]) {
        one.max = String(Math.max(0, count - 1));
        one.disabled = count < 2;
      }
      this.play.disabled = this.compare.disabled = count < 2;
      this.second.hidden = this.from === null;
      this.track.classList.toggle("two", this.from !== null);
      this.play.textContent = this.timer ? "❚❚" : "▶";
      this.play.setAttribute("aria-label", this.timer ? "Pause" : "Play");
      this.compare.setAttribute("aria-pressed", String(this.from !== null));
      if (none) {
        this.said.replaceChildren("no snapshot yet");
        return;
      }
      const [low, high] = this.from === null ? [this.at, this.at] : [Math.min(this.at, this.from), Math.max(this.at, this.from)];
      this.range.value = String(this.at);
      this.range.setAttribute("aria-valuetext", this.moments[this.at].label);
      if (this.from !== null) {
        this.second.value = String(this.from);
        this.second.setAttribute("aria-valuetext", this.moments[this.from].label);
      }
      const shown = this.bars.childElementCount;
      [...this.bars.children].forEach((bar, i) => {
        const first = Math.ceil((i * count) / shown), last = Math.ceil(((i + 1) * count) / shown) - 1;
        bar.classList.toggle("on", first <= high && last >= low);
        bar.classList.toggle("past", last < low);
      });
      const words = [node("b", {}, this.moments[this.at].label)];
      if (this.from !== null) words.unshift(node("span", {}, this.moments[this.from].label), " → ");
      this.said.replaceChildren(...words, node("small", {}, ` ${(this.at + 1).toLocaleString("en-US")} of ${count.toLocaleString("en-US")}`));
    }

    close() {
      clearTimeout(this.timer);
      clearTimeout(this.rest);
    }
  };
})();
