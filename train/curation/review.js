() => {
  // Light or dark: the choice made here is remembered in this browser; otherwise the system's holds.
  const stored = () => {
    try { return localStorage.getItem("minigpt4-theme"); } catch { return null; }
  };
  if (stored() && !new URLSearchParams(location.search).has("__theme")) {
    document.body.classList.toggle("dark", stored() === "dark");
  }
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#theme")) return;
    const dark = document.body.classList.toggle("dark");
    try { localStorage.setItem("minigpt4-theme", dark ? "dark" : "light"); } catch { /* private window */ }
  });

  const press = (id) => {
    if (id !== "back" && document.querySelector("#main .done")) return; // nothing is left to decide
    document.getElementById(id)?.click();
  };
  const text = () => document.querySelector("#text textarea");
  const keys = {
    Enter: "accept", a: "accept", x: "reject", r: "reject", ArrowLeft: "back", ArrowRight: "skip",
    1: "reason-1", 2: "reason-2", 3: "reason-3", 4: "reason-4",
  };
  for (const [id, key] of [["accept", "Enter"], ["reject", "X"], ["back", "ArrowLeft"], ["skip", "ArrowRight"]]) {
    document.getElementById(id)?.setAttribute("aria-keyshortcuts", key);
  }

  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.repeat || event.altKey) return;
    const typing = event.target === text();
    if (typing) {
      if (event.key === "Escape") text().blur();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        text().blur();
        press("accept");
      }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    // A button that has the focus takes Enter itself.
    if (event.key === "Enter" && event.target.closest("button, a, summary")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (keys[key]) {
      event.preventDefault();
      press(keys[key]);
    } else if (key === "e" && text()) {
      event.preventDefault();
      text().focus();
      text().setSelectionRange(text().value.length, text().value.length);
    } else if (key === "d") {
      const details = document.querySelector("#changes details");
      if (details) details.open = !details.open;
    }
  });

  // What was opened stays open from row to row.
  let opened = false;
  document.addEventListener("toggle", (event) => {
    if (event.target.matches?.("#changes details") && event.target.isConnected) opened = event.target.open;
  }, true);
  const changes = document.getElementById("changes");
  if (changes) {
    new MutationObserver(() => {
      const details = changes.querySelector("details");
      if (details && opened && !details.open) details.open = true;
    }).observe(changes, { childList: true, subtree: true });
  }
  // A row at its end starts at the top, also on a phone.
  const name = document.querySelector("#picture");
  if (name) {
    new MutationObserver(() => window.scrollTo({ top: 0 })).observe(name, { childList: true, subtree: true });
  }
}
