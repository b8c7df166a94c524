// @ts-check
/** The messages of a call: an index in memory, the list, and the details of a message. */

import { element, VirtualList } from "./virtual_list.js";

/** @typedef {import("./source.js").Entry} Entry */
/** @typedef {import("./source.js").Rule} Rule */
/** @typedef {import("./source.js").LiveSource | import("./source.js").InlineSource} Source */

/** Maximum number of messages in one request to the server. */
const PAGE_SIZE = 1000;
/** Maximum number of messages that the page keeps: five hours with audio in both directions. */
const MAX_MESSAGES = 200_000;
/** Number of characters of a message that the search reads. */
const SEARCHED = 2000;
/** Number of characters of a message that are shown until the user requests the whole message. */
const SHOWN = 50_000;
const ROW_HEIGHT = 26;

/**
 * The fields of a message that the list needs. The whole message is fetched when the user opens it.
 *
 * A row of type "note" is not a message, but the end of the socket, a timeout, or an unreadable
 * line.
 *
 * @typedef {object} Row
 * @property {number} i
 * @property {number} at
 * @property {boolean} toServer
 * @property {string} type
 * @property {number|null} seq
 * @property {number} size
 * @property {number|null} latency
 * @property {string} summary
 * @property {string} searched  Lower case; "" for audio.
 * @property {Rule[]} rules
 * @property {number|null} audio
 */

/** The messages of one call, oldest first. */
export class MessageIndex {
  /** @param {Source} source @param {string} id */
  constructor(source, id) {
    this._source = source;
    this.id = id;
    /** @type {Row[]} */
    this.rows = [];
    this.total = 0;
    /** @type {Map<string, number>} */
    this.types = new Map();
    this._loading = false;
  }

  /** @returns {boolean} Whether the call has more messages than the page keeps. */
  get truncated() {
    return this.total > MAX_MESSAGES;
  }

  /**
   * Fetches the messages that are missing.
   *
   * @param {() => boolean} wanted  Whether the call is still open in the page.
   * @param {() => void} onPage  Called after each answer of the server.
   */
  async load(wanted, onPage) {
    if (this._loading) return;
    this._loading = true;
    try {
      do {
        const page = await this._source.messages(this.id, this.rows.length, PAGE_SIZE);
        if (!wanted()) return;
        this.total = Math.max(page.total, this.rows.length);
        for (const entry of page.messages) this._add(entry);
        onPage();
        if (page.messages.length === 0) break;
      } while (this.rows.length < Math.min(this.total, MAX_MESSAGES));
    } finally {
      this._loading = false;
    }
  }

  /**
   * Adds messages that the server reported.
   *
   * @param {Entry[]} entries
   * @returns {boolean} Whether earlier messages are missing; `load` fetches the missing messages.
   */
  addLive(entries) {
    for (const entry of entries) {
      this.total = Math.max(this.total, entry.i + 1);
      if (this._loading) continue;
      if (entry.i > this.rows.length) return this.rows.length < MAX_MESSAGES;
      if (entry.i < this.rows.length) this._replace(entry);
      else this._add(entry);
    }
    return false;
  }

  /** @param {Entry} entry */
  _add(entry) {
    if (entry.i !== this.rows.length || this.rows.length >= MAX_MESSAGES) return;
    this.rows.push(toRow(entry));
    const type = entry.type || "?";
    if (this.types.size < 100 || this.types.has(type)) {
      this.types.set(type, (this.types.get(type) ?? 0) + 1);
    }
  }

  /** Updates the broken rules of a message that was added before. @param {Entry} entry */
  _replace(entry) {
    this.rows[entry.i] = toRow(entry);
  }

  /** @param {number} at @returns {number} The position of the last message at or before a time. */
  at(at) {
    let low = 0;
    let high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.rows[middle]?.at ?? 0) <= at) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  /** @param {number} i @returns {Promise<Entry|null>} A message in full. */
  async entry(i) {
    const page = await this._source.messages(this.id, i, 1);
    return page.messages[0] ?? null;
  }
}

/** @param {Entry} entry @returns {Row} */
function toRow(entry) {
  const { i, at, type, seq, size, latency } = entry;
  const rules = entry.rules ?? [];
  const audio = entry.audio_seconds ?? null;
  const content = entry.json ? JSON.stringify(entry.json) : (entry.text ?? "");
  const words = rules.map((rule) => `${rule.rule} ${rule.message}`).join(" ");
  const searched = audio === null || words ? `${type} ${content.slice(0, SEARCHED)} ${entry.note ?? ""} ${words}` : "";
  return {
    i,
    at,
    toServer: entry.dir === "to_server",
    type: String(type || "?").slice(0, 60),
    seq,
    size,
    latency,
    summary: summarize(entry).slice(0, 200),
    searched: searched.toLowerCase(),
    rules,
    audio,
  };
}

