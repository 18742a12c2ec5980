// A page that does not come up is asked for again: a kernel can hang, or end, before its page is ready. Twice; then a person decides.
(function () {
  const STEP_MS = 30000; // without any progress
  const TRIES = 2;
  const key = `sky-tries:${location.pathname}`;
  let moved = Date.now();
  let rendered = false;
  const tries = () => Number(sessionStorage.getItem(key) || 0);

  let widgets = false; // asked before the scripts that draw them take their descriptions away
  function needsWidgets() {
    const told = document.querySelectorAll('script[type="application/vnd.voila.cell-output+json"]');
    return [...told].some((one) => one.textContent.includes("widget-view+json"));
  }
  function ready() {
    if (broken()) return false;
    if (document.documentElement.dataset.skyReady === "yes") return true;
    if (!rendered) return false;
    if (document.querySelector(".sgb") !== null) return false; // it says so itself
    return widgets ? document.querySelector(".sgx, .jupyter-widgets") !== null && !broken() : document.readyState === "complete";
  }
  // of many pages opened at once, some do not get what their kernel knows in time: their widgets cannot be drawn any more
  function broken() {
    return [...document.querySelectorAll(".jupyter-widgets")].some((one) => one.textContent.startsWith("Error displaying widget"));
  }
  function look() {
    if (ready()) {
      sessionStorage.removeItem(key);
      document.documentElement.dataset.skyReady = "yes";
      return;
    }
    if ((Date.now() - moved > STEP_MS || broken()) && !document.hidden) {
      if (tries() < TRIES) {
        moved = Date.now();
        sessionStorage.setItem(key, String(tries() + 1));
        location.reload();
        return;
      }
      const said = document.getElementById("sky-trouble");
      if (said && !said.firstChild) {
        const again = document.createElement("button");
        again.textContent = "Try again";
        again.onclick = () => { sessionStorage.removeItem(key); location.reload(); };
        said.append("This dashboard did not come up. ", again);
      }
    }
    setTimeout(look, 250);
  }
  window.skyWatch = { step() { moved = Date.now(); }, rendered() { moved = Date.now(); rendered = true; widgets = needsWidgets(); } };
  document.addEventListener("DOMContentLoaded", () => window.skyWatch.step());
  // voila tells each cell that has run: that is progress, and there is no spinner to say it
  Object.defineProperty(window, "update_loading_text", { get: () => () => window.skyWatch.step(), set: () => {} });
  look();
})();
