() => {
  // Light or dark: the choice made here is remembered in this browser; otherwise the system's holds.
  const stored = () => {
    try { return localStorage.getItem("minigpt4-theme"); } catch { return null; }
  };
  if (stored() && !new URLSearchParams(location.search).has("__theme")) {
    document.body.classList.toggle("dark", stored() === "dark");
  }
  window.pageTheme = () => {
    const dark = document.body.classList.toggle("dark");
    try { localStorage.setItem("minigpt4-theme", dark ? "dark" : "light"); } catch { /* private window */ }
  };

  // Hand the saved chat to the person; no file, nothing to hand over.
  window.pageSave = (file) => {
    if (!file?.url) return;
    const link = Object.assign(document.createElement("a"), { href: file.url, download: "" });
    document.body.append(link);
    link.click();
    link.remove();
  };

  // Escape stops the answer.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing) return;
    const stop = document.querySelector('#composer button[aria-label="Stop"], #composer .stop-button');
    if (stop) { event.preventDefault(); stop.click(); }
  });

  // The server escapes all text, because a Chatbot renders HTML. What is copied or edited is the text.
  const plain = (text) => text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
  if (navigator.clipboard) {
    const write = navigator.clipboard.writeText.bind(navigator.clipboard);
    navigator.clipboard.writeText = (text) => write(plain(text));
  }

  // Gradio leaves out the names of pictures and of some controls; give them, and number the pictures.
  const give = (selector, attribute, value) => {
    for (const element of document.querySelectorAll(selector)) {
      if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
    }
  };
  const label = (selector, name) => give(selector, "aria-label", name);
  const tidy = () => {
    const chat = document.getElementById("chat");
    if (!chat) return;
    // This page's own address, in the example for programs.
    const address = document.querySelector("#program .address");
    if (address && !address.textContent) address.textContent = location.origin + location.pathname;
    const pictures = [...chat.querySelectorAll(".user-row .image-container img")];
    pictures.forEach((picture, place) => {
      const name = `Picture ${place + 1}`;
      if (picture.alt !== name) picture.alt = name;
    });
    const count = pictures.length > 1 ? "many" : "few";
    if (chat.dataset.pictures !== count) chat.dataset.pictures = count;
    for (const box of chat.querySelectorAll("textarea:not([data-plain])")) {
      box.dataset.plain = "";
      box.setAttribute("aria-label", "Edit your question");
      box.value = plain(box.value);
      box.dispatchEvent(new Event("input", { bubbles: true }));
    }
    // Lists without items, and items without a list, to a screen reader.
    give("#chat .examples", "role", "group");
    label("#chat .examples", "Examples");
    give("#composer .thumbnail-wrapper", "role", "group");
    label("#composer .thumbnail-wrapper", "Attached picture");
    label("#composer textarea", "Your question");
    label('#composer [data-testid="upload-button"]', "Attach a picture");
    label('#composer [data-testid="submit-button"]', "Send");
    label("#composer .stop-button", "Stop");
  };
  let asked = false;
  new MutationObserver(() => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; tidy(); });
  }).observe(document.body, { childList: true, subtree: true });
  tidy();
}
