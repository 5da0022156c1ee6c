// A click on a step, or on an operator's point in the roofline, opens the timeline there.
function openStep(point) {
  const durationMs = point.y;
  showOnTimeline(point.x, point.x + durationMs / 1000);
}

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
  const addListener = () => {
    const chart = document.getElementById(id);
    chart.on("plotly_click", (event) => open(event.points[0]));
  };
  document.addEventListener("drawn", addListener, { once: true });
}

if (document.getElementById("timeline")) {
  if (figures.roofline) openOnClick("roofline", openCall);
  if (figures.steps) {
    document.querySelector("#section-steps .note").append(" Click one to see it on the timeline.");
    openOnClick("steps", openStep);
  }
}
