// A web page that the model wrote, shown in a frame that can do nothing: no scripts, no forms, no
// origin, no other window (sandbox), and nothing from anywhere (policy). Neither keeps the frame
// itself from going elsewhere, so what could take it there is left out before.
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'";
// First in the page, so that nothing stands before the policy. A picture that is not there is a box
// with its words. All of this gives way to the page's own styles.
const HEAD = '<!doctype html><meta http-equiv="Content-Security-Policy" content="' + POLICY + '">'
  + '<meta charset="utf-8"><style>@layer preview { a { text-decoration: underline; color: -webkit-link; }'
  + " img:not([src]) { position: relative; display: inline-block; min-width: 140px; min-height: 90px; background: #ececec; }"
  + " img:not([src])::after { content: attr(alt); position: absolute; inset: 0; display: grid; place-items: center; padding: 6px;"
  + " background: #ececec; color: #4a4a4a; font: 14px/1.3 system-ui, sans-serif; text-align: center; } }</style>";
// What opens other pages, or another document within this one. A template may hold a shadow root.
const LEADS_AWAY = "base, link, meta[http-equiv], script, iframe, frame, frameset, object, embed, portal, fencedframe,"
  + ' template, [attributeName$="href" i]';
const ROUNDS = 50;
const REFUSED = "<p>This page cannot be shown: whatever is left out of it, more comes to light.</p>";

const dialog = element.querySelector("dialog");
const shown = dialog.querySelector(".shown");
const close = dialog.querySelector(".close");
let page = "";

const stripped = (code) => {
  const parsed = new DOMParser().parseFromString(`<!doctype html>${code}`, "text/html");
  for (const each of parsed.querySelectorAll(LEADS_AWAY)) each.remove();
  for (const each of parsed.querySelectorAll("*")) {
    for (const { name, value } of [...each.attributes]) {
      const link = /^(xlink:)?href$/i.test(name) && !(value.startsWith("#") && !/^(a|area)$/i.test(each.localName));
      const fetched = /^(src|srcset)$/i.test(name) && !/^\s*data:/i.test(value);
      if (link || fetched || /^(ping|attributionsrc)$/i.test(name)) each.removeAttribute(name);
    }
  }
  return parsed.documentElement.outerHTML;
};

// Again until nothing changes: what was left out may have hidden something. A page without an end to
// that is not shown at all, for nobody has seen it as the frame would.
const quiet = (code) => {
  let [before, after] = ["", code];
  for (let round = 0; round < ROUNDS && after !== before; round += 1) [before, after] = [after, stripped(after)];
  return HEAD + (after === before ? after : REFUSED);
};

const show = (code) => {
  page = quiet(code);
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "");
  frame.setAttribute("referrerpolicy", "no-referrer");
  frame.title = "Preview of the page that the model wrote";
  frame.srcdoc = page;
  shown.replaceChildren(frame);
  dialog.showModal();
  close.focus();
};

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("#chat .show-page");
  if (!button || !element.isConnected) return;
  // The answer that the button stands under, and which of its pages.
  const answer = button.closest(".side, .wrote");
  const place = [...answer.querySelectorAll(".show-page")].indexOf(button);
  const code = answer.querySelectorAll(".web-page")[place];
  if (code) show(code.textContent);
});

close.addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => { shown.replaceChildren(); page = ""; });

// Keys pressed within the frame are not heard here. A press on it leaves the focus where it was, so
// that Escape still closes; who goes there with the keyboard may stay, to scroll.
let tabbed = false;
dialog.addEventListener("keydown", (event) => { tabbed = event.key === "Tab"; });
dialog.addEventListener("focusin", (event) => { if (event.target.localName !== "iframe") tabbed = false; });
window.addEventListener("blur", () => {
  if (tabbed || !dialog.open || !shown.contains(document.activeElement)) return;
  // Once the press is over: before, keys would still go to the frame.
  setTimeout(() => { if (dialog.open) dialog.focus({ preventScroll: true }); });
});

dialog.querySelector(".keep").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([page], { type: "text/html" }));
  link.download = "page.html";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
