// A step's point is a door too: it opens the timeline there, or says that this stretch is not in the page.
function timelineHolds(from, to) {
  return figures.workers.data.some((kind) => kind.base.some((begin, at) => begin < to && begin + kind.x[at] > from));
}

function openStep(point) {
  const from = point.x, to = point.x + point.y / 1000, note = document.querySelector("#section-steps output");
  const held = timelineHolds(from, to);
  note.textContent = held ? "" : "The timeline of this page does not hold that step.";
  if (!held) return;
  showInterval({ dataset: { from, to } });
  document.getElementById("section-workers").scrollIntoView();
}

if (figures.steps && figures.workers) {
  const said = document.createElement("output");
  document.querySelector("#section-steps .note").append(" Click one to see it on the timeline. ", said);
  document.addEventListener("drawn", () => {
    document.getElementById("steps").on("plotly_click", (event) => openStep(event.points[0]));
  }, { once: true });
}
