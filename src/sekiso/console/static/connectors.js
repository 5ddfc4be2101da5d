// Connector configurations: what is being typed stays while the fields are asked for anew, and the rows of a test.
const FIELDS = "configuration-fields";
const typed = (root) => root.querySelectorAll('input[type="text"]');

// What was typed after the request was sent wins over the answer.
let before = new Map();
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.id !== FIELDS) return;
  const taken = (field) => [field.id, [field.value, field.selectionStart, field.selectionEnd]];
  before = new Map([...typed(event.detail.target)].map(taken));
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target.id !== FIELDS) return;
  for (const field of typed(event.detail.target)) {
    const [value, start, end] = before.get(field.id) ?? [field.value];
    if (value === field.value) continue;
    const isActive = field === document.activeElement;
    // The appliance leaves out spaces around a value: that is not another value, and asking again would never end.
    const isSame = value.trim() === field.value;
    if (isSame && !isActive) continue;
    field.value = value;
    if (isActive) field.setSelectionRange(start, end);
    if (isSame) continue;
    // For the browser it has not been changed by a person: it would say nothing when it is left.
    const leave = () => field.isConnected && field.dispatchEvent(new Event("change", { bubbles: true }));
    field.addEventListener("change", () => field.removeEventListener("blur", leave), { once: true });
    field.addEventListener("blur", leave, { once: true });
    if (!isActive) leave();
  }
});

// While it is being saved, nothing is asked for: that would cut the saving off.
const isForm = (event) => event.detail.elt.id === "configuration";
let isSaving = false;
document.addEventListener("htmx:beforeRequest", (event) => (isSaving ||= isForm(event)));
document.addEventListener("htmx:afterRequest", (event) => (isSaving &&= !isForm(event)));
document.addEventListener("htmx:confirm", (event) => {
  if (isSaving && !isForm(event) && event.detail.elt.closest("#configuration")) event.preventDefault();
});

// Agents that come and go: only when that has happened, since a request would stop the one under way.
document.body.addEventListener("sekiso:agents", (event) => {
  if (!Array.isArray(event.detail)) return;
  document.querySelector("[data-agents-changed]")?.dispatchEvent(new Event("agents-changed"));
});

// Marks a field with what a test has found; the mark goes when the field is asked for anew.
function mark(name, texts) {
  const field = document.querySelector(`#${FIELDS} [id="${CSS.escape(name)}"]`);
  if (!field || document.getElementById(`${name}-problem`)) return;
  const box = document.createElement("div");
  box.className = "invalid-feedback d-block";
  box.id = `${name}-problem`;
  box.dataset.fromTest = name;
  for (const text of texts) box.append(Object.assign(document.createElement("div"), { textContent: text }));
  field.setAttribute("aria-describedby", `${box.id} ${field.getAttribute("aria-describedby") ?? ""}`.trim());
  if (field.matches("input, select")) {
    field.classList.add("is-invalid");
    field.setAttribute("aria-invalid", "true");
  }
  const outer = field.closest(".input-group, .form-check") ?? field;
  if (outer.matches("fieldset")) outer.append(box);
  else outer.after(box);
}

function unmark() {
  for (const box of document.querySelectorAll("[data-from-test]")) {
    const field = document.getElementById(box.dataset.fromTest);
    field?.classList.remove("is-invalid");
    field?.removeAttribute("aria-invalid");
    box.remove();
  }
}

async function* linesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    yield* lines.filter(Boolean);
  }
  if (rest) yield rest;
}

class Test {
  constructor(root) {
    this.root = root;
    this.panel = root.querySelector("[data-test-panel]");
    this.untouched = this.find("[data-checks]").innerHTML;
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  row(code) {
    return this.find(`[data-check="${CSS.escape(code)}"]`);
  }

  stop() {
    this.stopping?.abort();
  }

  async start() {
    this.stop();
    const stopping = new AbortController();
    this.stopping = stopping;
    unmark();
    this.find("[data-checks]").innerHTML = this.untouched;
    this.find("[data-test-failure]").replaceChildren();
    this.now(this.find("[data-check]"));
    this.running(true);
    try {
      await this.read(await this.ask(stopping.signal));
    } catch (error) {
      if (this.stopping !== stopping) return;
      const { stopped, broken } = this.panel.dataset;
      this.find("[data-test-summary]").textContent = error.name === "AbortError" ? stopped : broken;
    }
    if (this.stopping !== stopping) return;
    this.now(null);
    this.running(false);
  }

  ask(signal) {
    const body = new URLSearchParams(this.root.matches("form") ? new FormData(this.root) : undefined);
    const csrf = document.querySelector('meta[name="sekiso-csrf"]').content;
    const headers = { "X-Sekiso-CSRF": csrf, "HX-Request": "true" };
    return fetch(this.root.dataset.test, { method: "POST", body, headers, signal });
  }

  async read(answer) {
    if (answer.status === 401) window.location.reload();
    else if (answer.status === 422) this.refuse(await answer.json());
    else if (!answer.ok) this.tell(answer);
    else for await (const line of linesOf(answer.body)) this.take(JSON.parse(line));
  }

  // What is shown by the appliance's own words for a failed request.
  tell(answer) {
    const events = JSON.parse(answer.headers.get("HX-Trigger") ?? "{}");
    for (const [name, detail] of Object.entries(events)) {
      document.body.dispatchEvent(new CustomEvent(name, { detail }));
    }
    this.find("[data-test-summary]").textContent = "";
  }

  refuse({ html, fields }) {
    this.find("[data-test-failure]").innerHTML = html;
    this.find("[data-test-summary]").textContent = "";
    for (const [name, texts] of Object.entries(fields)) mark(name, texts);
  }

  take(line) {
    if (line.broken_off) {
      this.find("[data-test-failure]").innerHTML = line.html;
      return;
    }
    this.row(line.code).outerHTML = line.html;
    this.find("[data-test-summary]").innerHTML = line.summary;
    this.now(line.next ? this.row(line.next) : null);
    if (this.root.matches("form")) for (const [name, texts] of Object.entries(line.fields)) mark(name, texts);
  }

  now(row) {
    for (const other of this.root.querySelectorAll("[data-now]")) delete other.dataset.now;
    if (!row) return;
    row.dataset.now = "";
    // In the dialog, which scrolls; a page is not scrolled away from under who reads it.
    if (this.root.matches("dialog *")) row.scrollIntoView({ block: "nearest" });
  }

  running(isRunning) {
    const [start, stop] = [this.find("[data-test-start]"), this.find("[data-test-stop]")];
    const hadFocus = [start, stop].includes(document.activeElement);
    start.hidden = isRunning;
    stop.hidden = !isRunning;
    if (hadFocus) (isRunning ? stop : start).focus();
  }
}

const tests = new WeakMap();
function testOf(element) {
  const root = element.closest("[data-test]");
  if (root && !tests.has(root)) tests.set(root, new Test(root));
  return root && tests.get(root);
}
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-test-start]")) testOf(event.target).start();
  if (event.target.closest("[data-test-stop]")) testOf(event.target).stop();
});

// In a dialog the test begins by itself, and ends with it.
let shown = null;
const dialog = document.getElementById("dialog");
document.addEventListener("htmx:afterSwap", (event) => {
  const root = event.detail.target === dialog && dialog.querySelector("[data-test-now]");
  if (!root) return;
  shown = testOf(root);
  shown.start();
});
dialog.addEventListener("close", () => {
  shown?.stop();
  shown = null;
});
