"use strict";
// The edge between the lanes and the panel, which can be dragged where the timeline fills the page.
(() => {
  const shared = window.perfscopeTimeline;
  const STORED = "perfscope-panel";
  const DEFAULT_HEIGHT = 160;
  const LEAST_HEIGHT = 56;
  const LEAST_LANES = 150;
  const KEY_STEP = 24;

  shared.panelEdge = (timeline) => {
    const edge = shared.node("div", {
      class: "tl-edge",
      role: "separator",
      tabindex: 0,
      "aria-orientation": "horizontal",
      "aria-label": "Height of the details",
      hidden: timeline.options.height !== "fill",
    });
    edge.addEventListener("pointerdown", (event) => dragEdge(timeline, edge, event));
    edge.addEventListener("keydown", (event) => {
      const step = { ArrowUp: KEY_STEP, ArrowDown: -KEY_STEP }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      setHeight(timeline, timeline.panel.offsetHeight + step);
    });
    return edge;
  };

  // Sets the height of the panel; the lanes get what is left of the element.
  shared.fitPanel = (timeline) => {
    const { canvas, edge, element, options, panel } = timeline;
    if (options.height !== "fill") return;
    const wanted = timeline.panelHeight || storedHeight() || DEFAULT_HEIGHT;
    const room = element.clientHeight - canvas.parentElement.offsetTop - edge.offsetHeight;
    const height = shared.clamp(wanted, LEAST_HEIGHT, Math.max(room - LEAST_LANES, LEAST_HEIGHT));
    panel.style.height = `${height}px`;
    edge.setAttribute("aria-valuenow", Math.round(height));
  };

  function storedHeight() {
    try {
      return Number(localStorage.getItem(STORED));
    } catch {
      return 0; // a page that may not store anything
    }
  }

  function setHeight(timeline, height) {
    timeline.panelHeight = Math.max(height, LEAST_HEIGHT);
    timeline.resize();
    timeline.panelHeight = timeline.panel.offsetHeight;
    try {
      localStorage.setItem(STORED, timeline.panelHeight);
    } catch {
      // The height stays until the page is left.
    }
  }

  function dragEdge(timeline, edge, event) {
    if (event.button !== 0) return;
    event.preventDefault();
    edge.setPointerCapture(event.pointerId);
    const startY = event.clientY;
    const startHeight = timeline.panel.offsetHeight;
    const onMove = (move) => setHeight(timeline, startHeight + startY - move.clientY);
    const onEnd = () => {
      edge.removeEventListener("pointermove", onMove);
      edge.removeEventListener("pointerup", onEnd);
      edge.removeEventListener("pointercancel", onEnd);
    };
    edge.addEventListener("pointermove", onMove);
    edge.addEventListener("pointerup", onEnd);
    edge.addEventListener("pointercancel", onEnd);
  }
})();
