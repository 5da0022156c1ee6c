"use strict";
// The source of a timeline without a server: the page contains events and tiles, in the format of
// perfscope/ui/timeline/embedded.py, and the answers are computed in the browser.
(() => {
  const shared = window.perfscopeTimeline;
  const DENSITY_COLUMNS = 512;
  const MOST_EFFECTS = 200;
  const ABSENT =
    "This file does not contain the single events of this range, to stay small;" +
    " perfscope ui shows them.";

  shared.embeddedSource = (base64) => {
    const file = { pack: null, header: null, lanes: [], tracks: [], effects: null, hits: {} };
    return {
      exact: (from, to) => hasEvents(file, from, to),
      meta: async () => load(file, base64),
      tile: async (from, to, pixels, lanes) => tile(file, { from, to, pixels }, lanes),
      strip: async () => file.header.strip,
      select: async (from, to, lanes, groupBy, limit) =>
        select(file, { from, to, lanes, groupBy }, limit),
      search: async (words) => search(file, words),
      hit: async (words, time, lane, backwards) =>
        nextHit(file, words, { ts_ns: time, lane }, backwards),
      event: async (lane, time) => eventAt(file, lane, time),
      describeLimits: () => describeLimits(file.header),
    };
  };

  async function load(file, base64) {
    file.pack = await unpack(base64);
    file.header = file.pack.header;
    file.tracks = shared.readTracks(file.header);
    let firstNumber = 1;
    file.lanes = file.header.lanes.map((description) => {
      if (!description) return description;
      const lane = readLane(description, file.pack, firstNumber);
      firstNumber += lane.ts.length;
      return lane;
    });
    return file.header;
  }

  async function unpack(base64) {
    const packed = new Blob([shared.decodeBase64(base64)]);
    const stream = packed.stream().pipeThrough(new DecompressionStream("gzip"));
    const body = await new Response(stream).arrayBuffer();
    const length = new DataView(body).getUint32(0, true);
    const text = new TextDecoder().decode(new Uint8Array(body, 4, length));
    return { header: JSON.parse(text), body, first: 4 + length };
  }

  // Integers of variable length: seven bits per byte, low bits first.
  function readIntegers(bytes, count) {
    const values = new Float64Array(count);
    let position = 0;
    for (let i = 0; i < count; i++) {
      let scale = 1;
      let byte;
      do {
        byte = bytes[position++];
        values[i] += (byte & 127) * scale;
        scale *= 128;
      } while (byte & 128);
    }
    return values;
  }

  // The columns of one lane: ts, end, code, note, the running sum of durations, and the cause: the
  // number of an event in the file, 0 for none. `first` is the number of the lane's first event.
  function readLane(description, pack, first) {
    const [begin, unit, count, palette, stored] = description;
    const [gaps, durations, nameIndices, causeSteps, note] = stored.map(([offset, length]) =>
      readIntegers(new Uint8Array(pack.body, pack.first + offset, length), count),
    );
    const ts = new Float64Array(count);
    const end = new Float64Array(count);
    const code = new Uint32Array(count);
    const cause = new Float64Array(count);
    const total = new Float64Array(count + 1);
    let time = begin;
    let causeNumber = 0;
    for (let i = 0; i < count; i++) {
      if (i) time += gaps[i] * unit;
      ts[i] = time;
      time += durations[i] * unit;
      end[i] = time;
      code[i] = palette[nameIndices[i]];
      total[i + 1] = total[i] + durations[i] * unit;
      causeNumber += signedOf(causeSteps[i]);
      cause[i] = causeNumber;
    }
    return { ts, end, code, cause, note, total, first };
  }

  // Odd numbers are negative.
  function signedOf(number) {
    return number % 2 ? -(number + 1) / 2 : number / 2;
  }

  // How many of the sorted values are smaller.
  function countBelow(sorted, value) {
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function busyUntil(lane, time) {
    const index = countBelow(lane.ts, time);
    if (!index) return 0;
    return lane.total[index] - Math.max(lane.end[index - 1] - time, 0);
  }

  // The events of a lane that touch an interval: [first, end).
  function eventsBetween(lane, from, to) {
    let first = Math.max(countBelow(lane.ts, from) - 1, 0);
    const isBefore = first < lane.ts.length && lane.ts[first] < from && lane.end[first] <= from;
    if (isBefore) first++;
    return [first, Math.max(countBelow(lane.ts, to), first)];
  }

  function hasEvents({ header }, from, to) {
    return header.whole || header.held.some(([begin, end]) => from >= begin && to <= end);
  }

  function describeLimits({ whole, held }) {
    if (whole) return "";
    const intervals = held.map(
      ([begin, end]) => `${shared.formatTime(begin)} to ${shared.formatTime(end)}`,
    );
    return (
      "To stay small, this file contains single events only where the page links to:" +
      ` ${intervals.join(", ")}; elsewhere it has the main activity of each pixel.`
    );
  }

  // range: {from, to, pixels}
  function tile(file, range, numbers) {
    const isExact = hasEvents(file, range.from, range.to);
    const lanes = new Map();
    for (const number of numbers) {
      const lane = isExact
        ? eventsAsBars(file.lanes[number], range)
        : pixelsOfLane(file, number, range);
      lanes.set(number, lane);
    }
    return { ...range, lanes, bytes: 0 };
  }

  function eventsAsBars(lane, { from, to, pixels }) {
    if (!lane) return null;
    const [first, end] = eventsBetween(lane, from, to);
    const count = end - first;
    if (!count) return null;
    const scale = pixels / (to - from);
    const x = new Float32Array(count);
    const w = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      const left = (lane.ts[first + i] - from) * scale;
      const right = (lane.end[first + i] - from) * scale;
      x[i] = shared.clamp(left, 0, pixels);
      w[i] = shared.clamp(right, 0, pixels) - x[i];
    }
    return { x, w, code: lane.code.subarray(first, end) };
  }

  // Pixels of the coarsest stored level that is fine enough, else of the finest level.
  function pixelsOfLane(file, number, range) {
    const { pixels } = range;
    const level = levelFor(file, (range.to - range.from) / pixels);
    if (!level) return null;
    const line = { busy: new Uint8Array(pixels), code: new Uint32Array(pixels) };
    for (const stored of level) {
      const [begin, end] = stored;
      if (end <= range.from || begin >= range.to) continue;
      const storedTile = decodedTile(file, stored);
      const lane = lineOf(storedTile.lanes.get(number), storedTile.pixels);
      if (lane) resample(lane, { begin, pixelNs: (end - begin) / storedTile.pixels }, range, line);
    }
    return line;
  }

  function levelFor(file, pixelNs) {
    const { tiles } = file.header;
    const storedPixelNs = (level) => {
      const [begin, end] = level[0];
      return (end - begin) / decodedTile(file, level[0]).pixels;
    };
    const isFineEnough = (level) => storedPixelNs(level) <= pixelNs * 1.01;
    return tiles.find(isFineEnough) || tiles[tiles.length - 1];
  }

  // Adds the pixels of a stored tile to a line of wider or narrower pixels: the mean busy share,
  // and the name of the busiest pixel.
  function resample(stored, grid, { from, to, pixels }, line) {
    const pixelNs = (to - from) / pixels;
    for (let x = 0; x < pixels; x++) {
      const begin = from + x * pixelNs - grid.begin;
      const first = Math.floor(begin / grid.pixelNs);
      const last = Math.max(Math.ceil((begin + pixelNs) / grid.pixelNs - 1e-9), first + 1);
      let busiest = 0;
      let sum = 0;
      let count = 0;
      for (let i = Math.max(first, 0); i < last && i < stored.busy.length; i++) {
        count++;
        sum += stored.busy[i];
        if (stored.busy[i] > busiest) {
          busiest = stored.busy[i];
          line.code[x] = stored.code[i];
        }
      }
      if (count && sum) line.busy[x] = Math.max(Math.round(sum / count), 1);
    }
  }

  // stored: [begin, end, [offset, length]]; its tile is decoded once.
  function decodedTile({ pack }, stored) {
    if (!stored.tile) {
      const [begin, end, [offset, length]] = stored;
      const first = pack.first + offset;
      stored.tile = shared.decodeTile(pack.body.slice(first, first + length), begin, end);
    }
    return stored.tile;
  }

  function lineOf(lane, pixels) {
    if (!lane || !lane.x) return lane;
    if (!lane.line) {
      lane.line = shared.emptyLine(pixels);
      shared.spread(lane, pixels, lane.line);
    }
    return lane.line;
  }

  // asked: {from, to, lanes, groupBy}
  function select(file, asked, limit) {
    const { header, lanes, tracks } = file;
    const [begin, end] = header.span;
    if (!hasEvents(file, Math.max(asked.from, begin), Math.min(asked.to, end))) {
      return { rows: [], more: 0, absent: ABSENT };
    }
    const statistics = makeStatistics(header, asked);
    const chosen = new Set(asked.lanes);
    for (const track of tracks) {
      for (const number of shared.lanesOfTrack(track)) {
        const lane = lanes[number];
        if (!lane || !chosen.has(number)) continue;
        const isLast = number === track.first + track.rows - 1;
        const inner = track.kind === "stream" || isLast ? null : lanes[number + 1];
        statistics.add(lane, inner);
      }
    }
    const rows = statistics.rows();
    return { rows: rows.slice(0, limit), more: Math.max(rows.length - limit, 0) };
  }

  // Sums up the events of lanes by name or by category.
  function makeStatistics(header, { from, to, groupBy }) {
    const colors = shared.decodeBase64(header.name_colors);
    const isByName = groupBy === "name";
    const groups = new Map();

    function groupOf(code) {
      const key = isByName ? code : colors[code];
      if (!groups.has(key)) {
        const name = isByName ? header.names[key] : header.colors[key];
        groups.set(key, { name, color: colors[code], count: 0, sum: 0, exclusive: 0, longest: 0 });
      }
      return groups.get(key);
    }

    return {
      // `inner` is the lane of the events inside those of `lane`.
      add(lane, inner) {
        const [first, last] = eventsBetween(lane, from, to);
        for (let i = first; i < last; i++) {
          const begin = Math.max(lane.ts[i], from);
          const end = shared.clamp(lane.end[i], from, to);
          const innerBusy = inner ? busyUntil(inner, end) - busyUntil(inner, begin) : 0;
          const group = groupOf(lane.code[i]);
          group.count++;
          group.sum += end - begin;
          group.exclusive += end - begin - innerBusy;
          group.longest = Math.max(group.longest, lane.end[i] - lane.ts[i]);
        }
      },
      rows() {
        const sorted = [...groups.values()].sort(
          (a, b) => b.exclusive - a.exclusive || b.sum - a.sum,
        );
        return sorted.map(({ name, color, count, sum, exclusive, longest }) => {
          const share = 0; // the server sends it, and the panel does not show it
          return [name, color, count, sum, share, exclusive, longest];
        });
      },
    };
  }

  function search(file, words) {
    const { header, lanes } = file;
    const wanted = words.toLowerCase();
    const codes = [];
    header.names.forEach((name, code) => {
      if (name.toLowerCase().includes(wanted)) codes.push(code);
    });
    const matching = new Set(codes);
    const density = new Array(DENSITY_COLUMNS).fill(0);
    const places = [];
    const [begin, end] = header.span;
    lanes.forEach((lane, number) => {
      if (!lane) return;
      lane.code.forEach((code, index) => {
        if (!matching.has(code)) return;
        const place = placeOf(file, number, index);
        const column = Math.floor(((place.ts_ns - begin) / (end - begin)) * DENSITY_COLUMNS);
        density[Math.min(column, DENSITY_COLUMNS - 1)]++;
        places.push(place);
      });
    });
    places.sort((a, b) => a.ts_ns - b.ts_ns || a.lane - b.lane);
    file.hits = { words, places };
    return { codes, count: places.length, density };
  }

  function nextHit(file, words, start, backwards) {
    if (file.hits.words !== words) search(file, words);
    const { places } = file.hits;
    const isAfter = ({ ts_ns, lane }) =>
      ts_ns > start.ts_ns || (ts_ns === start.ts_ns && lane > start.lane);
    const isStart = ({ ts_ns, lane }) => ts_ns === start.ts_ns && lane === start.lane;
    if (!backwards) return places.find(isAfter) || null;
    const earlier = places.filter((place) => !isAfter(place) && !isStart(place));
    return earlier.pop() || null;
  }

  function placeOf({ header, lanes }, number, index) {
    const lane = lanes[number];
    return {
      lane: number,
      ts_ns: lane.ts[index],
      dur_ns: lane.end[index] - lane.ts[index],
      name: header.names[lane.code[index]],
    };
  }

  function eventAt(file, number, time) {
    const { header, lanes, tracks } = file;
    const lane = lanes[number];
    const index = lane ? countBelow(lane.ts, time + 0.5) - 1 : -1;
    if (index < 0 || lane.end[index] < time) {
      return hasEvents(file, time, time) ? null : { absent: ABSENT };
    }
    const note = header.notes_of_events[lane.note[index]];
    const color = shared.decodeBase64(header.name_colors)[lane.code[index]];
    const effects = effectsOf(file, shared.trackOfLane(tracks, number), lane, index);
    return {
      ...placeOf(file, number, index),
      category: header.colors[color],
      details: note ? JSON.parse(note) : {},
      causes: causesOf(file, lane, index),
      effects: effects.slice(0, MOST_EFFECTS),
      hidden_effects: Math.max(effects.length - MOST_EFFECTS, 0),
    };
  }

  // The chain of causes of an event, the first cause first.
  function causesOf(file, lane, index) {
    const causes = [];
    let causeNumber = lane.cause[index];
    while (causeNumber) {
      const number = laneOfEvent(file.lanes, causeNumber);
      if (number < 0) break;
      const causeLane = file.lanes[number];
      const causeIndex = causeNumber - causeLane.first;
      const { kind } = shared.trackOfLane(file.tracks, number);
      const role = kind === "calls" ? "launch" : "operator";
      causes.unshift({ ...placeOf(file, number, causeIndex), role });
      causeNumber = causeLane.cause[causeIndex];
    }
    return causes;
  }

  function laneOfEvent(lanes, eventNumber) {
    return lanes.findIndex((lane) => {
      if (!lane) return false;
      return eventNumber >= lane.first && eventNumber < lane.first + lane.ts.length;
    });
  }

  // The launches inside an operator, and the kernels of a launch.
  function effectsOf(file, track, lane, index) {
    if (track.kind === "calls") return startedBy(file, lane.first + index);
    if (track.kind !== "thread") return [];
    const effects = [];
    const begin = lane.ts[index];
    const end = Math.max(lane.end[index], begin + 1);
    for (const number of launchLanes(file, track)) {
      const launches = file.lanes[number];
      const last = countBelow(launches.ts, end);
      for (let i = countBelow(launches.ts, begin); i < last; i++) {
        if (!launches.cause[i]) continue;
        effects.push({ ...placeOf(file, number, i), role: "launch" });
        effects.push(...startedBy(file, launches.first + i));
      }
    }
    return effects;
  }

  // The lanes with the launches of a thread.
  function launchLanes({ lanes, tracks }, thread) {
    const isOfThread = (track) =>
      track.kind === "calls" && track.group === thread.group && track.tid === thread.tid;
    const numbers = tracks.filter(isOfThread).flatMap(shared.lanesOfTrack);
    return numbers.filter((number) => lanes[number]);
  }

  function startedBy(file, eventNumber) {
    const places = effectsByCause(file).get(eventNumber) || [];
    return places.map(([number, index]) => {
      const { kind } = shared.trackOfLane(file.tracks, number);
      const role = kind === "stream" ? "kernel" : "launch";
      return { ...placeOf(file, number, index), role };
    });
  }

  // The number of an event -> [lane, index] of the events that it caused; computed once.
  function effectsByCause(file) {
    if (file.effects) return file.effects;
    file.effects = new Map();
    file.lanes.forEach((lane, number) => {
      if (!lane) return;
      lane.cause.forEach((cause, index) => {
        if (!cause) return;
        if (!file.effects.has(cause)) file.effects.set(cause, []);
        file.effects.get(cause).push([number, index]);
      });
    });
    return file.effects;
  }
})();
