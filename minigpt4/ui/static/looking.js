// The panel "Where it looks". The server tells it answers, maps of an answer's words, and visual
// tokens; everything else happens here. What it tells is put into the page as text, never as HTML.
const one = (selector) => element.querySelector(selector);
const all = (selector) => [...element.querySelectorAll(selector)];
const make = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const [answerChoice, pictureChoice] = all(".choice select");
const parts = { answer: one(".answer"), figures: one(".figures"), told: one(".told"), tokens: one("ul.tokens") };

const state = {
  view: "words",
  answers: [],
  pictures: [],
  turn: -1,
  word: null, // where the chosen word starts
  look: null,
  tokens: null,
  token: 0,
  waiting: false,
};

// ---- maps ----
const SIDE = 160;

const unpack = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// Between the centres of patches the heat goes gently from one to the other; beyond the outermost
// ones it stays as it is. minigpt4/looking/look.py, spread_over, does the same.
const heatAt = (levels, grid, centre, x, y) => {
  const place = (at) => Math.min(Math.max(((at + 0.5) / SIDE) * grid - centre, 0), grid - 1);
  const [column, row] = [place(x), place(y)];
  const [left, top] = [Math.floor(column), Math.floor(row)];
  const [right, bottom] = [Math.min(left + 1, grid - 1), Math.min(top + 1, grid - 1)];
  const ease = (part) => part * part * (3 - 2 * part);
  const mix = (from, to, part) => from + (to - from) * part;
  const across = (line) => mix(levels[line * grid + left], levels[line * grid + right], ease(column - left));
  return mix(across(top), across(bottom), ease(row - top)) / 255;
};

// What was not looked at is dimmed, what was glows.
const NIGHT = [8, 12, 20];
const GLOW = [255, 196, 40];
const paint = (data, at, heat) => {
  const dim = 0.94 * (1 - heat) ** 1.3;
  const glow = 0.42 * heat ** 1.6;
  const solid = dim + glow - dim * glow;
  for (let part = 0; part < 3; part += 1) {
    data[at + part] = (GLOW[part] * glow + NIGHT[part] * dim * (1 - glow)) / solid;
  }
  data[at + 3] = 255 * solid;
};

const heatCanvas = (packed, centre) => {
  const levels = unpack(packed);
  const grid = Math.round(Math.sqrt(levels.length));
  const canvas = make("canvas", { width: SIDE, height: SIDE });
  canvas.setAttribute("aria-hidden", "true");
  const context = canvas.getContext("2d");
  const image = context.createImageData(SIDE, SIDE);
  for (let y = 0; y < SIDE; y += 1) {
    for (let x = 0; x < SIDE; x += 1) {
      paint(image.data, 4 * (y * SIDE + x), heatAt(levels, grid, centre, x, y));
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
};

const PLACES = ["the top left", "the top", "the top right", "the left", "the middle", "the right", "the bottom left", "the bottom", "the bottom right"];

// The ninth of the picture that holds the most heat, for those who cannot see the map.
const placeOf = (packed, centre) => {
  const levels = unpack(packed);
  const grid = Math.round(Math.sqrt(levels.length));
  const ninths = new Array(9).fill(0);
  levels.forEach((level, at) => {
    const [row, column] = [Math.floor(at / grid), at % grid];
    const third = (place) => Math.min(Math.floor((3 * (place + centre)) / grid), 2);
    ninths[3 * third(row) + third(column)] += level;
  });
  return PLACES[ninths.indexOf(Math.max(...ninths))];
};

const pictureWith = (picture, packed, centre, alt) => {
  const image = make("img", { src: picture.src, width: picture.width, height: picture.height, alt });
  return make("div", { className: "picture" }, image, heatCanvas(packed, centre));
};

// ---- what is shown ----
const tell = (text, problem = false) => {
  parts.told.textContent = text;
  parts.told.classList.toggle("problem", problem);
};

const stage = (...figures) => {
  parts.figures.replaceChildren(...figures);
  one(".stage").hidden = figures.length === 0;
};

const quoted = () => {
  const { text, words } = state.answers[state.turn];
  const [start, end] = words.find(([start]) => start === state.word);
  return "\u201c" + text.slice(start, end) + "\u201d";
};

const percent = (share) => Math.round(100 * share) + " %";

const showWord = () => {
  const found = state.look?.words[state.word];
  if (state.word === null || !state.look) return stage();
  if (!found) {
    stage();
    return tell("This word is spelled in a way that cannot be traced.", true);
  }
  const several = state.look.pictures.length > 1;
  stage(...state.look.pictures.map((picture, place) => {
    const name = "Picture " + picture.number;
    const seen = pictureWith(picture, found.maps[place], state.look.centre, name + ", and where " + quoted() + " came from");
    const caption = make("figcaption", { textContent: name + ": " + percent(found.shares[place]) + " of the attention on pictures" });
    return make("figure", {}, seen, ...(several ? [caption] : []));
  }));
  const most = found.shares.indexOf(Math.max(...found.shares));
  const where = placeOf(found.maps[most], state.look.centre) + (several ? " of picture " + state.look.pictures[most].number : "");
  const old = state.look.dropped ? " The oldest part of the chat no longer counted." : "";
  tell(quoted() + " drew most on " + where + "." + old);
};

const showTokens = () => {
  const { tokens, picture, number, centre } = state.tokens ?? {};
  if (!tokens || number !== Number(pictureChoice.value)) {
    parts.tokens.replaceChildren();
    return stage();
  }
  const words = ({ words }) => words.map(([word]) => word).join(", ");
  parts.tokens.replaceChildren(...tokens.map((token, place) => {
    const button = make("button", { type: "button" }, pictureWith(picture, token.map, centre, ""), make("small", { textContent: words(token) }));
    button.setAttribute("aria-label", "Visual token " + (place + 1) + ": " + words(token));
    button.setAttribute("aria-pressed", String(place === state.token));
    button.addEventListener("click", () => { state.token = place; chooseToken(); });
    return make("li", {}, button);
  }));
  chooseToken();
};

const chooseToken = () => {
  const { tokens, picture, centre } = state.tokens;
  const token = tokens[state.token];
  all("ul.tokens button").forEach((button, place) => button.setAttribute("aria-pressed", String(place === state.token)));
  const name = "Visual token " + (state.token + 1) + " of " + tokens.length;
  stage(make("figure", {}, pictureWith(picture, token.map, centre, name + ", and where it looks")));
  const near = token.words.map(([word, cosine]) => word + " " + cosine.toFixed(2)).join(", ");
  tell(name + " looks most at " + placeOf(token.map, centre) + ". Nearest words: " + near + ".");
};

const showAnswer = () => {
  const answer = state.answers[state.turn];
  parts.answer.replaceChildren();
  let at = 0;
  for (const [start, end] of answer.words) {
    const button = make("button", { type: "button", textContent: answer.text.slice(start, end) });
    button.dataset.start = start;
    button.setAttribute("aria-pressed", String(start === state.word));
    button.addEventListener("click", () => chooseWord(start));
    parts.answer.append(answer.text.slice(at, start), button);
    at = end;
  }
  parts.answer.append(answer.text.slice(at));
};

const chooseWord = (start) => {
  state.word = start;
  for (const button of all(".answer button")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.start) === start));
  }
  if (state.look) return showWord();
  ask("look", { turn: state.turn });
};

