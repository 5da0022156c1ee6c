"use strict";
// Unpacks plotly, draws the figures in the page's theme, mounts the timeline, and shows on it what
// links point at.
const figures = JSON.parse(document.getElementById("figures").textContent);
const palettes = JSON.parse(document.getElementById("palettes").textContent);
const root = document.documentElement;
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const settings = { displaylogo: false, displayModeBar: false, responsive: true };
let isPrinting = false;

function isDark() {
  if (isPrinting) return false;
  const isLightChosen = root.classList.contains("light");
  return root.classList.contains("dark") || (darkSystem.matches && !isLightChosen);
}

async function draw() {
  const palette = palettes[isDark() ? "dark" : "light"];
  const drawings = Object.entries(figures).map(([id, figure]) => {
    const width = document.getElementById(id).clientWidth;
    const { data, layout } = figureInPalette(figure, palette, width);
    return Plotly.react(id, data, layout, settings);
  });
  await Promise.all(drawings);
  document.dispatchEvent(new Event("drawn"));
}

async function loadPlotly() {
  const base64 = document.getElementById("plotly").textContent;
  const packed = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

// Resolves to the timeline, or to null where there is nothing to show.
async function mountTimeline() {
  const element = document.getElementById("timeline");
  if (!element) return null;
  const packed = document.getElementById("packed-timeline").textContent;
  const source = perfscopeTimeline.embeddedSource(packed);
  return perfscopeTimeline.mount(element, source, { height: 520, paper: palettes.light });
}

function showInterval(from, to) {
  document.dispatchEvent(new CustomEvent("timeline:show", { detail: { from, to } }));
}

// A click on a frame zooms to it. Returning false keeps plotly from zooming without new labels.
function zoomOnClick(id) {
  const chart = document.getElementById(id);
  chart.on("plotly_icicleclick", ({ nextLevel }) => {
    if (nextLevel === undefined) return false;
    const labels = frameLabels(figures[id].data[0], chart.clientWidth, nextLevel);
    Plotly.restyle(id, { level: [nextLevel], text: [labels] });
    return false;
  });
}

function showFailure(error) {
  const reason = `This browser cannot draw the charts (${error.message})`;
  for (const chart of document.querySelectorAll(".chart")) {
    chart.classList.add("failed");
    chart.textContent = `${reason}; one from 2023 or later can.`;
  }
}

function redrawForPrint(starts) {
  isPrinting = starts;
  draw();
}

document.getElementById("theme").addEventListener("click", () => {
  const other = isDark() ? "light" : "dark";
  root.classList.remove("light", "dark");
  root.classList.add(other);
  draw();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-from]");
  if (link) showInterval(Number(link.dataset.from), Number(link.dataset.to));
});
darkSystem.addEventListener("change", draw);
addEventListener("beforeprint", () => redrawForPrint(true));
addEventListener("afterprint", () => redrawForPrint(false));
Promise.all([loadPlotly().then(draw), mountTimeline()])
  .then(() => {
    const stacks = Object.keys(figures).filter((id) => id.startsWith("stacks"));
    stacks.forEach(zoomOnClick);
    root.dataset.drawn = "yes";
  })
  .catch(showFailure);
