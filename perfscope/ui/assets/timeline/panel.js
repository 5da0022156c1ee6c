"use strict";
// The panel below the lanes: the statistics of a selection, the details of an event, or the legend.
(() => {
  const shared = window.perfscopeTimeline;
  const MOST_ROWS = 60;
  const MOST_EFFECTS = 12;
  const MOST_CATEGORIES = 4;
  const KEYS = [
    ["w s", "zoom"],
    ["a d", "move"],
    ["drag", "move"],
    ["⇧ drag", "select"],
    ["f", "fit"],
    ["n p", "finding"],
    ["[ ]", "step"],
    ["/", "search"],
    ["esc", "back"],
  ];

  // Makes an element. Attributes: "on..." is a listener, "c" is the color of a chip.
  shared.node = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) {
        element.addEventListener(name.slice(2), value);
      } else if (name === "c") {
        element.style.setProperty("--c", value);
      } else if (value !== undefined && value !== false) {
        element.setAttribute(name, value === true ? "" : value);
      }
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };
  const { node } = shared;

  shared.formatShare = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

  shared.formatBytes = (value) => {
    const size = Math.abs(value);
    if (size >= 1e9) return `${(value / 1e9).toFixed(2)} GB`;
    if (size >= 1e6) return `${(value / 1e6).toFixed(2)} MB`;
    if (size >= 1e3) return `${(value / 1e3).toFixed(1)} kB`;
    return `${value} B`;
  };

  shared.showText = (timeline, text) => timeline.panel.replaceChildren(node("p", {}, text));

  function column(...children) {
    return node("div", {}, ...children);
  }

  function cssColor({ meta }, color) {
    return `var(--${meta.colors[color].replace(/_/g, "-")})`;
  }

  function chip(timeline, color) {
    return node("i", { c: cssColor(timeline, color) });
  }

  // The keys. The dashboard has them in the list that `?` opens.
  function keys({ options }) {
    if (options.height !== "fill") return [node("h3", {}, "Keys"), keyHelp()];
    const hint = node("p", {}, "Press ", node("kbd", {}, "?"), " for the keys.");
    return [hint];
  }

  function keyHelp() {
    const entries = KEYS.map(([keys, action]) => {
      const caps = keys.split(" ").flatMap((key) => [node("kbd", {}, key), " "]);
      return node("span", {}, ...caps, action);
    });
    return node("div", { class: "tl-help" }, ...entries);
  }

  shared.showLegend = (timeline) => {
    const hint = "Click an event for details; Shift-drag to select a range and see its statistics.";
    timeline.panel.replaceChildren(
      column(node("h3", {}, hint), legend(timeline), notes(timeline)),
      column(...keys(timeline)),
    );
  };

  function legend(timeline) {
    const { meta } = timeline;
    const used = meta.key.filter((color) => meta.colors[color] !== "step_1");
    const entries = used.map((color) => legendEntry(timeline, color));
    return node("div", { class: "tl-legend" }, ...entries);
  }

  // A category of the legend; a click dims its events, another shows them again.
  function legendEntry(timeline, color) {
    const { hiddenColors, meta } = timeline;
    const texture = meta.waits[color] ? "wait" : "";
    const sample = node("i", { class: texture, c: cssColor(timeline, color) });
    const attributes = {
      type: "button",
      title: "show or dim these events",
      "aria-pressed": String(!hiddenColors.has(color)),
    };
    const entry = node("button", attributes, sample, meta.labels[color]);
    entry.addEventListener("click", () => {
      if (!hiddenColors.delete(color)) hiddenColors.add(color);
      entry.setAttribute("aria-pressed", String(!hiddenColors.has(color)));
      shared.repaint(timeline);
    });
    return entry;
  }

  function notes({ meta, source }) {
    const limits = source.describeLimits ? source.describeLimits() : "";
    const texts = [...meta.notes, limits].filter(Boolean);
    return texts.length ? node("p", { style: "margin-top:10px" }, texts.join(" ")) : null;
  }

  shared.showSelection = async (timeline) => {
    const { selection, source } = timeline;
    timeline.panelTurn++;
    const turn = timeline.panelTurn;
    const from = Math.floor(Math.min(selection.from, selection.to));
    const end = Math.ceil(Math.max(selection.from, selection.to));
    const to = Math.max(end, from + 1);
    const groupBy = timeline.groupBy || "name";
    let found;
    let categories;
    try {
      [found, categories] = await Promise.all([
        source.select(from, to, selection.lanes, groupBy, MOST_ROWS),
        source.select(from, to, selection.lanes, "category", 20),
      ]);
    } catch (error) {
      shared.showText(timeline, `Could not load the statistics: ${error.message}`);
      return;
    }
    if (turn !== timeline.panelTurn) return;
    timeline.updateAddress();
    const duration = node("strong", {}, shared.formatTime(to - from));
    const title = node("h3", {}, "Selected: ", duration, ` of ${selection.words}`);
    const rows = found.absent
      ? node("p", {}, found.absent)
      : node("div", { class: "tl-scroll" }, statisticsTable(timeline, found, groupBy, to - from));
    const summary = found.absent
      ? estimatedCategories(timeline, from, to)
      : exactCategories(timeline, categories, to - from);
    const heading = node("h3", {}, "Statistics of the selected range");
    timeline.panel.replaceChildren(
      column(groupTabs(timeline, groupBy), title, rows),
      column(heading, ...summary, ...keys(timeline)),
    );
  };

  function groupTabs(timeline, groupBy) {
    const tabs = timeline.meta.by.map((group) => {
      const show = () => {
        timeline.groupBy = group;
        shared.showSelection(timeline);
      };
      const pressed = String(group === groupBy);
      const attributes = { type: "button", "aria-pressed": pressed, onclick: show };
      return node("button", attributes, `by ${group}`);
    });
    return node("div", { class: "tl-tabs" }, ...tabs);
  }

  function statisticsTable(timeline, found, groupBy, span) {
    if (!found.rows.length) return node("p", {}, "No events in this range on these lanes.");
    const titles = [groupBy, "count", "sum", "exclusive", "of range", "longest"];
    const heads = titles.map((title) => node("th", { scope: "col" }, title));
    const rows = found.rows.map((row) => statisticsRow(timeline, row, groupBy, span));
    if (found.more) {
      const more = `and ${shared.formatCount(found.more)} more names`;
      rows.push(node("tr", {}, node("td", {}, more)));
    }
    const head = node("thead", {}, node("tr", {}, ...heads));
    return node("table", {}, head, node("tbody", {}, ...rows));
  }

  function statisticsRow(timeline, row, groupBy, span) {
    const [name, color, count, sum, , exclusive, longest] = row;
    const isCategory = groupBy === "category";
    const label = isCategory ? timeline.meta.labels[color] : shared.shortName(name);
    return node(
      "tr",
      {},
      node("td", { title: name }, chip(timeline, color), label),
      node("td", {}, shared.formatCount(count)),
      node("td", {}, shared.formatTime(sum)),
      node("td", {}, shared.formatTime(exclusive)),
      node("td", {}, shared.formatShare(exclusive / span)),
      node("td", {}, shared.formatTime(longest)),
    );
  }

  function exactCategories(timeline, categories, span) {
    const { colors, labels } = timeline.meta;
    const rows = categories.rows.filter(([, color]) => !colors[color].startsWith("step_"));
    return rows.slice(0, MOST_CATEGORIES).map(([, color, count, , , exclusive]) => {
      const time = `${labels[color]}: ${shared.formatTime(exclusive)}`;
      const share = `${shared.formatShare(exclusive / span)} of the range`;
      const text = `${time}, ${share}, ${shared.formatCount(count)} events`;
      return node("p", {}, chip(timeline, color), text);
    });
  }

  // Estimated from the columns of the strip, where the single events are missing.
  function estimatedCategories(timeline, from, to) {
    const { colors, labels, span } = timeline.meta;
    const estimates = Object.entries(timeline.strip || {}).map(([category, shares]) => ({
      category,
      ns: timeInColumns(shares, span, from, to),
    }));
    const longest = estimates.filter(({ ns }) => ns > 0).sort((a, b) => b.ns - a.ns);
    return longest.slice(0, MOST_CATEGORIES).map(({ category, ns }) => {
      const color = colors.indexOf(category);
      const time = `${labels[color]}: about ${shared.formatTime(ns)}`;
      const share = `${shared.formatShare(ns / (to - from))} of the range`;
      return node("p", {}, chip(timeline, color), `${time}, ${share}, all lanes together`);
    });
  }

  // The time of a category between two times, from its shares in equal columns of the run.
  function timeInColumns(shares, [begin, end], from, to) {
    const columnNs = (end - begin) / shares.length;
    let ns = 0;
    shares.forEach((share, index) => {
      const columnBegin = begin + index * columnNs;
      const overlap = Math.min(columnBegin + columnNs, to) - Math.max(columnBegin, from);
      ns += share * Math.max(overlap, 0);
    });
    return ns;
  }

  shared.showEvent = (timeline, event) => {
    const links = [
      ...event.causes.map((cause) => linkTo(timeline, cause, `${cause.role} that caused it`)),
      ...event.effects
        .slice(0, MOST_EFFECTS)
        .map((effect) => linkTo(timeline, effect, effect.role)),
    ];
    const hidden = event.effects.length - MOST_EFFECTS + event.hidden_effects;
    if (hidden > 0) links.push(node("p", {}, `and ${shared.formatCount(hidden)} more`));
    const sample = node("i", { c: `var(--${event.category})` });
    const title = node("h3", {}, sample, node("strong", {}, event.name));
    const details = node("div", { class: "tl-scroll" }, detailList(timeline, event));
    const related = links.length
      ? [node("h3", {}, "Causes and effects"), node("div", { class: "tl-scroll" }, ...links)]
      : keys(timeline);
    timeline.panel.replaceChildren(column(title, details), column(...related));
  };

  function detailList(timeline, event) {
    const { meta, tracks, zero } = timeline;
    const track = shared.trackOfLane(tracks, event.lane);
    const resolution = Math.max(event.dur_ns / 100, 1);
    const facts = [
      ["from", shared.tickLabel(event.ts_ns - zero, resolution)],
      ["duration", shared.formatTime(event.dur_ns)],
      ["lane", track ? track.title : ""],
      ["category", meta.labels[meta.colors.indexOf(event.category)]],
    ];
    for (const [name, value] of Object.entries(event.details)) {
      facts.push([detailLabel(name), detailText(name, value)]);
    }
    const entries = facts.flatMap(([label, text]) => [
      node("dt", {}, label),
      node("dd", {}, String(text)),
    ]);
    return node("dl", {}, ...entries);
  }

  function detailLabel(name) {
    return name.replace(/_(ns|bytes)$/, "").replace(/_/g, " ");
  }

  function detailText(name, value) {
    if (name.endsWith("_ns")) return shared.formatTime(value);
    if (/bytes/.test(name)) return shared.formatBytes(value);
    if (name === "pinned" || name === "non_blocking") return value ? "yes" : "no";
    return value;
  }

  function linkTo(timeline, place, role) {
    const attributes = {
      type: "button",
      class: "tl-flow",
      title: place.name,
      onclick: () => timeline.goTo(place),
    };
    const duration = node("span", {}, shared.formatTime(place.dur_ns));
    const name = shared.shortName(place.name);
    return node("button", attributes, node("span", {}, role), name, " ", duration);
  }
})();
