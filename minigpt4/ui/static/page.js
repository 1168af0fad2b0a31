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
    // In front of a dialog it closes that, and nothing else.
    if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog:modal")) return;
    const stop = document.querySelector('#composer button[aria-label="Stop"], #composer .stop-button');
    if (stop) { event.preventDefault(); stop.click(); }
    document.querySelector("#status details[open]")?.removeAttribute("open");
  });

  // What was chosen from the menu closes it.
  document.addEventListener("click", (event) => {
    const menu = event.target.closest("#save-menu");
    if (menu && event.target.closest("button")) menu.hidePopover();
  });

  // The pill tells more when it is pressed, with figures of that moment.
  document.addEventListener("click", (event) => {
    const pill = document.querySelector("#status details");
    if (!pill) return;
    if (!pill.contains(event.target)) pill.open = false;
    else if (event.target.closest("summary") && !pill.open) document.getElementById("look")?.click();
  });

  // The camera: what it takes is attached to the question like any other file. It is only there
  // where the page comes over https or from this machine, and it is off while its card is closed.
  if (!navigator.mediaDevices?.getUserMedia) document.body.dataset.camera = "none";
  const cameraOff = (card) => {
    const video = card.querySelector("video");
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    video.hidden = true;
    card.querySelector(".take").textContent = "Start the camera";
  };
  const cameraOn = async (card) => {
    const video = card.querySelector("video");
    const told = card.querySelector(".told");
    told.textContent = "";
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      video.hidden = false;
      await video.play();
      card.querySelector(".take").textContent = "Take a picture";
      if (!card.open) cameraOff(card);
    } catch (error) {
      cameraOff(card);
      told.textContent = error.name === "NotAllowedError"
        ? "This page may not use the camera. Your browser's settings for this page can allow it."
        : "No camera could be opened.";
    }
  };
  const takePicture = (card) => {
    const video = card.querySelector("video");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((picture) => {
      const input = document.querySelector('#composer input[type="file"]');
      const told = card.querySelector(".told");
      if (!picture || !input) { told.textContent = "The picture could not be attached."; return; }
      const files = new DataTransfer();
      files.items.add(new File([picture], "camera.jpg", { type: "image/jpeg" }));
      input.files = files.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
      told.textContent = "Attached to your question.";
    }, "image/jpeg", 0.92);
  };
  document.addEventListener("click", (event) => {
    const card = event.target.closest(".camera .take")?.closest(".camera");
    if (card) (card.querySelector("video").srcObject ? takePicture : cameraOn)(card);
  });
  document.addEventListener("toggle", (event) => {
    if (event.target.matches?.(".camera") && !event.target.open) cameraOff(event.target);
  }, true);

  // The server escapes all text, because a Chatbot renders HTML. What is copied or edited is the text.
  // Tags that are left are the server's own, around answers side by side and web pages.
  const untagged = (text) => text
    .replace(/<\/h3>/g, ":\n").replace(/<\/p>/g, "\n\n").replace(/<[^<>]*>/g, "").trim();
  const bare = (text) => {
    if (text.startsWith('<div class="sides">')) return untagged(text);
    return text.startsWith('<div class="wrote">') ? text.replace(/<[^<>]*>/g, "") : text;
  };
  const plain = (text) => bare(text)
    .replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
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
    for (const answer of chat.querySelectorAll(".side, .wrote")) {
      const offers = [...answer.querySelectorAll(".show-page")];
      offers.forEach((offer, place) => {
        const name = offers.length > 1 ? `Show page ${place + 1}` : "Show the page";
        if (offer.ariaLabel !== name) Object.assign(offer, { ariaLabel: name, ariaHasPopup: "dialog" });
      });
    }
    // The browser's own popover: it opens at its button and closes on Escape or a press elsewhere.
    give("#save-menu", "popover", "auto");
    give("#save-chat", "popovertarget", "save-menu");
    const save = document.getElementById("save-chat");
    if (save) {
      const right = `${Math.max(8, innerWidth - save.getBoundingClientRect().right)}px`;
      document.documentElement.style.setProperty("--menu-right", right);
    }
    give("#projection .wrap", "role", "radiogroup");
    label("#projection .wrap", "Projection");
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
