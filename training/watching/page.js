"use strict";
// Text goes into the page as text only: names are other people's.
const at = (id) => document.getElementById(id);
const shown = (value, digits) => (value === null ? "-" : value.toFixed(digits));
// An epsilon is never shown smaller than it is.
const spentSoFar = (value) => (value === null ? "-" : (Math.ceil(100 * value) / 100).toFixed(2));
const svg = (name, attributes, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  return node;
};

function line(points, kind) {
  return svg("polyline", { class: kind, points: points.map((point) => point.join(",")).join(" ") });
}

function plot(now) {
  const rows = now.rounds.filter((row) => row.purpose === "training" && row.step > 0);
  const spent = rows.filter((row) => row.epsilon !== null && now.budget !== null);
  const measured = rows.filter((row) => row.accuracy !== null);
  at("plot-part").hidden = spent.length + measured.length === 0;
  at("legend-left").hidden = spent.length === 0;
  at("legend-metric").hidden = measured.length === 0;
  // One unit is one pixel, so that text is as large on a telephone as on a screen.
  const width = at("plot").clientWidth;
  const end = width - 50;
  at("plot").setAttribute("viewBox", `0 0 ${width} 220`);
  const across = (row) => 50 + ((end - 50) * row.step) / now.steps_due;
  const parts = [
    svg("path", { class: "axis", d: `M50 20V180H${end}V20` }),
    svg("text", { x: 50, y: 200 }, "0"),
    svg("text", { x: end, y: 200, "text-anchor": "end" }, `${now.steps_due} sums`),
  ];
  if (spent.length) {
    const left = spent.map((row) => [across(row), 180 - 160 * Math.max(0, 1 - row.epsilon / now.budget)]);
    parts.push(line([[50, 20], ...left], "left"));
    parts.push(svg("text", { x: 46, y: 24, "text-anchor": "end" }, String(now.budget)));
  }
  if (measured.length) {
    parts.push(line(measured.map((row) => [across(row), 180 - 160 * row.accuracy]), "metric"));
    parts.push(svg("text", { x: end + 4, y: 24 }, "100 %"));
  }
  at("plot").replaceChildren(...parts);
}

function table(now) {
  at("no-rounds").hidden = now.rounds.length > 0;
  at("table").hidden = now.rounds.length === 0;
  const rows = now.rounds.slice(-200).reverse().map((row) => {
    const cells = [
      row.purpose === "training" ? row.round : `${row.round} (statistics)`,
      row.reason ? `no sum: ${row.reason}` : `${row.cohort} of ${now.members}`,
      spentSoFar(row.epsilon),
      row.accuracy === null ? "-" : `${(100 * row.accuracy).toFixed(1)} %`,
      shown(row.auc, 3),
      row.dropped_out,
    ];
    const line = document.createElement("tr");
    for (const text of cells) line.appendChild(document.createElement("td")).textContent = text;
    if (!row.reason) line.cells[1].className = "whole";
    line.cells[3].className = "whole";
    return line;
  });
  at("rows").replaceChildren(...rows);
}

function show(now) {
  document.title = `${now.name}: ${now.state}`;
  at("name").textContent = `${now.name}, ${now.kind}`;
  at("state").textContent = now.state;
  at("updated").textContent = now.updated ? `as of ${now.updated}` : "";
  at("message").hidden = !now.message;
  at("message").textContent = now.message || "";
  at("steps").value = now.steps / now.steps_due;
  at("steps-text").textContent = `${now.steps} of ${now.steps_due}`;
  at("budget-part").hidden = now.budget === null || now.epsilon === null;
  if (now.budget !== null && now.epsilon !== null) {
    at("budget").value = Math.min(1, now.epsilon / now.budget);
    at("budget-text").textContent = `${spentSoFar(now.epsilon)} of ${now.budget}, delta ${now.delta}`;
  }
  const use = now.use;
  at("use").textContent = use
    ? `${now.alert ? `Alert, ${now.alert} %: ` : ""}all runs have spent or reserved epsilon ${spentSoFar(use.epsilon)} of this hospital's ${use.budget}`
    : "";
  at("charter").textContent = now.charter;
  table(now);
  plot(now);
}

async function refresh() {
  try {
    const answer = await fetch("state.json", { cache: "no-store" });
    const now = await answer.json();
    if (answer.ok) show(now);
    else at("state").textContent = now.error;
  } catch {
    at("state").textContent = "secagg watch has ended";
  }
  setTimeout(refresh, 2000);
}

refresh();
