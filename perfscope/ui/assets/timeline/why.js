"use strict";
// The line above the lanes: why a link led to this interval, and the steps through the evidence.
(() => {
  const shared = window.perfscopeTimeline;
  const { node } = shared;
  const TOLERANCE_NS = 2000; // links have microseconds

  shared.whyLine = () => node("div", { class: "tl-why", role: "status", hidden: true });

  // Says why an interval is shown, where it is that of a finding or of a part of the time budget.
  // Returns whether it is one.
  shared.explainInterval = (timeline, from, to) => {
    const { marks, places } = timeline.meta;
    const fits = (place) =>
      Math.abs(place.from - from) <= TOLERANCE_NS && Math.abs(place.to - to) <= TOLERANCE_NS;
    const mark = marks.findIndex(fits);
    if (mark >= 0) {
      shared.explainMark(timeline, mark);
      return true;
    }
    const place = (places || []).find(fits);
    if (place) showLine(timeline, null, place.text, place.color);
    else shared.hideWhy(timeline);
    return Boolean(place);
  };

  shared.explainMark = (timeline, index) => {
    const { marks } = timeline.meta;
    const mark = marks[index];
    timeline.markIndex = index;
    const count = marks.length > 1 ? `Evidence ${index + 1} of ${marks.length}` : "Evidence";
    showLine(timeline, `${count}: ${mark.id}`, mark.text, mark.color);
  };

  shared.hideWhy = (timeline) => {
    if (timeline.why.hidden) return;
    timeline.why.hidden = true;
    timeline.resize();
  };

  function showLine(timeline, title, text, color) {
    const { why, meta } = timeline;
    const chip = node("i", { c: `var(--${color})` });
    const steps = [
      button("‹", "previous evidence (p)", () => timeline.goToFinding(-1)),
      button("›", "next evidence (n)", () => timeline.goToFinding(1)),
    ];
    why.replaceChildren(
      chip,
      ...(title ? [node("b", {}, title)] : []),
      node("span", {}, text.replace(/`/g, "")),
      ...(meta.marks.length > (title ? 1 : 0) ? steps : []),
      button("×", "close this line", () => shared.hideWhy(timeline)),
    );
    why.hidden = false;
    timeline.resize();
  }

  function button(label, title, action) {
    const attributes = { type: "button", title, "aria-label": title, onclick: action };
    return node("button", attributes, label);
  }
})();
