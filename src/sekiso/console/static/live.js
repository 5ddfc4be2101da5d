// Events of the appliance, while the page is seen: each is passed on as an event of the body, which parts of the page wait for.

const TOPICS = ["sekiso:tasks", "sekiso:agents"];

export function listen({ onLost, onBack }) {
  let source = null;
  let failures = 0;
  let again = "";

  const open = () => {
    if (source) return;
    source = new EventSource(`/events${again}`);
    again = "?again=true";
    for (const topic of TOPICS) {
      source.addEventListener(topic, (event) => {
        document.body.dispatchEvent(new CustomEvent(topic, { detail: JSON.parse(event.data) }));
      });
    }
    source.addEventListener("open", () => {
      failures = 0;
      onBack();
    });
    source.addEventListener("error", onError);
  };
  const close = () => {
    source?.close();
    source = null;
  };
  const onError = () => {
    failures += 1;
    if (source.readyState !== EventSource.CLOSED) {
      // The browser connects again by itself.
      if (failures > 2) onLost();
      return;
    }
    // The session is over, or the appliance is restarting: a refused stream is not tried again by browsers.
    close();
    setTimeout(check, 2000);
  };
  const check = async () => {
    try {
      const answer = await fetch("/session", { headers: { "X-Sekiso-Background": "1" } });
      if (answer.status === 401) window.location.reload();
      else open();
    } catch {
      onLost();
      setTimeout(check, 2000);
    }
  };

  // A page in the background needs none, and browsers allow only a few connections to one server.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  if (!document.hidden) open();
}
