"use strict";
// Mounts the timeline, shows on it what links point at, and draws the figures of a section in the
// page's theme when it is opened.
const figures = JSON.parse(document.getElementById("figures").textContent);
const palettes = JSON.parse(document.getElementById("palettes").textContent);
const root = document.documentElement;
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const settings = { displaylogo: false, displayModeBar: false, responsive: true };
const drawnFigures = new Set();
const openedForPrint = new Set();
let plotlyLoaded = null;
let isPrinting = false;

function isDark() {
  if (isPrinting) return false;
  const isLightChosen = root.classList.contains("light");
  return root.classList.contains("dark") || (darkSystem.matches && !isLightChosen);
}

// Draws the figures that are drawn already again.
async function draw() {
  await Promise.all([...drawnFigures].map(drawFigure));
  document.dispatchEvent(new Event("drawn"));
}

async function drawFigure(id) {
  const palette = palettes[isDark() ? "dark" : "light"];
  const width = document.getElementById(id).clientWidth;
  const { data, layout } = figureInPalette(figures[id], palette, width);
  await Plotly.react(id, data, layout, settings);
  if (drawnFigures.has(id)) return;
  drawnFigures.add(id);
  if (id.startsWith("stacks")) zoomOnClick(id);
  document.dispatchEvent(new CustomEvent("figure:drawn", { detail: id }));
}

// Charts are drawn when their section is opened first; plotly is loaded then.
async function drawSection(section) {
  const charts = [...section.querySelectorAll(".chart")].map(({ id }) => id);
  const missing = charts.filter((id) => figures[id] && !drawnFigures.has(id));
  if (!missing.length) return;
  plotlyLoaded = plotlyLoaded || loadPlotly();
  try {
    await plotlyLoaded;
    await Promise.all(missing.map(drawFigure));
  } catch (error) {
    showFailure(error);
    return;
  }
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

// On paper the main tables are open. Other sections are printed where the reader has opened them;
// charts get the width of the paper.
function prepareForPrint(starts) {
  isPrinting = starts;
  root.classList.toggle("printing", starts);
  if (starts) {
    for (const section of document.querySelectorAll("details.printed:not([open])")) {
      openedForPrint.add(section);
      section.open = true;
    }
  } else {
    for (const section of openedForPrint) section.open = false;
    openedForPrint.clear();
  }
  draw();
}

// Opens the section that the address names: a closed one has nothing to scroll to.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.matches("details")) target.open = true;
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
addEventListener("beforeprint", () => prepareForPrint(true));
addEventListener("afterprint", () => prepareForPrint(false));
addEventListener("hashchange", openTarget);
document.addEventListener(
  "toggle",
  ({ target }) => target.open && target.matches("details.evidence") && drawSection(target),
  true,
);
document.addEventListener("click", ({ target }) => {
  const link = target.closest('a[href^="#section-"]');
  const section = link && document.getElementById(link.getAttribute("href").slice(1));
  if (section && section.matches("details")) section.open = true;
});
mountTimeline()
  .then(() => {
    openTarget();
    root.dataset.drawn = "yes";
  })
  .catch(showFailure);
