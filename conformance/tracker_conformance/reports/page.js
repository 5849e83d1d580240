"use strict";
const checks = [...document.querySelectorAll("details.check")];
const sections = [...document.querySelectorAll("section.checks")];
const rows = [...document.querySelectorAll("#sections tr[data-section]")];
const boxes = [...document.querySelectorAll("#filter input[type=checkbox]")];
const search = document.getElementById("search");
const shown = document.getElementById("shown");

function filter() {
  const verdicts = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const check of checks) {
    const text = check.dataset.text;
    const isShown = (verdicts.size === 0 || verdicts.has(check.dataset.verdict)) && words.every((word) => text.includes(word));
    check.hidden = !isShown;
    count += isShown;
  }
  for (const section of sections) section.hidden = !section.querySelector("details.check:not([hidden])");
  for (const row of rows) row.classList.toggle("empty", document.getElementById(row.dataset.section).hidden);
  shown.textContent = count === checks.length ? "" : `${count} of ${checks.length} checks`;
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target === null) return;
  if (target.hidden || target.closest("[hidden]")) {
    search.value = "";
    for (const box of boxes) box.checked = false;
    filter();
  }
  if (target instanceof HTMLDetailsElement) target.open = true;
  target.scrollIntoView();
}

for (const box of boxes) box.addEventListener("change", filter);
search.addEventListener("input", filter);
addEventListener("hashchange", openTarget);
document.getElementById("filter").hidden = false;
filter();
openTarget();
