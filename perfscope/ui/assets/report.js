"use strict";
// Unpacks plotly, draws the figures in the page's theme, opens the timeline where a sentence or a bar points.
const figures = JSON.parse(document.getElementById("figures").textContent);
const palettes = JSON.parse(document.getElementById("palettes").textContent);
const root = document.documentElement;
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const settings = { displaylogo: false, displayModeBar: false, responsive: true };
let printing = false;

function dark() {
  return (
    !printing &&
    (root.classList.contains("dark") || (darkSystem.matches && !root.classList.contains("light")))
  );
}

function painted(id, figure) {
  return repainted(
    figure,
    palettes[dark() ? "dark" : "light"],
    document.getElementById(id).clientWidth,
  );
}

function draw() {
  return Promise.all(
    Object.entries(figures).map(([id, figure]) => {
      const { data, layout } = painted(id, figure);
      return Plotly.react(id, data, layout, settings);
    }),
  ).then(() => document.dispatchEvent(new Event("drawn")));
}

async function unpack() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) =>
    c.charCodeAt(0),
  );
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

// The element with the timeline, and what came of mounting it: null where there is nothing to show.
function mountTimeline() {
  const element = document.getElementById("timeline");
  if (!element) return Promise.resolve(null);
  const source = perfscopeTimeline.embeddedSource(
    document.getElementById("packed-timeline").textContent,
  );
  return perfscopeTimeline.mount(element, source, { height: 520, paper: palettes.light });
}

function showInterval(from, to) {
  document.dispatchEvent(new CustomEvent("timeline:show", { detail: { from, to } }));
}

function zoomStacks(id) {
  const chart = document.getElementById(id);
  chart.on("plotly_icicleclick", (event) => {
    if (event.nextLevel === undefined) return false;
    Plotly.restyle(id, {
      level: [event.nextLevel],
      text: [labelled(figures[id].data[0], chart.clientWidth, event.nextLevel)],
    });
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
  if (link) showInterval(Number(link.dataset.from), Number(link.dataset.to));
});
darkSystem.addEventListener("change", draw);
addEventListener("beforeprint", () => {
  printing = true;
  draw();
});
addEventListener("afterprint", () => {
  printing = false;
  draw();
});
Promise.all([unpack().then(draw), mountTimeline()])
  .then(() => {
    Object.keys(figures)
      .filter((id) => id.startsWith("stacks"))
      .forEach(zoomStacks);
    root.dataset.drawn = "yes";
  })
  .catch(failed);
