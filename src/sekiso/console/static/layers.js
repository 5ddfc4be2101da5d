// Pages of layers: archives are sent to the appliance as soon as they are chosen, with progress; Enter in a search sends no form.

const inside = (part, name) => part.querySelector(`[data-run-once-${name}]`);
const sending = new WeakMap();

function show(part, { id, name }) {
  part.querySelector("input[name=run_once_upload_id]").value = id;
  part.querySelector("input[name=run_once_name]").value = name;
  inside(part, "name").textContent = name;
  inside(part, "chosen").hidden = !id;
  inside(part, "choose").hidden = Boolean(id);
  inside(part, "sending").hidden = true;
}

// What goes on in the form has to wait for the file.
function hold(part, isHeld) {
  for (const button of part.closest("form").querySelectorAll("[data-wizard-next], [data-wizard-finish]")) button.disabled = isHeld;
}

function problemOf(request, part) {
  try {
    const { title, detail, resolution } = JSON.parse(request.responseText);
    return [title, detail, resolution].filter(Boolean).join(" ");
  } catch {
    return part.dataset.lost;
  }
}

function send(part, file) {
  const request = new XMLHttpRequest();
  const bar = inside(part, "sending").querySelector("progress");
  const fail = (text) => {
    hold(part, false);
    show(part, { id: "", name: "" });
    inside(part, "file").value = "";
    inside(part, "problem").textContent = text;
  };
  inside(part, "problem").textContent = "";
  inside(part, "choose").hidden = true;
  inside(part, "sending").hidden = false;
  bar.value = 0;
  hold(part, true);
  request.open("POST", part.dataset.runOnce);
  request.setRequestHeader("Content-Type", "application/x-tar");
  request.setRequestHeader("Accept-Language", document.documentElement.lang);
  request.setRequestHeader("X-Sekiso-CSRF", document.querySelector('meta[name="sekiso-csrf"]').content);
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) bar.value = (event.loaded / event.total) * 100;
  });
  request.addEventListener("load", () => {
    if (request.status !== 201) {
      fail(problemOf(request, part));
      return;
    }
    hold(part, false);
    show(part, { id: JSON.parse(request.responseText).id, name: file.name });
  });
  request.addEventListener("error", () => fail(part.dataset.lost));
  request.addEventListener("abort", () => fail(""));
  request.send(file);
  sending.set(part, request);
}

document.addEventListener("change", (event) => {
  const field = event.target.closest("[data-run-once-file]");
  if (field?.files.length) send(field.closest("[data-run-once]"), field.files[0]);
});
document.addEventListener("click", (event) => {
  const part = event.target.closest("[data-run-once]");
  if (!part) return;
  if (event.target.closest("[data-run-once-stop]")) sending.get(part)?.abort();
  if (!event.target.closest("[data-run-once-remove]")) return;
  show(part, { id: "", name: "" });
  inside(part, "file").value = "";
  inside(part, "file").focus();
});
document.addEventListener(
  "keydown",
  (event) => {
    if (event.key === "Enter" && event.target.matches?.("[data-no-submit]")) event.preventDefault();
  },
  true,
);

// A step that comes back with something wrong: the first field that is meant. Above a whole form stands a summary.
document.addEventListener("htmx:load", (event) => {
  if (event.detail.elt.matches?.("fieldset[data-step]")) event.detail.elt.querySelector("[aria-invalid=true]:not([hidden] *)")?.focus();
});
