"use strict";
// What the dashboard's browser side does by itself: theme, painting, keys. Loaded in the head, before anything is drawn.
const root = document.documentElement;
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const remembered = localStorage.getItem("perfscope-theme");
if (remembered === "light" || remembered === "dark") root.classList.add(remembered);

function dark() {
  return (
    root.classList.contains("dark") || (darkSystem.matches && !root.classList.contains("light"))
  );
}

function switchTheme() {
  const other = dark() ? "light" : "dark";
  root.classList.remove("light", "dark");
  root.classList.add(other);
  localStorage.setItem("perfscope-theme", other);
}

function roomFor(name) {
  const chart = document.querySelector(`[data-chart="${CSS.escape(name)}"]`);
  return chart ? chart.clientWidth : document.getElementById("page").clientWidth - 48;
}

window.dash_clientside = Object.assign({}, window.dash_clientside, {
  perfscope: {
    title(words) {
      document.title = words ? `${words} · perfscope` : "perfscope";
      return window.dash_clientside.no_update;
    },
    theme(clicks) {
      if (clicks) switchTheme();
      return dark() ? "dark" : "light";
    },
    asked(workers, cost) {
      // what the sliders of the input page are set to stands in the address
      const query = new URLSearchParams(location.search);
      query.set("workers", workers);
      query.set("cost", cost);
      history.replaceState(history.state, "", `${location.pathname}?${query}${location.hash}`);
      return window.dash_clientside.no_update;
    },
    paint(figure, theme) {
      if (!figure) return window.dash_clientside.no_update;
      const name = window.dash_clientside.callback_context.outputs_list.id.name;
      if (name === "steps" || name === "roofline" || name.startsWith("stacks-"))
        whenThere(name, 50);
      return repainted(figure, palettes[theme === "dark" ? "dark" : "light"], roomFor(name));
    },
  },
});

// What a chart does when it is clicked, from the moment it is there: a frame is zoomed to, a step opens the timeline.
function whenThere(name, tries) {
  const chart = document.querySelector(`[data-chart="${CSS.escape(name)}"] .js-plotly-plot`);
  if (!chart || !chart.on) return tries && setTimeout(() => whenThere(name, tries - 1), 100);
  if (chart.dataset.heard) return;
  chart.dataset.heard = "yes";
  if (name === "steps") chart.on("plotly_click", (event) => openStep(event.points[0]));
  else if (name === "roofline") chart.on("plotly_click", (event) => openPlace(event.points[0]));
  else chart.on("plotly_icicleclick", (event) => zoomed(chart, event.nextLevel));
}

function zoomed(chart, level) {
  if (level !== undefined)
    Plotly.restyle(chart, {
      level: [level],
      text: [labelled(chart.data[0], chart.clientWidth, level)],
    });
  return false;
}

function openStep(point) {
  openTimeline(point.x, point.x + point.y / 1000);
}

function openPlace(point) {
  openTimeline(point.customdata[0], point.customdata[1]);
}

function openTimeline(from, to) {
  const base = location.pathname.match(/^.*?\/run\/[^/]+/) || [
    document.querySelector('#links a[href*="/run/"]').pathname.replace(/\/[^/]*$/, ""),
  ];
  history.pushState({}, "", `${base[0]}/timeline#timeline?from=${from}&to=${to}`);
  dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
}

addEventListener("input", (event) => {
  const field = event.target.closest("#page .search input");
  const chart = field && field.closest("section").querySelector(".js-plotly-plot");
  if (chart) lit(chart, field.value.trim(), field.closest(".search").querySelector("output"));
});

function pressed(key) {
  const dialog = document.getElementById("keys");
  if (key === "?") return dialog.showModal();
  if (key === "t") return document.getElementById("switch-theme").click();
  if (key === "g")
    return document
      .querySelector(`#links a[href="${document.getElementById("brand").getAttribute("href")}"]`)
      ?.click();
  const pages = document.querySelectorAll('#links a[href*="/run/"]');
  if (/^[1-9]$/.test(key)) return pages[Number(key) - 1]?.click();
  if (key === "/") document.querySelector("#page input[type=search]")?.focus();
}

addEventListener("keydown", (event) => {
  if (
    event.target.closest("input, textarea, select, dialog") ||
    event.ctrlKey ||
    event.metaKey ||
    event.altKey
  )
    return;
  if (event.key === "/") event.preventDefault();
  pressed(event.key);
});
addEventListener("click", (event) => {
  if (event.target.closest("#show-keys")) document.getElementById("keys").showModal();
  if (event.target.closest('#page a[href="#changes"]')) {
    event.preventDefault();
    document.getElementById("changes")?.scrollIntoView();
  }
});
