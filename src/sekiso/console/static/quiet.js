// Parts of a page that refresh themselves keep out of the way of who works there: what is the same is not
// swapped, and nothing is swapped under an open question or around a button whose request is under way.

const shown = new Map();
const working = new Set();
let isMissed = false;
let pressed = null;

const isBackground = (detail) => detail.requestConfig?.headers?.["X-Sekiso-Background"] === "1";
function isBusy(target) {
  const dialogs = [...document.querySelectorAll("dialog[open]")];
  // What is exchanged between press and release takes the click with it.
  if (pressed && target.contains(pressed)) return true;
  return dialogs.some((dialog) => !dialog.contains(target)) || [...working].some((element) => target.contains(element));
}
function catchUp() {
  if (!isMissed || document.querySelector("dialog[open]") || [...working].some((element) => element.isConnected)) return;
  isMissed = false;
  for (const topic of ["sekiso:tasks", "sekiso:agents"]) document.body.dispatchEvent(new CustomEvent(topic, { detail: {} }));
}

document.addEventListener("htmx:beforeRequest", (event) => {
  const { detail } = event;
  if (!isBackground(detail)) working.add(detail.requestConfig.elt);
  else if (isBusy(detail.target)) {
    isMissed = true;
    event.preventDefault();
  }
});
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const { target, serverResponse } = detail;
  if (isBackground(detail) && isBusy(target)) {
    isMissed = true;
    detail.shouldSwap = false;
  }
  if (!target.id || !detail.shouldSwap) return;
  if (isBackground(detail) && shown.get(target.id) === serverResponse) detail.shouldSwap = false;
  else shown.set(target.id, serverResponse);
});
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  working.delete(detail.requestConfig.elt);
  setTimeout(catchUp, 50);
});
document.addEventListener("pointerdown", (event) => (pressed = event.target), true);
for (const end of ["pointerup", "pointercancel"]) {
  document.addEventListener(end, () => setTimeout(() => ((pressed = null), catchUp())), true);
}
// Closing does not bubble.
document.addEventListener("close", () => setTimeout(catchUp, 50), true);
