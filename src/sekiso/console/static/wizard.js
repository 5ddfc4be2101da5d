// A form in steps. The page has the whole form; this module shows one step at a time, and asks the server before it goes on.
//
//   <form data-wizard hx-post="/x" hx-target="this" hx-swap="outerHTML">     parts/wizard.html has macros for all of this
//     <nav><ol data-wizard-steps></ol></nav>            filled here: a button for each step
//     <p data-wizard-place data-text="Step {step} of {steps}"></p>          filled here; optional
//     <fieldset data-step="disk" data-title="Disk" hx-post="/x/check?step=disk" hx-trigger="wizard:check" hx-target="this" hx-swap="outerHTML">…
//     <button type="button" data-wizard-back>, <button type="button" data-wizard-next>, <button type="submit" data-wizard-finish>
//   </form>
//
// Next (or Enter in a field) sends the form to the step's own hx-post: an answer of 204 goes on; 422 is the step again with what is
// wrong, and it stays. A fieldset without hx-post is not asked about. A fieldset gets the event `wizard:shown` each time it is shown:
// hx-trigger="wizard:shown from:closest fieldset" loads what depends on the steps before. When the whole form comes back (422 after
// the last step), the first step with something wrong is shown. With data-wizard="free" (changing something that is complete) every
// step can be gone to at once; otherwise only those that were shown before.

const forms = new WeakMap();

class Wizard {
  constructor(form) {
    this.form = form;
    this.at = 0;
    this.seen = form.dataset.wizard === "free" ? this.steps().length - 1 : 0;
    this.goal = null;
    this.list = form.querySelector("[data-wizard-steps]");
    const wrong = this.steps().findIndex((step) => step.querySelector("[aria-invalid=true], .invalid-feedback"));
    const begun = this.steps().findIndex((step) => step.dataset.step === form.dataset.begin);
    if (form.querySelector("[data-wizard-failed]")) this.seen = this.steps().length - 1;
    this.show(Math.max(0, wrong >= 0 ? wrong : begun), { focus: false });
  }

  steps() {
    return [...this.form.querySelectorAll("fieldset[data-step]")];
  }

  // Goes to a step: forwards only if the server has nothing against what the present one holds.
  go(index) {
    const step = this.steps()[this.at];
    if (index <= this.at || !step.hasAttribute("hx-post")) {
      this.show(index);
      return;
    }
    this.goal = index;
    step.dispatchEvent(new CustomEvent("wizard:check", { bubbles: false }));
  }

  // The server has answered about the present step.
  answered(event) {
    const goal = this.goal;
    this.goal = null;
    if (goal !== null && event.detail.xhr.status === 204) this.show(goal);
  }

  show(index, { focus = true } = {}) {
    const steps = this.steps();
    this.at = Math.min(index, steps.length - 1);
    this.seen = Math.max(this.seen, this.at);
    this.arrange();
    const step = steps[this.at];
    if (focus) {
      const first = step.querySelector("[data-wizard-focus], input:not([type=hidden]):not(:disabled), select, textarea, button");
      (first ?? step).focus({ preventScroll: true });
      this.form.scrollIntoView({ block: "nearest" });
    }
    step.dispatchEvent(new CustomEvent("wizard:shown", { bubbles: false }));
  }

  // Brings what is shown into line with where we are; also after a step was put in place anew.
  arrange() {
    const steps = this.steps();
    const isLast = this.at === steps.length - 1;
    steps.forEach((step, index) => (step.hidden = index !== this.at));
    this.form.querySelector("[data-wizard-back]").hidden = this.at === 0;
    this.form.querySelector("[data-wizard-next]").hidden = isLast;
    this.form.querySelector("[data-wizard-finish]").hidden = !isLast;
    const place = this.form.querySelector("[data-wizard-place]");
    if (place) place.textContent = place.dataset.text.replace("{step}", this.at + 1).replace("{steps}", steps.length);
    this.list?.replaceChildren(...steps.map((step, index) => this.entry(step, index)));
  }

  entry(step, index) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "wizard-step";
    button.dataset.wizardGo = index;
    button.disabled = index > this.seen;
    if (index === this.at) button.setAttribute("aria-current", "step");
    else if (index < this.at || index <= this.seen) button.classList.add("seen");
    const number = document.createElement("span");
    number.className = "wizard-number";
    number.textContent = index + 1;
    const title = document.createElement("span");
    title.textContent = step.dataset.title;
    button.append(number, title);
    item.append(button);
    return item;
  }
}

const wizardOf = (element) => forms.get(element?.closest?.("form[data-wizard]"));

function begin(root) {
  const found = [...root.querySelectorAll("form[data-wizard]")];
  if (root.matches?.("form[data-wizard]")) found.push(root);
  for (const form of found) if (!forms.has(form)) forms.set(form, new Wizard(form));
}

document.addEventListener("click", (event) => {
  const wizard = wizardOf(event.target);
  if (!wizard) return;
  const entry = event.target.closest("[data-wizard-go]");
  if (entry) wizard.go(Number(entry.dataset.wizardGo));
  else if (event.target.closest("[data-wizard-next]")) wizard.go(wizard.at + 1);
  else if (event.target.closest("[data-wizard-back]")) wizard.go(wizard.at - 1);
});

// Enter in a field goes on; it ends the wizard at its last step only.
document.addEventListener(
  "submit",
  (event) => {
    const wizard = wizardOf(event.target);
    if (!wizard || wizard.at === wizard.steps().length - 1) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    wizard.go(wizard.at + 1);
  },
  true,
);

document.addEventListener("htmx:afterRequest", (event) => {
  if (event.target.matches?.("fieldset[data-step]") && event.detail.elt === event.target) wizardOf(event.target)?.answered(event);
});
document.addEventListener("htmx:load", (event) => {
  begin(event.detail.elt);
  if (event.detail.elt.matches?.("fieldset[data-step]")) wizardOf(event.detail.elt)?.arrange();
});
begin(document);
