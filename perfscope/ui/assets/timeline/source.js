"use strict";
// The source of a timeline with a server: its routes. A page without a server uses embedded.js.
(() => {
  const shared = window.perfscopeTimeline;

  // Numbers as the routes take them: 3-9,12.
  shared.laneRanges = (numbers) => {
    const ranges = [];
    for (let i = 0; i < numbers.length; i++) {
      const first = numbers[i];
      while (i + 1 < numbers.length && numbers[i + 1] === numbers[i] + 1) i++;
      const last = numbers[i];
      ranges.push(first === last ? `${first}` : `${first}-${last}`);
    }
    return ranges.join(",");
  };

  shared.httpSource = (base) => {
    const get = async (path, query) => {
      const parameters = new URLSearchParams(query).toString();
      const address = `${base}/${path}${parameters ? "?" + parameters : ""}`;
      const answer = await fetch(address, { credentials: "same-origin" });
      if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
      return answer;
    };
    const getJson = async (path, query) => (await get(path, query)).json();
    return {
      exact: () => true,
      meta: () => getJson("meta", {}),
      async tile(from, to, pixels, lanes) {
        const answer = await get("tile", { from, to, pixels, lanes: shared.laneRanges(lanes) });
        const tile = shared.decodeTile(await answer.arrayBuffer(), from, to);
        tile.server = serverTime(answer);
        return tile;
      },
      names: (first, count) => getJson("names", { first, count }),
      strip: (columns) => getJson("strip", { columns }),
      select: (from, to, lanes, by, most) =>
        getJson("select", { from, to, lanes: shared.laneRanges(lanes), by, most }),
      search: (words) => getJson("search", { words }),
      hit: (words, at, lane, backwards) =>
        getJson("hit", { words, at, lane, back: backwards ? 1 : 0 }),
      event: (lane, at) => getJson("event", { lane, at }),
    };
  };

  function serverTime(answer) {
    const timing = answer.headers.get("Server-Timing") || "";
    const [, milliseconds] = /dur=([\d.]+)/.exec(timing) || [];
    return Number(milliseconds || 0);
  }
})();
