"use strict";
// What every part of the page needs: finding things, links into the page, folds, paper, help.
document.documentElement.classList.add("js");
const byId = (id) => document.getElementById(id);
const all = (selector, from) => Array.from((from || document).querySelectorAll(selector));
const plainNumber = (value) => value.toLocaleString("en");

/** Make an element: `make("td", {className: "f"}, "text", child)`. Texts stay texts. */
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((one) => one !== null));
  return element;
}

// A link into the page shows its target, whatever is filtered or folded. Parts of the page that
// make their elements when they are wanted add a function that does so for an id of theirs.
const revealers = [];
function reveal() {
  const id = location.hash.slice(1);
  if (!id || revealers.some((one) => one(id))) return;
  const target = byId(id);
  if (!target) return;
  for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
addEventListener("load", reveal);

// Everything on paper, also what is folded on the screen.
let folded = [];
addEventListener("beforeprint", () => {
  folded = all("details:not([open])");
  folded.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));

// The help panel: the same words as at the end of the page, over it.
const keys = {};
const help = byId("how");
if (help) {
  const words = all(":scope > :not(summary)", help);
  const dialog = make("dialog", {id: "help"}, make("form", {method: "dialog"}, make("button", {}, "Close")));
  dialog.setAttribute("aria-label", "How to read this");
  dialog.addEventListener("close", () => help.append(...words));
  document.body.append(dialog);
  keys["?"] = () => {
    if (dialog.open) return dialog.close();
    dialog.append(...words);
    return dialog.showModal();
  };
}
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  const action = keys[event.key];
  if (!action || (typing && event.key !== "Escape")) return;
  if (byId("help") && byId("help").open && event.key !== "?") return;
  if (event.key === "/") event.preventDefault();
  action(event);
});