/** @param {Entry} entry @returns {string} The first broken rule, or the contents, in one line. */
function summarize(entry) {
  const first = entry.rules?.[0];
  if (first) return `${first.rule}: ${first.message}`;
  if (entry.audio_seconds !== null && entry.audio_seconds !== undefined) {
    return `${Math.round(entry.audio_seconds * 1000)} ms`;
  }
  if (entry.note) return entry.note;
  if (!entry.json) return (entry.text ?? "").slice(0, 200);
  const parameters = /** @type {any} */ (entry.json).parameters;
  if (!parameters || typeof parameters !== "object") return "";
  return JSON.stringify(parameters).slice(1, 201).replace(/}$/, "").replaceAll('"', "");
}

/** @param {number} seconds @returns {string} The time, such as 1:02:03.4 or 0:07.250. */
export function formatTime(seconds, digits = 3) {
  const sign = seconds < 0 ? "-" : "";
  const scale = 10 ** digits;
  const units = Math.round(Math.abs(seconds) * scale);
  const whole = Math.floor(units / scale);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const fraction = digits ? `.${String(units % scale).padStart(digits, "0")}` : "";
  const tail = `${String(rest).padStart(2, "0")}${fraction}`;
  return hours
    ? `${sign}${hours}:${String(minutes).padStart(2, "0")}:${tail}`
    : `${sign}${minutes}:${tail}`;
}

