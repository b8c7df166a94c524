// @ts-check
/**
 * The lanes above the list of messages, on a common time axis: events, a waveform for each party,
 * messages, and the levels of the token buckets. uPlot draws the lanes.
 */

import { element } from "./virtual_list.js";
import { formatLatency, formatTime, worst } from "./ladder.js";

/** @typedef {import("./source.js").Mark} Mark */
/** @typedef {import("./ladder.js").MessageIndex} MessageIndex */
/** @typedef {import("./source.js").LiveSource | import("./source.js").InlineSource} Source */
/** @typedef {{name: string, plot: uPlot, height: () => number}} Lane */

/** Maximum number of columns of a waveform that the server computes. */
const MAX_COLUMNS = 4000;
/** Minimum length of the visible part of a call, in seconds. */
const CLOSEST = 0.05;
/** Milliseconds between two requests for the waveform of a running call. */
const LIVE_PEAKS_INTERVAL = 1000;

/** The name, the sign in the events lane, and the colour of each kind of mark. */
export const KINDS = /** @type {Record<string, {name: string, sign: string, color: string}>} */ ({
  playback_started: { name: "Playback started", sign: "▶", color: "--bot" },
  playback_completed: { name: "Playback completed", sign: "■", color: "--bot" },
  barge_in: { name: "Barge-in", sign: "✂", color: "--accent" },
  pause: { name: "Pause", sign: "‖", color: "--muted" },
  resume: { name: "Resumed", sign: "▷", color: "--muted" },
  gap: { name: "Discarded", sign: "∅", color: "--warning" },
  dtmf: { name: "Key", sign: "#", color: "--caller" },
  turn: { name: "Caller's turn", sign: "¶", color: "--caller" },
  underrun: { name: "Hole in bot audio", sign: "!", color: "--violation" },
});

/** @param {Mark} mark @returns {string} */
export function markName(mark) {
  return KINDS[mark.kind]?.name ?? String(mark.kind).slice(0, 40);
}

/** @param {Mark} mark @returns {string} The value and the duration of a mark as text. */
export function markText(mark) {
  const { value } = mark;
  const length = mark.until === null || mark.until === undefined ? "" : formatLatency(mark.until - mark.at);
  const text =
    value === null || value === undefined
      ? ""
      : typeof value === "string"
        ? value
        : typeof value === "number" && mark.kind === "gap"
          ? `${formatLatency(value)} not received`
          : typeof value === "number" && mark.kind === "barge_in"
            ? `${formatLatency(value)} of bot audio cleared`
            : JSON.stringify(value);
  return [text.slice(0, 200), length && `for ${length}`].filter(Boolean).join(", ");
}

/** @type {Map<string, string>} Colours of the style sheet, cached until the colour scheme changes. */
const knownColors = new Map();

/** @param {string} name  A custom property of the style sheet. @returns {string} */
function cssColor(name) {
  let color = knownColors.get(name);
  if (color === undefined) {
    color = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    knownColors.set(name, color);
  }
  return color;
}

