"use strict";
// Unpacks plotly, draws the figures in the page's theme, opens the timeline where a sentence or a bar points.
const figures = JSON.parse(document.getElementById("figures").textContent);
const palettes = JSON.parse(document.getElementById("palettes").textContent);
const root = document.documentElement;
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const settings = { displaylogo: false, displayModeBar: false, responsive: true };
const pen = document.createElement("canvas").getContext("2d");
let printing = false;

function dark() { return !printing && (root.classList.contains("dark") || (darkSystem.matches && !root.classList.contains("light"))); }

// What of a frame's name fits: all of it, without the folder, the function alone, nothing.
function fitting(label, room) {
  const bare = label.replace(/\((?:[^()]*\/)?([^()\/]*)\)$/, "($1)");
  const forms = [label, bare, label.replace(/ \([^()]*\)$/, "")];
  const plain = (text) => text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
  return forms.find((text) => pen.measureText(plain(text)).width + 12 < room) || "";
}

function labelled(trace, width, level) {
  pen.font = "11px Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  const tops = trace.values.filter((_, at) => trace.parents[at] === "").reduce((sum, value) => sum + value, 0);
  const whole = level ? trace.values[trace.ids.indexOf(level)] : tops;
  return trace.labels.map((label, at) => fitting(label, Math.min(1, trace.values[at] / whole) * width));
}

function painted(id, figure) {
  const palette = palettes[dark() ? "dark" : "light"];
  const copy = JSON.parse(JSON.stringify(figure));
  for (const trace of copy.data) {
    if (trace.type === "icicle") trace.text = labelled(trace, document.getElementById(id).clientWidth, "");
    const category = trace.meta && trace.meta.category, colour = palette[category];
    if (!colour) continue;
    if (trace.marker) trace.marker.color = colour;
    if (trace.line) trace.line.color = colour;
    if (trace.text && category.startsWith("step_")) trace.textfont = { size: 10, color: palette.muted };
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
