// Before the first paint: light or dark, as chosen or as the system has it.
(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const chosen = root.dataset.theme;
    const isDark = chosen === "dark" || (chosen !== "light" && dark.matches);
    root.dataset.bsTheme = isDark ? "dark" : "light";
  };
  apply();
  dark.addEventListener("change", apply);
})();