const ask = (what, about) => {
  tell("Looking \u2026");
  if (state.waiting) return;
  state.waiting = true;
  if (what === "look") trigger("look", about);
  else trigger("tokens", about);
};

const show = () => {
  const seen = state.answers.length > 0 && state.pictures.length > 0;
  one(".nothing").hidden = seen;
  one(".filled").hidden = !seen;
  if (!seen) return;
  for (const button of all(".views button")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === state.view));
  }
  for (const part of all("[data-shown]")) part.hidden = part.dataset.shown !== state.view;
  answerChoice.closest(".choice").hidden = state.answers.length < 2;
  pictureChoice.closest(".choice").hidden = state.view !== "tokens" || state.pictures.length < 2;
  tell("");
  if (state.view === "words") return showWord();
  showTokens();
  if (!parts.tokens.children.length) ask("tokens", { picture: Number(pictureChoice.value) });
};

// ---- what the server tells ----
const options = (choice, names, chosen) => {
  choice.replaceChildren(...names.map(([value, text]) => make("option", { value, textContent: text })));
  choice.value = String(chosen);
};

const takeAnswers = ({ answers, pictures }) => {
  const same = JSON.stringify([answers, pictures]) === JSON.stringify([state.answers, state.pictures]);
  if (same) return;
  const open = state.view === "tokens" && !one(".filled").hidden;
  Object.assign(state, { answers, pictures, turn: answers.length - 1, word: null, look: null, tokens: null, token: 0, waiting: false });
  options(answerChoice, answers.map(({ question }, turn) => [turn, (turn + 1) + ". " + question]), state.turn);
  options(pictureChoice, pictures.map((number) => [number, "Picture " + number]), pictures.at(-1));
  if (answers.length) showAnswer();
  // Tokens are looked at when somebody wants to see them, and an answer that comes is no wish.
  if (open) state.view = "words";
  show();
};

const take = (told) => {
  if (!told) return;
  if (told.kind === "answers") return takeAnswers(told);
  state.waiting = false;
  if (told.kind === "notice") return tell(told.text, true);
  if (told.kind === "look") {
    if (told.turn !== state.turn || told.text !== state.answers[state.turn]?.text) {
      if (state.word !== null && state.view === "words") ask("look", { turn: state.turn });
      return;
    }
    state.look = told;
    if (state.view === "words") showWord();
    return;
  }
  state.tokens = told;
  state.token = 0;
  if (state.view !== "tokens") return;
  showTokens();
  if (!parts.tokens.children.length) ask("tokens", { picture: Number(pictureChoice.value) });
};

answerChoice.addEventListener("change", () => {
  Object.assign(state, { turn: Number(answerChoice.value), word: null, look: null });
  showAnswer();
  show();
});
pictureChoice.addEventListener("change", show);
for (const button of all(".views button")) {
  button.addEventListener("click", () => { state.view = button.dataset.view; show(); });
}
one(".strength input").addEventListener("input", (event) => {
  element.style.setProperty("--strength", Number(event.target.value) / 100);
});
watch("value", () => take(props.value));
take(props.value);
