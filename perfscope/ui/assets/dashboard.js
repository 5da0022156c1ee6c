"use strict";
// The browser's part of the dashboard: theme, colors of figures, keys. It is loaded in the head,
// before anything is drawn.
const root = document.documentElement;
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const savedTheme = localStorage.getItem("perfscope-theme");
if (savedTheme === "light" || savedTheme === "dark") root.classList.add(savedTheme);

function isDark() {
  const isLightChosen = root.classList.contains("light");
  return root.classList.contains("dark") || (darkSystem.matches && !isLightChosen);
}

function switchTheme() {
  const other = isDark() ? "light" : "dark";
  root.classList.remove("light", "dark");
  root.classList.add(other);
  localStorage.setItem("perfscope-theme", other);
}

function chartElement(name) {
  return document.querySelector(`[data-chart="${CSS.escape(name)}"]`);
}

function chartWidth(name) {
  const chart = chartElement(name);
  return chart ? chart.clientWidth : document.getElementById("page").clientWidth - 48;
}

// Names the handles of sliders for screen readers; they are drawn some time after the page.
function nameSliders() {
  for (const handle of document.querySelectorAll("[data-slider] [role=slider]:not([aria-label])"))
    handle.setAttribute("aria-label", handle.closest("[data-slider]").dataset.slider);
}

new MutationObserver(nameSliders).observe(root, { childList: true, subtree: true });

// The functions that Dash calls: clientside callbacks.
const callbacks = {
  title(words) {
    document.title = words ? `${words} · perfscope` : "perfscope";
    return window.dash_clientside.no_update;
  },
  theme(clicks) {
    if (clicks) switchTheme();
    return isDark() ? "dark" : "light";
  },
  // Writes the sliders of the input page into the address.
  writeSliders(workers, cost) {
    const query = new URLSearchParams(location.search);
    query.set("workers", workers);
    query.set("cost", cost);
    const address = `${location.pathname}?${query}${location.hash}`;
    history.replaceState(history.state, "", address);
    return window.dash_clientside.no_update;
  },
  paint(figure, theme) {
    if (!figure) return window.dash_clientside.no_update;
    const { name } = window.dash_clientside.callback_context.outputs_list.id;
    if (clickAction(name)) addClickAction(name, 50);
    const palette = palettes[theme === "dark" ? "dark" : "light"];
    return figureInPalette(figure, palette, chartWidth(name));
  },
};
window.dash_clientside = { ...window.dash_clientside, perfscope: callbacks };

document.addEventListener("steps:show", ({ detail }) => {
  openAddress(timelineAddress(detail.from, detail.to, detail.rank));
});

// A click on an operator opens the timeline; one on a frame zooms to it.
function clickAction(name) {
  if (name === "roofline") {
    return (chart) => chart.on("plotly_click", (event) => openCall(event.points[0]));
  }
  if (name.startsWith("stacks-")) {
    return (chart) => chart.on("plotly_icicleclick", (event) => zoomTo(chart, event.nextLevel));
  }
  return null;
}

// Plotly draws the chart a moment later, so this waits for it.
function addClickAction(name, tries) {
  const element = chartElement(name);
  const chart = element && element.querySelector(".js-plotly-plot");
  if (!chart || !chart.on) {
    if (tries) setTimeout(() => addClickAction(name, tries - 1), 100);
    return;
  }
  if (chart.dataset.hasClickAction) return;
  chart.dataset.hasClickAction = "yes";
  clickAction(name)(chart);
}

// Returning false keeps plotly from zooming without new labels.
function zoomTo(chart, level) {
  if (level !== undefined) {
    const labels = frameLabels(chart.data[0], chart.clientWidth, level);
    Plotly.restyle(chart, { level: [level], text: [labels] });
  }
  return false;
}

// An operator's point has the interval of its longest call.
function openCall(point) {
  const [begin, end] = point.customdata;
  openTimeline(begin, end);
}

// Times are in seconds.
function timelineAddress(from, to, chosenRank) {
  const rank = chosenRank ?? new URLSearchParams(location.search).get("rank");
  const query = rank === null ? "" : `?rank=${encodeURIComponent(rank)}`;
  return `${runAddress()}/timeline${query}#timeline?from=${from}&to=${to}`;
}

function openTimeline(from, to) {
  openAddress(timelineAddress(from, to));
}

// Opens a page of the dashboard without loading everything again.
function openAddress(address) {
  history.pushState({}, "", address);
  dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
}

// The address of the run that is shown: of this page, or else of the links to its pages.
function runAddress() {
  const [address] = location.pathname.match(/^.*?\/run\/[^/]+/) || [];
  if (address) return address;
  const link = document.querySelector('#links a[href*="/run/"]');
  return link.pathname.replace(/\/[^/]*$/, "");
}

// Requests of the pages and the timeline fail when the server has ended or the tunnel is closed.
const RETRY_MS = 2000;
const fetchAtOnce = window.fetch.bind(window);
let isRetrying = false;

window.fetch = (...request) =>
  fetchAtOnce(...request).catch((error) => {
    if (error.name !== "AbortError") retryUntilReached();
    throw error;
  });

function retryUntilReached() {
  document.getElementById("unreachable").hidden = false;
  if (isRetrying) return;
  isRetrying = true;
  setTimeout(retry, RETRY_MS);
}

async function retry() {
  const style = document.querySelector('link[href*="page/style.css"]').href;
  try {
    await fetchAtOnce(style, { method: "HEAD", cache: "no-store" });
  } catch {
    setTimeout(retry, RETRY_MS);
    return;
  }
  location.reload();
}

function runShortcut(key) {
  if (key === "?") document.getElementById("keys").showModal();
  if (key === "t") document.getElementById("switch-theme").click();
  if (key === "g") {
    const runList = document.getElementById("brand").getAttribute("href");
    document.querySelector(`#links a[href="${runList}"]`)?.click();
  }
  if (/^[1-9]$/.test(key)) {
    const pages = document.querySelectorAll('#links a[href*="/run/"]');
    pages[Number(key) - 1]?.click();
  }
  if (key === "/") document.querySelector("#page input[type=search]")?.focus();
}

addEventListener("input", (event) => {
  const field = event.target.closest("#page .search input");
  const chart = field && field.closest("section").querySelector(".js-plotly-plot");
  if (!chart) return;
  const output = field.closest(".search").querySelector("output");
  highlightMatches(chart, field.value.trim(), output);
});

// The selector of the rank: the pages have the rank of the verdict where the address has none.
function showRank() {
  const selector = document.getElementById("rank");
  if (selector && selector.value !== selector.dataset.rank && !selector.dataset.shown) {
    selector.value = selector.dataset.rank;
    selector.dataset.shown = "yes";
  }
}

new MutationObserver(showRank).observe(root, { childList: true, subtree: true });

addEventListener("change", ({ target }) => {
  if (target.id !== "rank") return;
  const query = new URLSearchParams(location.search);
  if (target.value === target.dataset.verdict) query.delete("rank");
  else query.set("rank", target.value);
  openAddress(location.pathname + (query.size ? `?${query}` : ""));
});

addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea, select, dialog");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") event.preventDefault();
  runShortcut(event.key);
});

addEventListener("click", (event) => {
  if (event.target.closest("#show-keys")) document.getElementById("keys").showModal();
  if (event.target.closest('#page a[href="#changes"]')) {
    event.preventDefault();
    document.getElementById("changes")?.scrollIntoView();
  }
});
