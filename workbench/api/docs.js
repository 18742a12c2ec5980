"use strict";

// Everything that comes from the server is put in as text, never as HTML.
function make(tag, props = {}, ...children) {
  const element = Object.assign(document.createElement(tag), props);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Text with `code` in it.
function prose(text) {
  return text.split("`").map((part, at) => (at % 2 ? make("code", { textContent: part }) : part));
}

const tokenField = document.querySelector("#token input");

function headers() {
  return tokenField.value ? { Authorization: `Bearer ${tokenField.value}` } : {};
}

async function ask(path) {
  const answer = await fetch(path, { headers: headers() });
  if (answer.status === 401) document.querySelector("#token").hidden = false;
  return answer;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function address(path, inputs) {
  const query = new URLSearchParams();
  for (const { parameter, field } of inputs) {
    if (parameter.in === "path") {
      path = path.replace(`{${parameter.name}}`, encodeURIComponent(field.value));
    } else if (field.value !== "") {
      const many = parameter.schema?.type === "array";
      for (const value of many ? field.value.split(";") : [field.value]) query.append(parameter.name, value.trim());
    }
  }
  const asked = query.toString();
  return asked ? `${path}?${asked}` : path;
}

function trial(method, path, parameters) {
  const inputs = parameters.map((parameter) => {
    const field = make("input", { placeholder: String(parameter.schema?.default ?? ""), spellcheck: false });
    field.setAttribute("aria-label", parameter.name);
    return { parameter, field };
  });
  const rows = inputs.map(({ parameter, field }) => {
    const many = parameter.schema?.type === "array" ? "; several with ; between" : "";
    return make(
      "tr", {},
      make("th", {}, make("code", { textContent: parameter.name }), parameter.required ? " *" : ""),
      make("td", {}, ...prose((parameter.description ?? (parameter.in === "path" ? "in the address" : "")) + many)),
      make("td", {}, method === "get" ? field : null),
    );
  });
  const table = rows.length ? make("table", {}, ...rows) : null;
  if (method !== "get") {
    const curl = `curl -X POST -H 'Content-Type: application/json' -d '{}' ${quoted(location.origin + path)}`;
    return make("div", {}, table, make("pre", { textContent: curl }));
  }
  const status = make("p", { className: "told" });
  const body = make("pre", { hidden: true });
  async function run() {
    const path_ = address(path, inputs);
    status.className = "told";
    status.textContent = "…";
    const started = performance.now();
    try {
      const answer = await ask(path_);
      const text = await answer.text();
      const isJson = (answer.headers.get("content-type") ?? "").startsWith("application/json");
      body.textContent = `$ curl ${quoted(location.origin + path_)}\n` + (isJson && text ? JSON.stringify(JSON.parse(text), null, 2) : text);
      status.textContent = `${answer.status} ${answer.statusText} · ${Math.round(performance.now() - started)} ms`;
      status.classList.toggle("bad", !answer.ok);
      body.hidden = false;
    } catch (error) {
      status.textContent = `no answer: ${error.message}`;
      status.classList.add("bad");
    }
  }
  const form = make("form", {}, table, make("button", { textContent: "Try it" }), status, body);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  return form;
}

function route(method, path, operation) {
  const told = operation.description ?? "";
  return make(
    "details", { className: method },
    make(
      "summary", {},
      make("span", { className: "method", textContent: method.toUpperCase() }),
      make("span", { className: "path", textContent: path }),
      make("span", { className: "told" }, ...prose(operation.summary ?? "")),
    ),
    make("div", { className: "inside" }, told ? make("p", {}, ...prose(told)) : null, trial(method, path, operation.parameters ?? [])),
  );
}

async function show() {
  const routes = document.querySelector("#routes");
  const answer = await ask("/openapi.json");
  if (!answer.ok) {
    routes.replaceChildren(make("p", { className: "bad", textContent: (await answer.json()).hint ?? answer.statusText }));
    return;
  }
  const schema = await answer.json();
  document.querySelector("#version").textContent = schema.info.version;
  document.querySelector("#about").replaceChildren(...prose(schema.info.description.trim()));
  const groups = new Map();
  for (const [path, operations] of Object.entries(schema.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const tag = operation.tags?.[0] ?? "other";
      groups.set(tag, [...(groups.get(tag) ?? []), route(method, path, operation)]);
    }
  }
  routes.replaceChildren(
    ...[...groups].sort(([a], [b]) => a.localeCompare(b)).map(([tag, all]) => make("section", {}, make("h2", { textContent: tag }), ...all)),
  );
}

tokenField.addEventListener("change", show);
show();
