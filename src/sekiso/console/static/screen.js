// The screen of a packaging machine: noVNC over the appliance, connected while the machine is on.
import RFB from "./vendor/novnc/core/rfb.js";
import { initLogging } from "./vendor/novnc/core/util/logging.js";
import { ENTER, SHIFT, keyOf } from "./screen_keys.js";

initLogging("none"); // What happens is shown on the page.

const card = document.querySelector("[data-screen]");
const part = (name) => card.querySelector(`[data-screen-${name}]`);
const view = part("view");
const tools = ["keyboard", "cad", "paste"].map(part);
const facts = document.getElementById("machine-facts");

// Close codes are 4000 + an HTTP status.
const NOT_LOGGED_IN = 4401, NOT_ALLOWED = 4403, TOO_MANY = [4429, 4503], OWN = 4000;
const LONGEST_WAIT_MS = 8000, BUSY_WAIT_MS = 10000, KEY_MS = 20;

let rfb = null;
let failures = 0;
let timer;
let isFitted = true;
let isRefused = false;

const isOn = () => facts.querySelector("[data-machine]")?.dataset.machine === "on";
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function show(name, colour) {
  const state = part("state");
  state.className = `status status-${colour}`;
  if (state.textContent !== card.dataset[name]) state.textContent = card.dataset[name];
  part("again").hidden = name === "connected" || name === "off";
  if (name === "connected") delete view.dataset.away;
  else view.dataset.away = card.dataset[name];
}

function connect() {
  clearTimeout(timer);
  if (rfb || isRefused) return;
  if (!isOn()) {
    show("off", "secondary");
    return;
  }
  if (!failures) show("connecting", "blue");
  const socket = new WebSocket(`wss://${window.location.host}${card.dataset.screen}`);
  let code = 0;
  socket.addEventListener("close", (event) => (code = event.code));
  const opened = new RFB(view, socket, { shared: true });
  opened.background = "transparent";
  opened.showDotCursor = true;
  opened.addEventListener("connect", onConnected);
  opened.addEventListener("disconnect", () => {
    // One that was replaced has nothing to say any more.
    if (rfb === opened) onEnded(code);
  });
  rfb = opened;
  fit();
}

function onConnected() {
  failures = 0;
  show("connected", "green");
  for (const tool of tools) tool.disabled = false;
  const canvas = view.querySelector("canvas");
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", view.dataset.label);
}

function onEnded(code) {
  rfb = null;
  for (const tool of tools) tool.disabled = true;
  if (code === NOT_LOGGED_IN) window.location.reload();
  else if (code === NOT_ALLOWED) {
    isRefused = true;
    show("refused", "red");
  } else if (!isOn()) show("off", "secondary");
  else {
    const isBusy = TOO_MANY.includes(code);
    show(isBusy ? "busy" : code >= OWN ? "ended" : "lost", "orange");
    timer = setTimeout(connect, isBusy ? BUSY_WAIT_MS : Math.min(1000 * 2 ** failures, LONGEST_WAIT_MS));
    failures += 1;
  }
}

function disconnect() {
  const former = rfb;
  rfb = null;
  former?.disconnect();
}

// The machine goes on and off: the part beside the screen tells.
new MutationObserver(() => {
  if (!rfb && !isOn()) show("off", "secondary");
  else if (!rfb && part("state").textContent === card.dataset.off) {
    failures = 0;
    connect();
  }
}).observe(facts, { childList: true });

// Size: fitted to the window, or pixel by pixel with scroll bars, which then can be reached by keyboard.
function fit() {
  part("scale").setAttribute("aria-pressed", isFitted);
  part("scale").classList.toggle("active", isFitted);
  if (!rfb) return;
  rfb.scaleViewport = isFitted;
  view.firstElementChild?.setAttribute("tabindex", isFitted ? -1 : 0);
}
part("scale").addEventListener("click", () => {
  isFitted = !isFitted;
  fit();
});
part("full").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else card.requestFullscreen();
});
part("again").addEventListener("click", () => {
  disconnect();
  isRefused = false;
  failures = 0;
  connect();
});

// Keyboard: the screen takes every key; Ctrl+Alt+Shift gives it back (WCAG 2.1.2).
const hasKeyboard = () => view.contains(document.activeElement);
part("keyboard").addEventListener("click", () => rfb?.focus());
for (const type of ["focusin", "focusout"]) {
  view.addEventListener(type, () => setTimeout(() => part("keyboard").classList.toggle("active", hasKeyboard())));
}
view.addEventListener(
  "keydown",
  (event) => {
    if (!(event.ctrlKey && event.altKey && event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
    // noVNC lets go of all keys that are down when the window loses the focus.
    window.dispatchEvent(new Event("blur"));
    part("keyboard").focus();
  },
  true,
);
part("cad").addEventListener("click", () => rfb?.sendCtrlAltDel());

// Text, typed as keys.
const dialog = part("paste-dialog");
part("paste").addEventListener("click", () => {
  dialog.returnValue = "";
  dialog.showModal();
});
dialog.addEventListener("close", async () => {
  const text = part("text").value;
  part("text").value = "";
  if (dialog.returnValue === "type") await type(text.replaceAll("\r\n", "\n"), part("layout").value);
});

async function type(text, layout) {
  const skipped = new Set();
  const typist = rfb;
  const hint = part("hint");
  const usual = hint.textContent;
  const chars = [...text];
  for (const [index, char] of chars.entries()) {
    if (rfb !== typist || !typist) break;
    const key = char === "\n" ? ENTER : keyOf(char, layout);
    if (!key) {
      skipped.add(char);
      continue;
    }
    hint.textContent = `${card.dataset.typing} ${index + 1}/${chars.length}`;
    if (key.shifted) typist.sendKey(SHIFT.keysym, SHIFT.code, true);
    typist.sendKey(key.keysym, key.code);
    if (key.shifted) typist.sendKey(SHIFT.keysym, SHIFT.code, false);
    // A keyboard holds only a few keys that nobody has read yet.
    await wait(KEY_MS);
  }
  hint.textContent = skipped.size ? `${card.dataset.skipped} ${[...skipped].join(" ")}` : usual;
  rfb?.focus();
}

window.addEventListener("pagehide", disconnect);
fit();
connect();
