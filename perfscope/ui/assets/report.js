"use strict";
// Unpacks plotly, draws the figures in the page's theme, opens the timeline where a sentence or a bar points.
const figures = JSON.parse(document.getElementById("figures").textContent);
const palettes = JSON.parse(document.getElementById("palettes").textContent);
const root = document.documentElement;
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const settings = { displaylogo: false, displayModeBar: false, responsive: true };
let printing = false;

function dark() { return !printing && (root.classList.contains("dark") || (darkSystem.matches && !root.classList.contains("light"))); }

function painted(id, figure) {
  return repainted(figure, palettes[dark() ? "dark" : "light"], document.getElementById(id).clientWidth);
}

function draw() {
  return Promise.all(Object.entries(figures).map(([id, figure]) => {
    const { data, layout } = painted(id, figure);
    return Plotly.react(id, data, layout, Object.assign({}, settings, { scrollZoom: id === "workers" }));
  })).then(() => document.dispatchEvent(new Event("drawn")));
}

async function unpack() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

function showInterval(link) {
  const from = Number(link.dataset.from), to = Number(link.dataset.to), room = Math.max((to - from) * 0.75, 0.01);
  Plotly.relayout("workers", { "xaxis.range": [from - room, to + room],
    shapes: [{ type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 1, layer: "below",
      line: { width: 1.5, color: palettes[dark() ? "dark" : "light"].accent }, fillcolor: "rgba(80,130,230,.14)" }] });
}

function move(key) {
  const [from, to] = document.getElementById("workers").layout.xaxis.range.map(Number), wide = to - from;
  const ranges = { a: [from - 0.25 * wide, to - 0.25 * wide], d: [from + 0.25 * wide, to + 0.25 * wide],
    w: [from + 0.25 * wide, to - 0.25 * wide], s: [from - 0.5 * wide, to + 0.5 * wide] };
  if (ranges[key]) Plotly.relayout("workers", { "xaxis.range": ranges[key] });
}

function zoomStacks(id) {
  const chart = document.getElementById(id);
  chart.on("plotly_icicleclick", (event) => {
    if (event.nextLevel === undefined) return false;
    Plotly.restyle(id, { level: [event.nextLevel], text: [labelled(figures[id].data[0], chart.clientWidth, event.nextLevel)] });
    return false;
  });
}

function failed(error) {
  for (const chart of document.querySelectorAll(".chart")) {
    chart.classList.add("failed");
    chart.textContent = `This browser cannot draw the charts (${error.message}); one from 2023 or later can.`;
  }
}

document.getElementById("theme").addEventListener("click", () => {
  const other = dark() ? "light" : "dark";
  root.classList.remove("light", "dark");
  root.classList.add(other);
  draw();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-from]");
  if (link && figures.workers) showInterval(link);
});
document.addEventListener("keydown", (event) => {
  if (figures.workers && !event.target.closest("input") && !event.ctrlKey && !event.metaKey && !event.altKey) move(event.key);
});
darkSystem.addEventListener("change", draw);
addEventListener("beforeprint", () => { printing = true; draw(); });
addEventListener("afterprint", () => { printing = false; draw(); });
unpack().then(draw).then(() => {
  Object.keys(figures).filter((id) => id.startsWith("stacks")).forEach(zoomStacks);
  root.dataset.drawn = "yes";
}).catch(failed);
