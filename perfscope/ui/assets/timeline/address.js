"use strict";
// The part of the timeline's state that the page's address holds, so that it can be shared.
//   #timeline?from=..&to=..           an interval that was in view, in seconds, with
//     &selected=FROM,TO&tracks=..&by=..   the selection in it, or
//     &lane=..                            the lane of the chosen event
//     &pinned=..                          the tracks that are shown first
//   ?from=..&to=..                    an interval that another page links to
(() => {
  const shared = window.perfscopeTimeline;
  const NS_PER_S = 1e9;
  const PAUSE_MS = 300;

  // Shows what the address holds; returns false if it holds nothing new.
  shared.showAddress = (timeline, glide) => {
    const [, hashQuery] = /^#timeline\?(.*)$/.exec(location.hash) || [];
    const isView = hashQuery !== undefined;
    if (isView && location.hash === timeline.writtenAddress) return false;
    const query = new URLSearchParams(isView ? hashQuery : location.search);
    const from = Number(query.get("from")) * NS_PER_S;
    const to = Number(query.get("to")) * NS_PER_S;
    if (!(to > from)) return false;
    pinFromAddress(timeline, query);
    const isExplained = shared.explainInterval(timeline, from, to);
    if (!isView || isExplained) shared.showPlace(timeline, { from, to });
    else if (glide) shared.glide(timeline, from, to);
    else timeline.setView(from, to);
    if (query.get("lane")) timeline.reveal(Number(query.get("lane")));
    restoreSelection(timeline, query);
    return true;
  };

  function pinFromAddress(timeline, query) {
    const numbers = (query.get("pinned") || "").split(",").filter(Boolean).map(Number);
    if (!numbers.length) return;
    timeline.pinnedTracks = new Set(numbers);
    timeline.relayout();
  }

  function restoreSelection(timeline, query) {
    const selected = (query.get("selected") || "").split(",");
    const [from, to] = selected.map((seconds) => Number(seconds) * NS_PER_S);
    if (!(to > from)) return;
    const numbers = (query.get("tracks") || "").split(",").filter(Boolean).map(Number);
    const tracks = timeline.tracks.filter((track) => numbers.includes(track.number));
    const groupBy = query.get("by");
    if (timeline.meta.by.includes(groupBy)) timeline.groupBy = groupBy;
    const lanes = tracks.length
      ? shared.lanesOfTracks(timeline, tracks)
      : shared.allLanes(timeline);
    timeline.selection = { from, to, ...lanes };
    timeline.requestFrame();
    shared.showSelection(timeline);
  }

  // Writes the state into the address, once it has not changed for a moment.
  shared.updateAddress = (timeline) => {
    if (timeline.options.hash === false) return;
    clearTimeout(timeline.addressTimer);
    timeline.addressTimer = setTimeout(() => writeAddress(timeline), PAUSE_MS);
  };

  function writeAddress(timeline) {
    const { view } = timeline;
    const interval = `from=${inSeconds(view.from)}&to=${inSeconds(view.to)}`;
    const pinned = timeline.pinnedTracks.size ? `&pinned=${[...timeline.pinnedTracks]}` : "";
    timeline.writtenAddress = `#timeline?${interval}${selectionQuery(timeline)}${pinned}`;
    const isDefault = timeline.showsWholeRun() && !timeline.selection && !pinned;
    if (isDefault && !location.hash.startsWith("#timeline")) return;
    try {
      history.replaceState(null, "", timeline.writtenAddress);
    } catch {
      timeline.options.hash = false;
    }
  }

  function selectionQuery({ selection, chosen, groupBy }) {
    if (selection) {
      const from = inSeconds(Math.min(selection.from, selection.to));
      const to = inSeconds(Math.max(selection.from, selection.to));
      const tracks = selection.tracks ? `&tracks=${selection.tracks}` : "";
      return `&selected=${from},${to}${tracks}&by=${groupBy || "name"}`;
    }
    return chosen ? `&lane=${chosen.lane}` : "";
  }

  function inSeconds(ns) {
    return (ns / NS_PER_S).toFixed(9).replace(/\.?0+$/, "");
  }
})();
