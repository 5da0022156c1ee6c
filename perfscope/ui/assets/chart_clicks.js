// A click on a step, or on an operator's point in the roofline, opens the timeline there.
// An operator's point has the interval of its longest call.
function openCall(point) {
  const [begin, end] = point.customdata;
  showOnTimeline(begin, end);
}

function showOnTimeline(from, to) {
  showInterval(from, to);
  document.getElementById("section-timeline").scrollIntoView();
}

function openOnClick(id, open) {
  document.addEventListener("figure:drawn", ({ detail }) => {
    if (detail !== id) return;
    document.getElementById(id).on("plotly_click", (event) => open(event.points[0]));
  });
}

if (document.getElementById("timeline")) {
  if (figures.roofline) openOnClick("roofline", openCall);
  document.addEventListener("steps:show", ({ detail }) => showOnTimeline(detail.from, detail.to));
}
