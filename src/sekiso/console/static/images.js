// Filters of the tables of a plan: [data-filtered] holds input[data-filter], select[data-filter-kind] and rows; all is in the page already.

function filter(box) {
  const words = (box.querySelector("[data-filter]")?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const kind = box.querySelector("[data-filter-kind]")?.value ?? "";
  let shown = 0;
  for (const row of box.querySelectorAll("tbody tr:not([data-nothing])")) {
    const text = row.textContent.toLowerCase();
    const fits = (!kind || row.dataset.kind === kind) && words.every((word) => text.includes(word));
    row.hidden = !fits;
    if (fits) shown += 1;
  }
  const nothing = box.querySelector("[data-nothing]");
  if (nothing) nothing.hidden = shown > 0;
}

for (const type of ["input", "change"]) {
  document.addEventListener(type, (event) => {
    if (!event.target.matches("[data-filter], [data-filter-kind]")) return;
    filter(event.target.closest("[data-filtered]"));
  });
}
// Enter in a filter is not for the form around it.
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("[data-filter]")) event.preventDefault();
});
