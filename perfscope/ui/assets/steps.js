// A click on a step opens the timeline on that step.
function openStep(point) {
  showInterval(point.x, point.x + point.y / 1000);
  document.getElementById("section-timeline").scrollIntoView();
}

// An operator's point opens the timeline on its longest call.
function openPlace(point) {
  showInterval(point.customdata[0], point.customdata[1]);
  document.getElementById("section-timeline").scrollIntoView();
}

if (figures.roofline && document.getElementById("timeline")) {
  document.addEventListener(
    "drawn",
    () => {
      document.getElementById("roofline").on("plotly_click", (event) => openPlace(event.points[0]));
    },
    { once: true },
  );
}
if (figures.steps && document.getElementById("timeline")) {
  document.querySelector("#section-steps .note").append(" Click one to see it on the timeline.");
  document.addEventListener(
    "drawn",
    () => {
      document.getElementById("steps").on("plotly_click", (event) => openStep(event.points[0]));
    },
    { once: true },
  );
}
