// What every page does: tokens of requests, messages, dialogs, menus, live events. No page has scripts of its own in it.
import { listen } from "./live.js";
import "./quiet.js";
import "./task_bar.js";

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
const notices = () => document.getElementById("notices");
const LATER = "sekiso-notice";

// The time zone of the reader: the appliance writes times in it.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone) document.cookie = `sekiso_zone=${zone}; path=/; max-age=31536000; secure; samesite=lax`;

// Requests: the token of the session, and whether a person has caused them.
document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-Sekiso-CSRF"] = meta("sekiso-csrf");
  const cause = event.detail.triggeringEvent;
  const byPerson = cause && !cause.type.startsWith("sekiso:") && cause.isTrusted !== false;
  if (!byPerson && event.detail.verb === "get") event.detail.headers["X-Sekiso-Background"] = "1";
});

// Messages.
function notice(css, title, text, staysOpen) {
  const box = document.createElement("div");
  box.className = `alert alert-${css} notice`;
  box.setAttribute("role", staysOpen ? "alert" : "status");
  const body = document.createElement("div");
  body.className = "notice-body";
  const strong = document.createElement(text ? "strong" : "span");
  strong.textContent = title;
  body.append(strong);
  if (text) {
    const detail = document.createElement("div");
    detail.textContent = text;
    body.append(detail);
  }
  const close = document.createElement("button");
  close.type = "button";
  close.className = "btn-close";
  close.setAttribute("aria-label", notices().dataset.close);
  close.addEventListener("click", () => box.remove());
  box.append(body, close);
  notices().append(box);
  if (!staysOpen) setTimeout(() => box.remove(), 6000);
  return box;
}

document.body.addEventListener("sekiso:notice", (event) => {
  if (event.detail.later) sessionStorage.setItem(LATER, event.detail.text);
  else notice("success", event.detail.text);
});
document.body.addEventListener("sekiso:failure", (event) => {
  const { title, detail, resolution } = event.detail;
  notice("danger", title, [detail, resolution].filter(Boolean).join(" "), true);
});
const kept = sessionStorage.getItem(LATER);
if (kept) {
  sessionStorage.removeItem(LATER);
  notice("success", kept);
}
let lost;
const onLost = () => {
  if (!lost?.isConnected) lost = notice("warning", notices().dataset.lost, "", true);
};
const onBack = () => lost?.remove();
document.addEventListener("htmx:sendError", onLost);
document.addEventListener("htmx:afterRequest", (event) => event.detail.successful && onBack());

// Dialogs: what is put into #dialog is shown; an answer without content closes it.
const dialog = document.getElementById("dialog");
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target === dialog && !dialog.open) dialog.showModal();
  const target = event.detail.elt.isConnected ? event.detail.elt : document;
  target.querySelector("[data-focus]")?.focus();
});
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-close-dialog]")) dialog.close();
  // A click beside it; not where it shows what is shown only once.
  else if (event.target === dialog && !dialog.querySelector("[data-stays]")) dialog.close();
});
dialog.addEventListener("close", () => dialog.replaceChildren());
document.body.addEventListener("sekiso:close-dialog", () => dialog.close());

// Questions before something is lost, in a dialog of the page instead of the browser's.
document.addEventListener("htmx:confirm", (event) => {
  if (!event.detail.question) return;
  event.preventDefault();
  const box = document.getElementById("confirm");
  const yes = box.querySelector("[data-confirm-yes]");
  const label = event.detail.elt.dataset.confirmLabel;
  yes.dataset.usual ??= yes.textContent;
  yes.textContent = label ?? yes.dataset.usual;
  box.querySelector("[data-confirm-text]").textContent = event.detail.question;
  box.returnValue = "no";
  box.addEventListener("close", () => box.returnValue === "yes" && event.detail.issueRequest(true), { once: true });
  box.showModal();
});

// Menus close when something else is clicked, and with Escape.
const menus = () => document.querySelectorAll("details.menu[open]");
document.addEventListener("click", (event) => {
  for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of menus()) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// Copying.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  notice("success", notices().dataset.copied);
});

// Boxes that check all others of their table.
document.addEventListener("change", (event) => {
  const all = event.target.closest("[data-check-all]");
  if (!all) return;
  for (const box of all.closest("form, table").querySelectorAll(`input[name="${all.dataset.checkAll}"]`)) {
    box.checked = all.checked;
  }
});

// Parts that are shown only while a control has a value: data-shown-if="name=value|value".
function arrange(root) {
  for (const part of root.querySelectorAll("[data-shown-if]")) {
    const [name, values] = part.dataset.shownIf.split("=");
    const form = part.closest("form");
    const given = [...new FormData(form).getAll(name)];
    part.hidden = !values.split("|").some((value) => given.includes(value));
  }
}
document.addEventListener("change", (event) => event.target.form && arrange(event.target.form));
document.addEventListener("htmx:load", (event) => arrange(event.detail.elt.parentElement ?? document));
arrange(document);

// Progress of files on their way up: a <progress data-upload> in the form.
document.addEventListener("htmx:xhr:progress", (event) => {
  const bar = event.target.querySelector?.("progress[data-upload]");
  if (!bar || !event.detail.lengthComputable) return;
  bar.hidden = false;
  bar.value = (event.detail.loaded / event.detail.total) * 100;
});

if (meta("sekiso-csrf")) listen({ onLost, onBack });
