// A step's point is a door too: it opens the timeline there.
function openStep(point) {
  showInterval(point.x, point.x + point.y / 1000);
  document.getElementById("section-timeline").scrollIntoView();
}

if (figures.steps && document.getElementById("timeline")) {
  document.querySelector("#section-steps .note").append(" Click one to see it on the timeline.");
  document.addEventListener("drawn", () => {
    document.getElementById("steps").on("plotly_click", (event) => openStep(event.points[0]));
  }, { once: true });
}
