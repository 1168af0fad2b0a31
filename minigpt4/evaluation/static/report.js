const form = document.querySelector(".filters");
const cards = [...document.querySelectorAll("article")].map((card) => ({
  card, marks: card.dataset.marks.split(" "), text: card.textContent.toLowerCase(),
}));
const buttons = [...form.querySelectorAll("button")];
const who = form.querySelector("select");
const find = form.querySelector("input");
let wanted = "";

function fits({ marks, text }) {
  const words = find.value.toLowerCase().trim();
  if (words && !text.includes(words)) return false;
  if (wanted === "differ") return new Set(marks).size > 1;
  const asked = who && who.value !== "" ? [marks[who.value]] : marks;
  return !wanted || asked.includes(wanted);
}

function show() {
  let number = 0;
  for (const each of cards) {
    const shown = fits(each);
    each.card.hidden = !shown;
    number += shown;
  }
  form.querySelector("output").textContent = `${number} shown`;
  document.getElementById("nothing").hidden = number > 0;
}

for (const button of buttons) {
  button.addEventListener("click", () => {
    wanted = button.dataset.mark;
    for (const each of buttons) each.setAttribute("aria-pressed", each === button);
    show();
  });
}
find.addEventListener("input", show);
if (who) who.addEventListener("change", show);
form.addEventListener("submit", (event) => event.preventDefault());
form.hidden = false;
show();