export class Timeline {
  /**
   * @param {{root: HTMLElement, lanes: HTMLElement, playhead: HTMLElement, scrollbar: HTMLElement,
   *     tip: HTMLElement}} parts
   * @param {{seek: (time: number) => void}} events
   */
  constructor(parts, events) {
    this._parts = parts;
    this._events = events;
    /** @type {Source|null} */
    this._source = null;
    this._id = "";
    /** @type {string[]} */
    this._parties = [];
    /** @type {MessageIndex|null} */
    this._index = null;
    /** @type {Mark[]} */
    this._marks = [];
    /** @type {{from: number, to: number, kind: string}[]} */
    this._spans = [];
    /** @type {Map<string, {at: number[], level: number[]}>} */
    this._buckets = new Map();
    /** @type {uPlot.AlignedData|null} */
    this._bucketData = null;
    /** @type {Lane[]} */
    this._lanes = [];
    /** @type {Map<string, {x: Float64Array, high: Float32Array, low: Float32Array}>} */
    this._peaks = new Map();
    /** @type {Map<string, number>} */
    this._loudest = new Map();
    this.duration = 1;
    this.from = 0;
    this.to = 1;
    this._width = 0;
    this._time = 0;
    /** @type {[number, number]} */
    this._visible = [0, 0];
    this._peaksTimer = 0;
    this._peaksRun = 0;
    this._peaksAt = 0;
    this._frame = 0;
    new ResizeObserver(() => this._resize()).observe(parts.lanes);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      knownColors.clear();
      this._build();
    });
    parts.lanes.addEventListener("wheel", (event) => this._wheel(event), { passive: false });
    parts.lanes.addEventListener("pointerleave", () => (parts.tip.hidden = true));
    parts.scrollbar.addEventListener("scroll", () => this._scrolled(), { passive: true });
  }

  /**
   * Shows a call, or nothing.
   *
   * @param {Source|null} source
   * @param {string} id
   * @param {string[]} parties
   * @param {number} duration
   * @param {MessageIndex|null} index
   */
  open(source, id, parties, duration, index) {
    Object.assign(this, { _source: source, _id: id, _parties: parties, _index: index });
    this.duration = Math.max(duration, CLOSEST);
    [this.from, this.to] = [0, this.duration];
    this._visible = [0, 0];
    this._peaks.clear();
    this._loudest.clear();
    this.setMarks([]);
    this._build();
  }

  /** Sets a new duration of a running call. @param {number} duration */
  extend(duration) {
    if (duration <= this.duration) return;
    const atEnd = this.to >= this.duration - 0.5;
    const all = this.from <= 0 && atEnd;
    const growth = duration - this.duration;
    this.duration = duration;
    if (all) this.to = duration;
    else if (atEnd) [this.from, this.to] = [this.from + growth, duration];
    this._moved(LIVE_PEAKS_INTERVAL);
  }

  /** @param {Mark[]} marks  All marks of the call. */
  setMarks(marks) {
    this._marks = [];
    const hadBuckets = this._buckets.size > 0;
    this._buckets.clear();
    this.addMarks(marks);
    if (hadBuckets && this._buckets.size === 0) this._build();
  }

  /** @param {Mark[]} marks */
  addMarks(marks) {
    let lanes = false;
    for (const mark of marks) {
      if (mark.kind !== "bucket") {
        this._marks.push(mark);
        continue;
      }
      const { name, level, limit } = mark.value ?? {};
      const key = String(name).slice(0, 20);
      if (!this._buckets.has(key)) {
        if (this._buckets.size >= 8) continue;
        lanes = true;
        this._buckets.set(key, { at: [], level: [] });
      }
      const bucket = this._buckets.get(key);
      bucket?.at.push(Math.max(mark.at, bucket.at.at(-1) ?? 0));
      bucket?.level.push(limit > 0 ? Math.max(0, Math.min(1, level / limit)) : 0);
      this._bucketData = null;
    }
    // The server can report a mark after marks with a later time, so the marks are sorted.
    this._marks.sort((a, b) => a.at - b.at);
    this._findSpans();
    if (lanes) this._build();
    else if (marks.length) this.redraw();
  }

  /** @returns {Mark[]} The marks other than bucket levels. */
  get marks() {
    return this._marks;
  }

  /** Moves the playhead. @param {number} time @param {boolean} follow  Whether to scroll to it. */
  showTime(time, follow) {
    this._time = time;
    const span = this.to - this.from;
    if (follow && (time < this.from || time > this.to)) {
      this.view(time - span * 0.1, time + span * 0.9);
    }
    this._placePlayhead();
  }

  /** Highlights the period of the visible messages. @param {number} from @param {number} to */
  showVisible(from, to) {
    this._visible = [from, to];
    this._lane("messages")?.plot.redraw(false, false);
  }

  /** Shows a part of the call. @param {number} from @param {number} to */
  view(from, to) {
    const span = Math.max(CLOSEST, Math.min(this.duration, to - from));
    this.from = Math.max(0, Math.min(this.duration - span, from));
    this.to = this.from + span;
    this._moved(80);
  }

  /** @param {number} factor  A factor below 1 shows less time. @param {number} [around] */
  zoom(factor, around) {
    const inView = this._time >= this.from && this._time <= this.to;
    const centre = around ?? (inView ? this._time : (this.from + this.to) / 2);
    this.view(centre - (centre - this.from) * factor, centre + (this.to - centre) * factor);
  }

  showAll() {
    this.view(0, this.duration);
  }

  /** Draws the lanes again in the next frame. */
  redraw() {
    if (this._frame) return;
    this._frame = requestAnimationFrame(() => {
      this._frame = 0;
      for (const { name, plot } of this._lanes) {
        if (name === "buckets" && !this._bucketData) plot.setData(this._joinBuckets(), false);
        plot.setScale("x", { min: this.from, max: this.to });
        // Redraw marks and messages, which can be new although the scale has not changed.
        plot.redraw(false, false);
      }
      this._placePlayhead();
      this._placeScrollbar();
    });
  }

  /** @param {number} delay  Milliseconds until new waveforms are requested. */
  _moved(delay) {
    this.redraw();
    clearTimeout(this._peaksTimer);
    const wait = Math.max(0, this._peaksAt + delay - performance.now(), delay < 100 ? delay : 0);
    this._peaksTimer = setTimeout(() => this._loadPeaks(), wait);
  }

  async _loadPeaks() {
    const source = this._source;
    if (!source || this._width === 0) return;
    const run = ++this._peaksRun;
    this._peaksAt = performance.now();
    const span = this.to - this.from;
    const from = Math.max(0, this.from - span / 2);
    const to = Math.min(this.duration, this.to + span / 2);
    const columns = Math.max(1, Math.min(MAX_COLUMNS, Math.round((this._width * (to - from)) / span)));
    for (const party of this._parties) {
      let answer;
      try {
        answer = await source.peaks(this._id, party, from, to, columns);
      } catch {
        return;
      }
      if (run !== this._peaksRun) return;
      this._keepPeaks(party, answer);
    }
  }

  /** @param {string} party @param {import("./source.js").Peaks} answer */
  _keepPeaks(party, { from, to, peaks }) {
    const columns = peaks.length >> 1;
    const data = {
      x: new Float64Array(columns),
      high: new Float32Array(columns),
      low: new Float32Array(columns),
    };
    let loudest = this._loudest.get(party) ?? 0.05;
    for (let i = 0; i < columns; i++) {
      const [low, high] = [peaks[2 * i] ?? 0, peaks[2 * i + 1] ?? 0];
      data.x[i] = from + ((i + 0.5) * (to - from)) / columns;
      data.low[i] = low;
      data.high[i] = high;
      loudest = Math.max(loudest, high, -low);
    }
    this._loudest.set(party, loudest);
    this._peaks.set(party, data);
    const plot = this._lane(party)?.plot;
    if (!plot) return;
    plot.setData(this._peakData(party), false);
    plot.setScale("y", { min: -1.05 * loudest, max: 1.05 * loudest });
    plot.setScale("x", { min: this.from, max: this.to });
  }

  /** @param {string} name @returns {Lane|undefined} */
  _lane(name) {
    return this._lanes.find((lane) => lane.name === name);
  }

  /** @param {string} party @returns {uPlot.AlignedData} */
  _peakData(party) {
    const { x, high, low } = this._peaks.get(party) ?? { x: [], high: [], low: [] };
    return /** @type {any} */ ([x, high, low]);
  }

  /** @returns {uPlot.AlignedData} */
  _joinBuckets() {
    const tables = [...this._buckets.values()].map(({ at, level }) => [at, level]);
    this._bucketData = uPlot.join(/** @type {any} */ (tables));
    return this._bucketData;
  }

  /** Creates the lanes again, for another call, other buckets or other colours. */
  _build() {
    for (const { plot } of this._lanes) plot.destroy();
    this._lanes = [];
    const { lanes } = this._parts;
    lanes.replaceChildren();
    if (!this._source) return;
    this._add("events", "Events", 46, { draw: (plot) => this._drawEvents(plot) });
    for (const party of this._parties) {
      const color = cssColor(party === "bot" ? "--bot" : party === "agent" ? "--agent" : "--caller");
      const label = party.charAt(0).toUpperCase() + party.slice(1, 20);
      this._add(party, label, this._parties.length > 2 ? 48 : 64, {
        series: [{ stroke: color, width: 1 }, { stroke: color, width: 1 }],
        bands: [{ series: [1, 2], fill: color }],
        below: (plot) => this._drawSpans(plot, party),
        data: this._peakData(party),
        extent: this._loudest.get(party) ?? 1,
      });
    }
    this._add("messages", "Messages", 30, { draw: (plot) => this._drawMessages(plot) });
    if (this._buckets.size) {
      const colors = ["--accent", "--warning", "--agent", "--bot"];
      const names = [...this._buckets.keys()];
      const series = names.map((_, i) => ({
        stroke: cssColor(colors[i % colors.length] ?? "--accent"),
        width: 1.5,
        spanGaps: true,
        points: { show: false },
        paths: uPlot.paths.stepped?.({ align: 1 }),
      }));
      const label = this._add("buckets", "Tokens left", 40, { series, data: this._joinBuckets(), unit: true });
      names.forEach((name, i) => {
        const key = element("span", "bucket-name", name);
        key.style.color = cssColor(colors[i % colors.length] ?? "--accent");
        label.append(key);
      });
    }
    this._width = 0;
    this._resize();
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {number} height
   * @param {{series?: uPlot.Series[], bands?: uPlot.Band[], draw?: (plot: uPlot) => void,
   *     below?: (plot: uPlot) => void, data?: uPlot.AlignedData, extent?: number, unit?: boolean}} what
   * @returns {HTMLElement} The lane's label.
   */
  _add(name, label, height, what) {
    const lane = element("div", `lane lane-${what.unit ? "buckets" : what.series ? "voice" : name}`);
    const title = element("div", "lane-name", label);
    const target = element("div", "lane-plot");
    lane.append(title, target);
    this._parts.lanes.append(lane);
    const extent = what.extent ?? 1;
    const axis = name === "events";
    /** @type {uPlot.Options} */
    const options = {
      width: 100,
      height,
      // Padding, so that the first and the last label of the axis are not cut off.
      padding: [0, 26, 0, 26],
      legend: { show: false },
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false, dist: 4 },
        sync: { key: "timeline", setSeries: false },
      },
      scales: {
        x: { time: false, auto: false, min: this.from, max: this.to },
        y: { auto: false, range: what.unit ? [-0.05, 1.05] : [-1.05 * extent, 1.05 * extent] },
      },
      axes: [
        {
          show: axis,
          side: 0,
          size: 20,
          gap: 2,
          font: "11px system-ui, sans-serif",
          stroke: cssColor("--muted"),
          grid: { stroke: cssColor("--line"), width: 1 },
          ticks: { stroke: cssColor("--line"), width: 1, size: 4 },
          space: 80,
          values: (_, splits, __, ___, step) => splits.map((at) => axisTime(at, step)),
        },
        { show: false },
      ],
      series: [{}, ...(what.series ?? [{ show: false }])],
      bands: what.bands ?? [],
      hooks: {
        drawClear: [(plot) => what.below?.(plot)],
        draw: [(plot) => what.draw?.(plot)],
        setSelect: [(plot) => this._selected(plot)],
        setCursor: [(plot) => this._hover(plot)],
        ready: [
          (plot) => {
            plot.over.addEventListener("click", (event) => {
              this._events.seek(this._clamp(plot.posToVal(event.offsetX, "x")));
            });
            plot.over.addEventListener("dblclick", () => this.showAll());
          },
        ],
      },
    };
    // The y scale of a waveform changes later with its loudest sample, so it has only an initial
    // minimum and maximum, and no fixed range.
    if (what.bands && options.scales?.y) {
      options.scales.y = { auto: false, min: -1.05 * extent, max: 1.05 * extent };
    }
    const empty = /** @type {uPlot.AlignedData} */ (/** @type {unknown} */ ([[0], [null]]));
    const plot = new uPlot(options, what.data ?? empty, target);
    this._lanes.push({ name, plot, height: () => height });
    return title;
  }

  /** @param {number} time */
  _clamp(time) {
    return Math.max(0, Math.min(this.duration, time));
  }

  _resize() {
    const plot = this._parts.lanes.querySelector(".lane-plot");
    const width = Math.floor(plot?.clientWidth ?? 0);
    if (width === 0 || width === this._width) return;
    this._width = width;
    for (const lane of this._lanes) lane.plot.setSize({ width, height: lane.height() });
    this._moved(0);
  }

  /** @param {uPlot} plot */
  _selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.view(from, to);
  }

  /** @param {WheelEvent} event */
  _wheel(event) {
    const plot = this._lanes[0]?.plot;
    if (!plot || event.altKey) return;
    event.preventDefault();
    const span = this.to - this.from;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const shift = ((event.deltaX || event.deltaY) / this._width) * span;
      this.view(this.from + shift, this.to + shift);
    } else {
      const { left } = plot.over.getBoundingClientRect();
      this.zoom(Math.exp(event.deltaY / 400), plot.posToVal(event.clientX - left, "x"));
    }
  }

  _scrolled() {
    const { scrollbar } = this._parts;
    const room = scrollbar.scrollWidth - scrollbar.clientWidth;
    if (room <= 0 || Math.abs(scrollbar.scrollLeft - this._scrollLeft) < 2) return;
    const span = this.to - this.from;
    const from = (scrollbar.scrollLeft / room) * (this.duration - span);
    this._scrollLeft = scrollbar.scrollLeft;
    this.view(from, from + span);
  }

  _scrollLeft = 0;

  _placeScrollbar() {
    const { scrollbar } = this._parts;
    const span = this.to - this.from;
    const zoomed = span < this.duration * 0.999;
    scrollbar.classList.toggle("idle", !zoomed);
    const inner = /** @type {HTMLElement} */ (scrollbar.firstElementChild);
    const width = scrollbar.clientWidth * Math.min(2000, this.duration / span);
    inner.style.width = `${zoomed ? width : 0}px`;
    const room = scrollbar.scrollWidth - scrollbar.clientWidth;
    this._scrollLeft = zoomed ? Math.round((this.from / (this.duration - span)) * room) : 0;
    if (Math.abs(scrollbar.scrollLeft - this._scrollLeft) >= 2) scrollbar.scrollLeft = this._scrollLeft;
  }

  _placePlayhead() {
    const { playhead, root } = this._parts;
    const over = this._lanes[0]?.plot.over;
    const inView = this._time >= this.from && this._time <= this.to;
    playhead.hidden = !over || !inView;
    if (!over || !inView) return;
    const { left, width } = over.getBoundingClientRect();
    const x = left - root.getBoundingClientRect().left + ((this._time - this.from) / (this.to - this.from)) * width;
    playhead.style.transform = `translateX(${x.toFixed(1)}px)`;
  }

  /** Shows the time and the marks at the pointer. @param {uPlot} plot */
  _hover(plot) {
    const { tip, root } = this._parts;
    const left = plot.cursor.left ?? -1;
    if (!plot.over.matches(":hover") || left < 0) return;
    const time = plot.posToVal(left, "x");
    const reach = ((this.to - this.from) / Math.max(1, this._width)) * 6;
    const lines = [formatTime(time)];
    for (const mark of this._marks) {
      const end = mark.until ?? mark.at;
      if (mark.at - reach > time || end + reach < time) continue;
      if (lines.length > 4) break;
      lines.push([markName(mark), markText(mark)].filter(Boolean).join(": "));
    }
    tip.textContent = lines.join("\n");
    tip.hidden = false;
    const box = root.getBoundingClientRect();
    const x = plot.over.getBoundingClientRect().left - box.left + left;
    tip.style.transform = `translateX(${Math.max(0, Math.min(box.width - tip.offsetWidth - 4, x + 10))}px)`;
  }

  /** Finds the parts of the call that are shaded. A part without an end lasts until the call ends. */
  _findSpans() {
    this._spans = [];
    /** @type {Record<string, {from: number, to: number, kind: string}|undefined>} */
    const open = {};
    for (const { kind, at, until } of this._marks) {
      if (kind === "resume" && open.pause) {
        open.pause.to = at;
        open.pause = undefined;
      } else if (kind === "playback_completed" && open.playback) {
        open.playback.to = at;
        open.playback = undefined;
      } else if (kind === "pause" || kind === "playback_started") {
        const name = kind === "pause" ? "pause" : "playback";
        if (open[name]) continue;
        const span = { from: at, to: until ?? Infinity, kind: name };
        this._spans.push(span);
        if (span.to === Infinity) open[name] = span;
      } else if (kind === "gap" || kind === "underrun") {
        this._spans.push({ from: at, to: until ?? at, kind });
      }
    }
  }

  /** Shades pauses, gaps, underruns and bot playback. @param {uPlot} plot @param {string} party */
  _drawSpans(plot, party) {
    const { ctx, bbox } = plot;
    const looks = /** @type {Record<string, [string, number]>} */ (
      party === "bot"
        ? { pause: ["--pause", 1], underrun: ["--violation", 0.35], playback: ["--bot", 0.12] }
        : { pause: ["--pause", 1], gap: ["--warning", 0.35] }
    );
    ctx.save();
    for (const { from, to, kind } of this._spans) {
      const look = looks[kind];
      if (!look || to < this.from || from > this.to) continue;
      const left = Math.max(bbox.left, plot.valToPos(from, "x", true));
      const right = Math.min(bbox.left + bbox.width, plot.valToPos(Math.min(to, this.duration), "x", true));
      ctx.fillStyle = cssColor(look[0]);
      ctx.globalAlpha = look[1];
      ctx.fillRect(left, bbox.top, Math.max(1, right - left), bbox.height);
    }
    ctx.restore();
  }

  /** @param {uPlot} plot */
  _drawEvents(plot) {
    const { ctx, bbox } = plot;
    const scale = devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.font = `${11 * scale}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    let taken = -Infinity;
    for (const mark of this._marks) {
      const end = mark.until ?? mark.at;
      if (end < this.from || mark.at > this.to) continue;
      const x = plot.valToPos(mark.at, "x", true);
      const kind = KINDS[mark.kind] ?? { sign: "•", color: "--muted" };
      ctx.fillStyle = cssColor(kind.color);
      const right = plot.valToPos(end, "x", true);
      ctx.fillRect(x, bbox.top + bbox.height - 3 * scale, Math.max(1.5 * scale, right - x), 3 * scale);
      if (x < taken) continue;
      const text = mark.kind === "dtmf" ? String(mark.value ?? "").slice(0, 3) || "#" : kind.sign;
      const half = ctx.measureText(text).width / 2 + 2 * scale;
      if (x - half < taken) continue;
      taken = x + half;
      ctx.fillText(text, Math.max(bbox.left + half, x), bbox.top + bbox.height / 2 - 1 * scale);
    }
    ctx.restore();
  }

  /** @param {uPlot} plot */
  _drawMessages(plot) {
    const rows = this._index?.rows ?? [];
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    const [from, to] = this._visible;
    if (to > from) {
      const left = plot.valToPos(from, "x", true);
      ctx.fillStyle = cssColor("--window");
      ctx.fillRect(left, bbox.top, Math.max(2, plot.valToPos(to, "x", true) - left), bbox.height);
    }
    const middle = bbox.top + bbox.height / 2;
    const tick = Math.max(1, Math.round(devicePixelRatio));
    const colors = {
      audio: cssColor("--audio-tick"),
      text: cssColor("--text-tick"),
      warning: cssColor("--warning"),
      violation: cssColor("--violation"),
    };
    /** @type {Record<string, number>} */
    const drawn = {};
    const faults = [];
    for (let i = this._index?.at(this.from) ?? 0; i < rows.length; i++) {
      const row = /** @type {import("./ladder.js").Row} */ (rows[i]);
      if (row.at > this.to) break;
      const kind = worst(row.rules) ?? (row.audio === null ? "text" : "audio");
      const x = Math.round(plot.valToPos(row.at, "x", true));
      const key = kind + row.toServer;
      if (drawn[key] === x) continue;
      drawn[key] = x;
      if (kind === "violation" || kind === "warning") {
        faults.push({ x, kind });
        continue;
      }
      ctx.fillStyle = colors[kind];
      const height = (kind === "audio" ? 0.3 : 0.8) * (bbox.height / 2);
      ctx.fillRect(x, row.toServer ? middle - height : middle + 1, tick, height);
    }
    for (const { x, kind } of faults) {
      ctx.fillStyle = colors[kind];
      ctx.fillRect(x - tick, bbox.top, 3 * tick, bbox.height);
    }
    ctx.restore();
  }
}

/** @param {number} at @param {number} step  Seconds between two labels. @returns {string} */
function axisTime(at, step) {
  return formatTime(at, step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3);
}
