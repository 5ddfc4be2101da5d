// The bar of tasks at the bottom of every page: whether it is unfolded is kept, also over pages.
document.addEventListener(
  "toggle",
  (event) => {
    if (event.target.id !== "task-fold") return;
    document.cookie = `sekiso_task_bar=${event.target.open ? "open" : ""}; path=/; max-age=31536000; secure; samesite=lax`;
  },
  true,
);
