"use strict";
// Unpacks plotly, draws the figures in the page's theme, opens the timeline where a piece of evidence points.
const figures = JSON.parse(document.getElementById("figures").textContent);
const palettes = JSON.parse(document.getElementById("palettes").textContent);
const root = document.documentElement;
const settings = { displaylogo: false, displayModeBar: false, responsive: true };

function dark() { return root.classList.contains("dark"); }

function painted(figure) {
  const palette = palettes[dark() ? "dark" : "light"];
  const copy = JSON.parse(JSON.stringify(figure));
  for (const trace of copy.data) {
    const colour = trace.meta && palette[trace.meta.category];
    if (!colour) continue;
    if (trace.marker) trace.marker.color = colour;
    if (trace.line) trace.line.color = colour;
  }
  const layout = copy.layout;
  layout.font.color = palette.muted;
  layout.hoverlabel = Object.assign({}, layout.hoverlabel,
    { bgcolor: palette.surface, bordercolor: palette.line, font: { color: palette.text } });
  for (const name of ["xaxis", "yaxis"]) {
    if (!layout[name]) continue;
    layout[name].gridcolor = layout[name].linecolor = layout[name].tickcolor = palette.line;
  }
  for (const shape of layout.shapes || []) shape.line.color = palette.muted;
  return copy;
}

function draw() {
  return Promise.all(Object.entries(figures).map(([id, figure]) => {
    const { data, layout } = painted(figure);
    return Plotly.react(id, data, layout, Object.assign({}, settings, { scrollZoom: id === "workers" }));
  }));
}

async function unpack() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

function showInterval(link) {
  const from = Number(link.dataset.from), to = Number(link.dataset.to), room = Math.max((to - from) * 0.5, 0.02);
  Plotly.relayout("workers", { "xaxis.range": [from - room, to + room],
    shapes: [{ type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 1, line: { width: 1 },
      fillcolor: "rgba(31,86,200,.15)" }] });
}

document.getElementById("theme").addEventListener("click", () => { root.classList.toggle("dark"); draw(); });
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-from]");
  if (link && figures.workers) showInterval(link);
});
if (matchMedia("(prefers-color-scheme: dark)").matches) root.classList.add("dark");
unpack().then(draw).then(() => { root.dataset.drawn = "yes"; });
