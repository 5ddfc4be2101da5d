// The log of a task: it stays at its end while it grows, unless somebody has scrolled up to read.
const log = document.querySelector("[data-log]");
const NEAR_PX = 40;
const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_PX;
let follows = true;

log.addEventListener("scroll", () => (follows = isAtEnd()));
new MutationObserver(() => follows && (log.scrollTop = log.scrollHeight)).observe(log, { childList: true, subtree: true });
log.scrollTop = log.scrollHeight;