/** @param {number|null|undefined} seconds @returns {string} The time, such as 48 ms or 1.25 s. */
export function formatLatency(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`;
}

/** @param {number} bytes @returns {string} */
export function formatSize(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/**
 * The ladder: the list of messages, with one row for each message that matches the filters.
 *
 * `events.select` is called with the position of a message, and `events.scroll` with the times of
 * the first and the last visible row.
 */
export class Ladder {
  /**
   * @param {{viewport: HTMLElement, search: HTMLInputElement, type: HTMLSelectElement,
   *     direction: HTMLSelectElement, faults: HTMLInputElement, count: HTMLElement,
   *     empty: HTMLElement}} parts
   * @param {{select: (i: number, seek: boolean) => void, scroll: (from: number, to: number) => void}} events
   */
  constructor(parts, events) {
    this._parts = parts;
    this._events = events;
    /** @type {MessageIndex|null} */
    this.index = null;
    /** @type {number[]} */
    this._shown = [];
    this._filtered = 0;
    this._selected = -1;
    this._current = -1;
    this._types = "";
    const { viewport } = parts;
    this.list = new VirtualList(viewport, ROW_HEIGHT, createRow, (row, at) => this._fill(row, at));
    viewport.addEventListener("click", (event) => this._click(event));
    viewport.addEventListener("keydown", (event) => this._key(event));
    viewport.addEventListener("scroll", () => this._reportScroll(), { passive: true });
    let delay = 0;
    parts.search.addEventListener("input", () => {
      clearTimeout(delay);
      delay = setTimeout(() => this.filter(), 60);
    });
    for (const input of [parts.type, parts.direction, parts.faults]) {
      input.addEventListener("change", () => this.filter());
    }
  }

  /** @param {MessageIndex|null} index */
  open(index) {
    this.index = index;
    this._selected = this._current = -1;
    this._parts.viewport.scrollTop = 0;
    this.filter();
  }

  /** Applies the filters to all messages. */
  filter() {
    this._shown = [];
    this._filtered = 0;
    this._test = this._matcher();
    this.grow(false);
    const at = this._position(this._selected);
    if (at >= 0) this.list.reveal(at, true);
  }

  /** Shows messages that were added to the index. @param {boolean} follow */
  grow(follow = true) {
    const rows = this.index?.rows ?? [];
    const atEnd = follow && this.index !== null && this._shown.length > 0 && this.list.atEnd;
    const test = this._test ?? this._matcher();
    for (; this._filtered < rows.length; this._filtered++) {
      const row = /** @type {Row} */ (rows[this._filtered]);
      if (test(row)) this._shown.push(this._filtered);
    }
    this._showTypes();
    this.list.update(this._shown.length);
    const { viewport, count, empty } = this._parts;
    viewport.setAttribute("aria-rowcount", String(this._shown.length));
    const total = rows.length.toLocaleString("en");
    const limit = this.index?.truncated ? " (the first of more)" : "";
    count.textContent =
      this._shown.length === rows.length
        ? `${total} messages${limit}`
        : `${this._shown.length.toLocaleString("en")} of ${total}${limit}`;
    empty.hidden = this._shown.length > 0 || rows.length === 0;
    if (atEnd) this.list.reveal(this._shown.length - 1);
  }

  /** @returns {(row: Row) => boolean} */
  _matcher() {
    const { search, type, direction, faults } = this._parts;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = type.value;
    const side = direction.value;
    const onlyFaults = faults.checked;
    return (row) => {
      if (onlyFaults && row.rules.length === 0) return false;
      if (side && (side === "to_server") !== row.toServer) return false;
      if (wanted === "no-audio") {
        if (row.audio !== null && row.rules.length === 0) return false;
      } else if (wanted && `=${row.type}` !== wanted) return false;
      return words.every((word) => row.searched.includes(word));
    };
  }

  _showTypes() {
    const types = [...(this.index?.types ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
    const known = types.map(([name]) => name).join("\n");
    if (known === this._types) return;
    this._types = known;
    const { type } = this._parts;
    const chosen = type.value;
    while (type.options.length > 2) type.remove(2);
    for (const [name] of types) type.add(new Option(name.slice(0, 60), `=${name.slice(0, 60)}`));
    type.value = [...type.options].some((option) => option.value === chosen) ? chosen : "no-audio";
    if (type.value !== chosen) this.filter();
  }

  /** @param {number} i @returns {number} The number of shown messages before message `i`. */
  _before(i) {
    let low = 0;
    let high = this._shown.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (/** @type {number} */ (this._shown[middle]) < i) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** @param {number} i @returns {number} The row of a message, or -1 if it is not shown. */
  _position(i) {
    const at = this._before(i);
    return this._shown[at] === i ? at : -1;
  }

  /** Highlights the message at the playhead. @param {number} time @param {boolean} follow */
  showTime(time, follow) {
    if (!this.index) return;
    const position = this._before(this.index.at(time) + 1) - 1;
    const current = this._shown[position] ?? -1;
    if (current === this._current) return;
    this._current = current;
    this.list.refresh();
    if (follow && position >= 0) this.list.reveal(position, true);
  }

  /** Selects a message. @param {number} i @param {boolean} seek  Whether to move the playhead. */
  select(i, seek = true) {
    this._selected = i;
    const at = this._position(i);
    if (at >= 0) this.list.reveal(at, true);
    this.list.refresh();
    this._parts.viewport.setAttribute("aria-activedescendant", at >= 0 ? `message-${i}` : "");
    this._events.select(i, seek);
  }

  /** Selects the next shown message. @param {number} step  Negative for a previous one. */
  move(step) {
    if (this._shown.length === 0) return;
    const at = this._position(this._selected);
    const next = at < 0 ? Math.max(0, this._position(this._current)) : at + step;
    const i = this._shown[Math.max(0, Math.min(this._shown.length - 1, next))];
    if (i !== undefined) this.select(i);
  }

  /** Selects the next message that breaks a rule. @param {1|-1} step */
  moveToFault(step) {
    const rows = this.index?.rows ?? [];
    for (let n = 1, i = this._selected; n <= rows.length; n++) {
      i = (i + step + rows.length) % rows.length;
      if (rows[i]?.rules.length) {
        if (this._position(i) < 0) this.clearFilters();
        this.select(i);
        return;
      }
    }
  }

  clearFilters() {
    const { search, type, direction, faults } = this._parts;
    search.value = "";
    type.value = "no-audio";
    direction.value = "";
    faults.checked = false;
    this.filter();
  }

  /** @param {MouseEvent} event */
  _click(event) {
    const row = /** @type {HTMLElement} */ (event.target).closest("[data-i]");
    if (row instanceof HTMLElement) this.select(Number(row.dataset.i));
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    const page = Math.max(1, Math.floor(this._parts.viewport.clientHeight / ROW_HEIGHT) - 1);
    const end = this._shown.length;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -end, End: end };
    const step = /** @type {Record<string, number>} */ (steps)[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.move(step);
  }

  _reportScroll() {
    const { scrollTop, clientHeight } = this._parts.viewport;
    const rows = this.index?.rows ?? [];
    const first = rows[this._shown[Math.floor(scrollTop / ROW_HEIGHT)] ?? -1];
    const bottom = Math.floor((scrollTop + clientHeight) / ROW_HEIGHT) - 1;
    const last = rows[this._shown[Math.min(this._shown.length - 1, bottom)] ?? -1];
    if (first && last) this._events.scroll(first.at, last.at);
  }

  /** @param {HTMLElement} node @param {number} position */
  _fill(node, position) {
    const row = this.index?.rows[this._shown[position] ?? -1];
    if (!row) return;
    const severity = worst(row.rules);
    node.id = `message-${row.i}`;
    node.dataset.i = String(row.i);
    node.dataset.call = this.index?.id ?? "";
    node.setAttribute("aria-rowindex", String(position + 1));
    node.setAttribute("aria-selected", String(row.i === this._selected));
    node.className = `row ${row.toServer ? "to-server" : "to-client"}`;
    if (severity) node.classList.add(severity);
    if (row.audio !== null) node.classList.add("audio");
    if (row.i === this._selected) node.classList.add("selected");
    if (row.i === this._current) node.classList.add("current");
    const [time, direction, seq, type, summary, latency, size] = /** @type {HTMLElement[]} */ ([
      ...node.children,
    ]);
    setText(time, formatTime(row.at));
    const note = row.type === "note";
    setText(direction, note ? "" : row.toServer ? "→" : "←");
    direction?.setAttribute("aria-label", note ? "" : row.toServer ? "to the server" : "to the client");
    setText(seq, row.seq === null || row.seq === undefined ? "" : String(row.seq));
    setText(type, row.type);
    setText(summary, row.summary);
    setText(latency, row.latency === null || row.latency === undefined ? "" : formatLatency(row.latency));
    setText(size, note ? "" : formatSize(row.size));
    if (note) node.classList.add("note");
  }
}

/** @param {HTMLElement|undefined} node @param {string} text */
function setText(node, text) {
  if (node && node.textContent !== text) node.textContent = text;
}

/** @param {Rule[]} rules @returns {"violation"|"warning"|null} */
export function worst(rules) {
  if (rules.length === 0) return null;
  return rules.some((rule) => rule.severity === "violation") ? "violation" : "warning";
}

/** @returns {HTMLElement} */
function createRow() {
  const row = element("div", "row");
  row.setAttribute("role", "row");
  for (const name of ["time", "direction", "seq", "type", "summary", "latency", "size"]) {
    const cell = element("span", `cell-${name}`);
    cell.setAttribute("role", "gridcell");
    row.append(cell);
  }
  return row;
}

/** Shows all details of a message. @param {HTMLElement} panel @param {Entry} entry */
export function showEntry(panel, entry) {
  const facts = element("dl", "facts");
  const fact = (/** @type {string} */ name, /** @type {string} */ value) => {
    facts.append(element("dt", "", name), element("dd", "", value));
  };
  fact("Time", formatTime(entry.at));
  if (entry.type !== "note") {
    fact("Direction", entry.dir === "to_server" ? "client → server" : "server → client");
  }
  if (entry.seq !== null && entry.seq !== undefined) fact("Sequence", String(entry.seq));
  if (entry.size) fact("Size", formatSize(entry.size));
  if (entry.latency !== null && entry.latency !== undefined) {
    fact("Latency", formatLatency(entry.latency));
  }
  if (entry.audio_seconds) fact("Audio", formatLatency(entry.audio_seconds));
  if (entry.note) fact("Note", entry.note);
  const nodes = [facts];
  for (const rule of entry.rules ?? []) nodes.push(ruleCard(rule));
  const text = entry.json ? JSON.stringify(entry.json, null, 2) : entry.text;
  if (text) nodes.push(textBlock(text, Boolean(entry.json)));
  panel.replaceChildren(...nodes);
}

/** @param {Rule} rule @returns {HTMLElement} */
function ruleCard(rule) {
  const card = element("div", `rule ${rule.severity === "violation" ? "violation" : "warning"}`);
  card.append(
    element("strong", "", rule.rule),
    element("p", "", rule.message),
    element("p", "source", `Source: ${rule.source}`),
  );
  return card;
}

/** @param {string} text @param {boolean} json @returns {HTMLElement} */
function textBlock(text, json) {
  const block = element("div", "json");
  const pre = element("pre");
  pre.tabIndex = 0;
  const show = (/** @type {string} */ part) => {
    if (json && part.length <= SHOWN) pre.replaceChildren(...colored(part));
    else pre.textContent = part;
  };
  show(text.slice(0, SHOWN));
  block.append(pre);
  if (text.length > SHOWN) {
    const all = element("button", "", `Show all ${formatSize(text.length)}`);
    all.addEventListener("click", () => {
      show(text);
      all.remove();
    });
    block.append(all);
  }
  return block;
}

/** @param {string} text  JSON. @returns {Node[]} */
function colored(text) {
  const nodes = [];
  const token = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d[\d.eE+-]*/g;
  let last = 0;
  for (let match = token.exec(text); match; match = token.exec(text)) {
    nodes.push(document.createTextNode(text.slice(last, match.index)));
    const kind = match[2] ? "key" : match[1] ? "string" : "literal";
    nodes.push(element("span", `json-${kind}`, match[1] ?? match[0]));
    if (match[2]) nodes.push(document.createTextNode(match[2]));
    last = match.index + match[0].length;
  }
  nodes.push(document.createTextNode(text.slice(last)));
  return nodes;
}
