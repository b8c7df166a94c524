// @ts-check
/** The page: the list of calls, the open call, and the handlers of keys and buttons. */

import { InlineSource, LiveSource } from "./source.js";
import { element, VirtualList } from "./virtual_list.js";
import {
  Ladder,
  MessageIndex,
  formatLatency,
  formatTime,
  showEntry,
} from "./ladder.js";
import { KINDS, Timeline, markName, markText } from "./timeline.js";
import { Player } from "./player.js";
import { KEYS, Phone, parseVariables } from "./phone.js";
import { Comparison } from "./compare.js";

/** @typedef {import("./source.js").Call} Call */
/** @typedef {import("./source.js").Config} Config */
/** @typedef {import("./source.js").Entry} Entry */
/** @typedef {import("./source.js").LiveBatch} LiveBatch */
/** @typedef {import("./source.js").Mark} Mark */
/** @typedef {import("./source.js").Numbers} Numbers */

const EVENT_HEIGHT = 28;
const CALL_HEIGHT = 58;

/**
 * Finds an element of index.html.
 *
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`index.html has no element ${id}`);
  return /** @type {T} */ (node);
}

const field = /** @type {(id: string) => HTMLInputElement} */ (byId);
const button = /** @type {(id: string) => HTMLButtonElement} */ (byId);
const dialog = /** @type {(id: string) => HTMLDialogElement} */ (byId);
const choice = /** @type {(id: string) => HTMLSelectElement} */ (byId);

const inline = document.getElementById("capture");
const source = inline ? new InlineSource(inline.textContent ?? "") : new LiveSource();

/** @type {Map<string, Call>} */
const calls = new Map();
/** Whether a pointer is over the list of calls. */
let isPointing = false;
/** @type {string|undefined} The id of the call whose row was pressed last. */
let pressedCall;
/** @type {Call[]} */
let shownCalls = [];
/** @type {Config|null} */
let config = null;
/** @type {Call|null} */
let openCall = null;
/** @type {MessageIndex|null} */
let messages = null;
/** Number of times that a call was opened. An answer for a call opened earlier is ignored. */
let opened = 0;
/** @type {Entry|null} */
let shownEntry = null;
/** @type {string[]} */
let parties = [];
/** @type {string|null} */
let replayId = null;
/** Number of broken rules of the open call that were announced to a screen reader. */
let faultsAnnounced = 0;

const player = new Player({
  time(time) {
    byId("clock").textContent = formatTime(time);
    timeline.showTime(time, player.playing);
    ladder.showTime(time, player.playing);
  },
  state(playing) {
    const play = byId("play");
    play.textContent = playing ? "❚❚" : "▶";
    play.setAttribute("aria-label", playing ? "Pause" : "Play");
  },
  error: toast,
});

const timeline = new Timeline(
  {
    root: byId("lanes-root"),
    lanes: byId("lanes"),
    playhead: byId("playhead"),
    scrollbar: byId("scrollbar"),
    tip: byId("tip"),
  },
  {
    seek(time) {
      player.seek(time);
      ladder.showTime(time, true);
    },
  },
);

const ladder = new Ladder(
  {
    viewport: byId("ladder"),
    search: byId("search"),
    type: byId("type"),
    direction: byId("direction"),
    faults: byId("only-faults"),
    count: byId("message-count"),
    empty: byId("no-messages"),
  },
  {
    select(i, seek) {
      const row = messages?.rows[i];
      if (!row) return;
      if (seek && !player.playing) {
        player.seek(row.at);
        if (row.at < timeline.from || row.at > timeline.to) {
          const span = timeline.to - timeline.from;
          timeline.view(row.at - span / 2, row.at + span / 2);
        }
      }
      void openMessage(i);
    },
    scroll: (from, to) => timeline.showVisible(from, to),
  },
);

const comparison = new Comparison({
  viewport: byId("compare"),
  only: byId("only-different"),
  count: byId("compare-count"),
  detail: byId("compare-detail"),
});

/** @type {Mark[]} */
let shownMarks = [];
let selectedEvent = -1;
/** Number of marks of the open call that the page has received, including bucket levels. */
let marksKnown = 0;
const eventList = new VirtualList(byId("events"), EVENT_HEIGHT, createEventRow, fillEventRow);
const callList = new VirtualList(byId("calls"), CALL_HEIGHT, createCallRow, fillCallRow);

const phone = new Phone({
  state(state, id, error) {
    showPhone(error);
    // A narrow window shows either the list or the call. The keypad is shown with the list.
    if (id && (state === "opened" || state === "connecting")) void open(id, false);
  },
  level: (level) => byId("phone-level").setAttribute("value", level.toFixed(3)),
  playout({ buffered, deepest, dropped, played }) {
    const line = byId("phone-playout");
    line.textContent = `Jitter buffer ${formatLatency(buffered)}, dropped ${formatLatency(dropped)}`;
    line.dataset.deepest = String(deepest);
    line.dataset.played = String(played);
  },
});

// ---------------------------------------------------------------------------------------- calls

/** @param {Call[]} changed @param {string[]} [removed] */
function updateCalls(changed, removed = []) {
  for (const id of removed) calls.delete(id);
  for (const call of changed) calls.set(call.id, call);
  filterCalls();
  const current = openCall && calls.get(openCall.id);
  if (current && changed.some((call) => call.id === current.id)) updateCall(current);
}

function filterCalls() {
  const words = field("call-search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const places = new Map(isPointing ? shownCalls.map((call, at) => [call.id, at]) : []);
  const place = (/** @type {Call} */ call) => places.get(call.id) ?? Infinity;
  shownCalls = [...calls.values()].filter((call) => {
    const text = `${call.name} ${call.url} ${call.id}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  shownCalls.sort(
    (a, b) =>
      compareNumber(place(a), place(b)) ||
      compareText(b.started ?? "", a.started ?? "") ||
      compareText(a.name, b.name),
  );
  byId("call-count").textContent =
    shownCalls.length === calls.size ? String(calls.size) : `${shownCalls.length} of ${calls.size}`;
  const none = byId("no-calls");
  none.hidden = shownCalls.length > 0;
  none.textContent = calls.size ? "No call has these words." : waitingText();
  callList.update(shownCalls.length);
}

/** @returns {string} The text for an empty list: how to get a call. */
function waitingText() {
  if (config?.source === "proxy") return "Waiting for a call. Point the client at the proxy's URL.";
  if (config?.source === "phone") return "Press Call to speak with the bot.";
  return "This folder has no capture files.";
}

/** @param {number} a @param {number} b */
function compareNumber(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** @param {string} a @param {string} b */
function compareText(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** @returns {HTMLElement} */
function createCallRow() {
  const row = element("div", "call-row");
  row.setAttribute("role", "option");
  const top = element("div", "call-row-top");
  top.append(element("span", "call-row-name"), element("span", "call-row-time"));
  const bottom = element("div", "call-row-bottom");
  bottom.append(
    element("span", "call-row-state"),
    element("span", "call-row-latency"),
    element("span", "badge"),
  );
  row.append(top, bottom);
  return row;
}

/** @param {HTMLElement} row @param {number} at */
function fillCallRow(row, at) {
  const call = shownCalls[at];
  if (!call) return;
  row.dataset.id = call.id;
  row.id = `call-${at}`;
  row.setAttribute("aria-selected", String(call.id === openCall?.id));
  row.setAttribute("aria-posinset", String(at + 1));
  row.setAttribute("aria-setsize", String(shownCalls.length));
  const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (row.querySelector(name));
  part(".call-row-name").textContent = call.name;
  part(".call-row-name").title = call.name.slice(0, 300);
  part(".call-row-time").textContent = call.error ? "" : formatTime(call.duration, 0);
  part(".call-row-state").textContent = callState(call);
  part(".call-row-state").classList.toggle("running", call.running);
  part(".call-row-latency").textContent =
    call.worst_latency === null ? "" : `worst ${formatLatency(call.worst_latency)}`;
  const badge = part(".badge");
  const count = call.faults || call.warnings;
  badge.hidden = !count;
  badge.className = `badge ${call.faults ? "violation" : "warning"}`;
  badge.textContent = count > 999 ? "999+" : String(count);
  badge.title = `${call.faults} broken rules, ${call.warnings} warnings`;
}

/** @param {Call} call @returns {string} How the call ended, or `running`. */
function callState(call) {
  if (call.error) return "cannot be read";
  if (call.running) return "running";
  if (!call.end) return "no end recorded";
  const by = call.end.by ? `by ${call.end.by}` : "ended";
  const code = call.end.code === null ? "" : `, ${call.end.code}`;
  const reason = call.end.reason ? ` ${call.end.reason}` : "";
  return `${by}${code}${reason}`.slice(0, 80);
}

/** @param {Event} event @returns {string|undefined} The id of the call in whose row the event is. */
function callOfRow(event) {
  const row = /** @type {HTMLElement} */ (event.target).closest(".call-row");
  return row instanceof HTMLElement ? row.dataset.id : undefined;
}

/**
 * Opens the call that was under the pointer when its button was pressed. New calls may have moved
 * the rows since then.
 *
 * @param {MouseEvent} event
 */
function onCallsClick(event) {
  const isByPointer = event.detail > 0;
  const id = isByPointer ? pressedCall : callOfRow(event);
  if (id) void open(id);
}

/** @param {boolean} is  Whether a mouse is over the list. New calls are then added at the end. */
function setPointing(is) {
  isPointing = is;
  if (!is) filterCalls();
}

/** @param {1|-1} step */
function openNeighbour(step) {
  const at = shownCalls.findIndex((call) => call.id === openCall?.id);
  const next = shownCalls[at < 0 ? 0 : at + step];
  if (next) void open(next.id);
}

/**
 * Opens a call.
 *
 * @param {string} id
 * @param {boolean} [inFront]  Whether a narrow window shows the call in place of the list.
 */
async function open(id, inFront = true) {
  if (inFront) setView("call");
  if (openCall?.id === id) return;
  const run = ++opened;
  const wanted = () => run === opened;
  let details;
  try {
    details = await source.call(id);
  } catch (error) {
    if (wanted()) toast(errorText(error));
    return;
  }
  if (!wanted()) return;
  openCall = details.call;
  calls.set(id, details.call);
  parties = details.parties;
  messages = new MessageIndex(source, id);
  replayId = null;
  faultsAnnounced = details.call.faults;
  byId("tab-compare").hidden = true;
  byId("nothing").hidden = true;
  byId("call").hidden = false;
  closeMessage();
  showTab("messages");
  if (!inline) history.replaceState(null, "", `#${encodeURIComponent(id)}`);
  source.subscribe(null, 0);
  showVoices();
  showHead(details.call);
  showNumbers(details.numbers);
  showDetails(details);
  player.open(source, id, details.call.running);
  timeline.open(source, id, details.call.error ? [] : parties, details.call.duration, messages);
  ladder.open(messages);
  callList.refresh();
  if (details.call.error) return;
  const index = messages;
  try {
    await Promise.all([
      index.load(wanted, () => {
        ladder.grow(false);
        timeline.redraw();
      }),
      source.marks(id).then((marks) => wanted() && showMarks(marks)),
    ]);
    if (wanted()) source.subscribe(id, index.rows.length);
  } catch (error) {
    if (wanted()) toast(errorText(error));
  }
}

/** Shows the changes of the open call. @param {Call} call */
function updateCall(call) {
  const ended = openCall?.running && !call.running;
  openCall = call;
  showHead(call);
  timeline.extend(call.duration);
  if (call.faults > faultsAnnounced) {
    const count = call.faults - faultsAnnounced;
    announce(`${count} more broken ${count === 1 ? "rule" : "rules"}`);
    faultsAnnounced = call.faults;
  }
  if (ended) {
    player.finish();
    void reloadFinished(call.id);
  }
}

/** Fetches the data that changed when a call ended. @param {string} id */
async function reloadFinished(id) {
  const run = opened;
  try {
    const [details, marks] = await Promise.all([source.call(id), source.marks(id)]);
    if (run !== opened) return;
    showNumbers(details.numbers);
    showDetails(details);
    showMarks(marks);
    timeline.view(timeline.from, timeline.to);
  } catch (error) {
    toast(errorText(error));
  }
}

/** @param {LiveBatch} batch */
function onBatch(batch) {
  if (batch.calls || batch.removed) {
    // The page may be loaded before the server has read a large capture.
    const isFirst = config?.source === "files" && calls.size === 0 && !openCall;
    updateCalls(batch.calls ?? [], batch.removed);
    if (isFirst) void openFirst();
  }
  if (!openCall || batch.id !== openCall.id || !messages) return;
  if (batch.messages?.length) {
    const index = messages;
    const run = opened;
    if (index.addLive(batch.messages)) {
      index.load(() => run === opened, () => ladder.grow()).catch((error) => toast(errorText(error)));
    }
    ladder.grow();
    timeline.redraw();
  }
  const { marks = [], total_marks: total = marksKnown } = batch;
  const added = total - marksKnown;
  if (added > marks.length || added < 0) void reloadMarks(batch.id);
  else if (added > 0) {
    marksKnown = total;
    timeline.addMarks(marks.slice(-added));
    listEvents();
  }
  if (batch.numbers) showNumbers(batch.numbers);
  if (batch.call) updateCalls([batch.call]);
}

/** @param {string} id */
async function reloadMarks(id) {
  const run = opened;
  try {
    const marks = await source.marks(id);
    if (run === opened) showMarks(marks);
  } catch (error) {
    toast(errorText(error));
  }
}

// ------------------------------------------------------------------------------------- the call

/** @param {Call} call */
function showHead(call) {
  byId("call-name").textContent = call.name;
  const facts = [
    call.mode === "monitor" ? "monitored call" : "bot call",
    call.started ? new Date(call.started).toLocaleString() : "",
    formatTime(call.duration, 1),
    callState(call),
    call.url,
  ];
  byId("call-facts").textContent = facts.filter(Boolean).join(" · ");
  const error = byId("call-error");
  error.hidden = !call.error;
  error.textContent = call.error ?? "";
  const files = source.downloads(call.id);
  for (const [id, url] of [
    ["save-capture", files?.capture],
    ["save-audio", files?.audio],
    ["save-report", files?.report],
  ]) {
    const link = /** @type {HTMLAnchorElement} */ (byId(/** @type {string} */ (id)));
    link.hidden = !url || Boolean(call.error);
    if (url) link.href = url;
  }
  byId("replay-button").hidden = !files || Boolean(call.error) || call.running;
}

/** @param {Numbers} numbers */
function showNumbers(numbers) {
  const box = byId("numbers");
  const answers = numbers.first_audio ?? [];
  const silences = numbers.barge_in_to_silence ?? [];
  const faults = openCall?.faults ?? 0;
  const warnings = openCall?.warnings ?? 0;
  box.replaceChildren(
    figure("Opened after", formatLatency(numbers.opened_latency)),
    figure(
      "First bot audio, p95",
      formatLatency(numbers.first_audio_p95),
      answers.map(({ latency, turn_end }) => ({ text: formatLatency(latency), at: turn_end })),
    ),
    figure(
      "Barge-in to silence",
      silences.length ? formatLatency(Math.max(...silences)) : "–",
      silences.length > 1 ? silences.map((value) => ({ text: formatLatency(value), at: null })) : [],
    ),
    figure("Holes", countText(numbers.holes), (numbers.underruns ?? []).map(({ at, duration }) => ({ text: formatLatency(duration), at })), Boolean(numbers.holes)),
    figure("Refused (429)", countText(numbers.refused_429), [], Boolean(numbers.refused_429)),
    figure(
      "Broken rules",
      String(faults),
      warnings ? [{ text: `${warnings} ${warnings === 1 ? "warning" : "warnings"}`, at: null }] : [],
      faults > 0,
    ),
  );
}

/** @param {number|null|undefined} count @returns {string} */
function countText(count) {
  return count === null || count === undefined ? "–" : String(count);
}

/**
 * @param {string} name
 * @param {string} value
 * @param {{text: string, at: number|null}[]} [each]  The single values; a click on a value moves
 * the playhead to its time.
 * @param {boolean} [bad]
 * @returns {HTMLElement}
 */
function figure(name, value, each = [], bad = false) {
  const box = element("div", bad ? "figure bad" : "figure");
  box.append(element("span", "figure-name", name), element("span", "figure-value", value));
  const list = element("span", "figure-each");
  for (const { text, at } of each.slice(0, 4)) {
    if (at === null) list.append(element("span", "", text));
    else {
      const link = element("button", "link", text);
      link.title = `Go to ${formatTime(at)}`;
      link.addEventListener("click", () => seek(at));
      list.append(link);
    }
  }
  if (each.length > 4) list.append(element("span", "", `+${each.length - 4}`));
  box.append(list);
  return box;
}

/** @param {import("./source.js").CallDetails} details */
function showDetails({ call, headers, numbers }) {
  const panel = byId("panel-details");
  panel.replaceChildren(
    table("Output variables", numbers.output_variables ?? {}, "The bot set no output variables."),
    table("Headers of the upgrade request", headers, "No headers were recorded."),
    table("Call", { id: call.id, url: call.url, source: call.source, mode: call.mode }, ""),
  );
}

/** @param {string} title @param {Record<string, unknown>} values @param {string} none */
function table(title, values, none) {
  const section = element("section");
  section.append(element("h3", "", title));
  const entries = Object.entries(values ?? {});
  if (entries.length === 0) section.append(element("p", "hint", none));
  const list = element("dl", "facts");
  for (const [name, value] of entries.slice(0, 500)) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    list.append(element("dt", "", name.slice(0, 200)), element("dd", "", (text ?? "").slice(0, 5000)));
  }
  section.append(list);
  return section;
}

/** @param {Mark[]} marks */
function showMarks(marks) {
  selectedEvent = -1;
  marksKnown = marks.length;
  timeline.setMarks(marks);
  listEvents();
}

function listEvents() {
  shownMarks = timeline.marks;
  byId("no-events").hidden = shownMarks.length > 0;
  byId("events").setAttribute("aria-rowcount", String(shownMarks.length));
  byId("tab-events").textContent = shownMarks.length ? `Events ${shownMarks.length}` : "Events";
  eventList.update(shownMarks.length);
}

/** @returns {HTMLElement} */
function createEventRow() {
  const row = element("div", "row event");
  row.setAttribute("role", "row");
  for (const name of ["time", "sign", "type", "summary"]) {
    const cell = element("span", `cell-${name}`);
    cell.setAttribute("role", "gridcell");
    row.append(cell);
  }
  row.addEventListener("click", () => selectEvent(Number(row.dataset.position)));
  return row;
}

/** @param {number} position  Position in the list of the event to select. */
function selectEvent(position) {
  const mark = shownMarks[position];
  if (!mark) return;
  selectedEvent = position;
  seek(mark.at);
  byId("events").setAttribute("aria-activedescendant", `event-${position}`);
  eventList.reveal(position);
  eventList.refresh();
}

/** @param {KeyboardEvent} event */
function onEventsKey(event) {
  const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
  if (!step) return;
  event.preventDefault();
  selectEvent(Math.max(0, Math.min(shownMarks.length - 1, selectedEvent + step)));
}

/** @param {HTMLElement} row @param {number} at */
function fillEventRow(row, at) {
  const mark = shownMarks[at];
  if (!mark) return;
  row.id = `event-${at}`;
  row.dataset.position = String(at);
  row.classList.toggle("selected", at === selectedEvent);
  row.setAttribute("aria-selected", String(at === selectedEvent));
  row.setAttribute("aria-rowindex", String(at + 1));
  const texts = [formatTime(mark.at), KINDS[mark.kind]?.sign ?? "•", markName(mark), markText(mark)];
  [...row.children].forEach((cell, i) => (cell.textContent = texts[i] ?? ""));
}

function showVoices() {
  const box = byId("voices");
  box.replaceChildren();
  for (const party of ["both", ...parties]) {
    const label = element("label");
    const radio = /** @type {HTMLInputElement} */ (element("input"));
    Object.assign(radio, { type: "radio", name: "voice", value: party, checked: party === player.party });
    radio.addEventListener("change", () => void player.setParty(party));
    label.append(radio, element("span", "", party === "both" ? (parties.length > 2 ? "All" : "Both") : party));
    box.append(label);
  }
  if (!["both", ...parties].includes(player.party)) nextVoice();
}

function nextVoice() {
  const radios = /** @type {HTMLInputElement[]} */ ([...byId("voices").querySelectorAll("input")]);
  const at = radios.findIndex((radio) => radio.checked);
  radios[(at + 1) % radios.length]?.click();
}

/** @param {number} time */
function seek(time) {
  const span = timeline.to - timeline.from;
  if (time < timeline.from || time > timeline.to) timeline.view(time - span / 2, time + span / 2);
  player.seek(Math.min(time, timeline.duration));
  ladder.showTime(time, true);
}

// -------------------------------------------------------------------------------------- message

/** @param {number} i */
async function openMessage(i) {
  const run = opened;
  try {
    const entry = await messages?.entry(i);
    if (!entry || run !== opened) return;
    shownEntry = entry;
    byId("detail-title").textContent = entry.type;
    byId("copy").hidden = !entry.json && !entry.text;
    showEntry(byId("detail-body"), entry);
    byId("detail").hidden = false;
    byId("call").classList.add("with-detail");
  } catch (error) {
    toast(errorText(error));
  }
}

function closeMessage() {
  shownEntry = null;
  byId("detail").hidden = true;
  byId("call").classList.remove("with-detail");
}

async function copyMessage() {
  if (!shownEntry) return;
  const text = shownEntry.json ? JSON.stringify(shownEntry.json, null, 2) : (shownEntry.text ?? "");
  try {
    await navigator.clipboard.writeText(text);
    announce("copied");
    byId("copy").textContent = "Copied";
    setTimeout(() => (byId("copy").textContent = "Copy"), 1500);
  } catch {
    toast("The browser does not allow copying. Select the text and copy it.");
  }
}

// --------------------------------------------------------------------------------------- replay

function askReplay() {
  if (!openCall || byId("replay-button").hidden) return;
  const input = field("replay-url");
  input.value ||= openCall.url;
  dialog("replay-dialog").showModal();
}

async function replay() {
  const call = openCall;
  if (!call) return;
  const run = opened;
  try {
    const id = await source.replay(call.id, field("replay-url").value.trim());
    toast(`Replaying ${call.name.slice(0, 60)} …`, false);
    await callEnded(id);
    const rows = await source.diff(call.id, id);
    if (run !== opened) {
      toast("The replay has ended. It is in the list of calls.", false);
      return;
    }
    replayId = id;
    comparison.show(rows);
    byId("tab-compare").hidden = false;
    byId("toast").hidden = true;
    showTab("compare");
  } catch (error) {
    toast(errorText(error));
  }
}

/** Waits until a call has ended. @param {string} id */
async function callEnded(id) {
  for (;;) {
    const { call } = await source.call(id);
    updateCalls([call]);
    if (call.error) throw new Error(call.error);
    if (!call.running) return;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

// ---------------------------------------------------------------------------------------- phone

/** @param {string|null} error */
function showPhone(error) {
  const { state, busy } = phone;
  const texts = {
    idle: "",
    microphone: "Waiting for the microphone …",
    connecting: "Connecting …",
    opened: "The call is open.",
    ended: "The call has ended.",
  };
  const line = byId("phone-state");
  line.textContent = error ?? texts[state];
  line.classList.toggle("error", Boolean(error));
  for (const field of byId("phone-form").querySelectorAll("input, select, textarea")) {
    /** @type {HTMLInputElement} */ (field).disabled = busy;
  }
  button("phone-call").disabled = busy;
  button("phone-hang-up").disabled = !busy || state === "microphone";
  button("phone-hold").disabled = state !== "opened";
  if (state !== "opened") byId("phone-hold").setAttribute("aria-pressed", "false");
  const keypad = byId("keypad");
  const appears = keypad.hidden && state === "opened";
  keypad.hidden = state !== "opened";
  if (appears) /** @type {HTMLElement} */ (keypad.firstElementChild).focus();
  byId("phone-level").hidden = !busy;
  byId("phone-playout").hidden = state !== "opened";
  byId("phone").classList.toggle("busy", busy);
}

function startPhone() {
  let input;
  try {
    input = parseVariables(field("phone-input").value);
  } catch (error) {
    byId("phone-state").textContent = errorText(error);
    byId("phone-state").classList.add("error");
    return;
  }
  void phone.start({
    language: field("phone-language").value.trim(),
    ani: field("phone-ani").value.trim(),
    dnis: field("phone-dnis").value.trim(),
    organization: field("phone-organization").value.trim(),
    input,
    fault: field("phone-fault").value || null,
  });
}

function buildPhone() {
  if (config?.source !== "phone") return;
  byId("phone").hidden = false;
  for (const fault of config.faults) choice("phone-fault").add(new Option(fault, fault));
  for (const language of config.languages) byId("languages").append(new Option(language, language));
  for (const key of KEYS) {
    const pad = element("button", "key", key);
    pad.setAttribute("type", "button");
    pad.addEventListener("click", () => phone.press(key));
    byId("keypad").append(pad);
  }
  byId("keypad").addEventListener("keydown", (event) => {
    if (!KEYS.includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    phone.press(event.key);
  });
  byId("phone-form").addEventListener("submit", (event) => {
    event.preventDefault();
    startPhone();
  });
  byId("phone-hang-up").addEventListener("click", () => phone.hangUp());
  byId("phone-hold").addEventListener("click", () => {
    const hold = byId("phone-hold").getAttribute("aria-pressed") !== "true";
    byId("phone-hold").setAttribute("aria-pressed", String(hold));
    phone.hold(hold);
  });
}

// ---------------------------------------------------------------------------------- page, keys

/** @param {unknown} error @returns {string} */
function errorText(error) {
  return error instanceof Error ? error.message : String(error);
}

let toastTimer = 0;

/** Shows a message for a few seconds. @param {string} text @param {boolean} [bad] */
function toast(text, bad = true) {
  const box = byId("toast");
  box.textContent = text.slice(0, 500);
  box.classList.toggle("bad", bad);
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (box.hidden = true), 8000);
}

/** Announces a text to screen readers. @param {string} text */
function announce(text) {
  byId("announcer").textContent = text;
}

/** Shows the list or the call in a narrow window. @param {"list"|"call"} view */
function setView(view) {
  document.body.dataset.view = view;
}

/** @param {string} name */
function showTab(name) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const selected = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(selected));
    /** @type {HTMLElement} */ (tab).tabIndex = selected ? 0 : -1;
    byId(`panel-${tab.id.slice(4)}`).hidden = !selected;
  }
}

/** @type {Record<string, () => void>} */
const SHORTCUTS = {
  "?": () => dialog("help").showModal(),
  "/": () => {
    showTab("messages");
    byId("search").focus();
  },
  "[": () => openNeighbour(-1),
  "]": () => openNeighbour(1),
  j: () => ladder.move(1),
  k: () => ladder.move(-1),
  n: () => ladder.moveToFault(1),
  p: () => ladder.moveToFault(-1),
  v: nextVoice,
  m: () => showTab("messages"),
  e: () => showTab("events"),
  d: () => showTab("details"),
  r: askReplay,
  "+": () => timeline.zoom(0.5),
  "=": () => timeline.zoom(0.5),
  "-": () => timeline.zoom(2),
  0: () => timeline.showAll(),
  " ": () => void player.toggle(),
};

/** @param {KeyboardEvent} event */
function onKey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    if (target.matches("input, select, textarea")) target.blur();
    else closeMessage();
    return;
  }
  if (target.matches("input:not([type=radio], [type=checkbox]), select, textarea")) return;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    if (target.matches("input, [role=tab]")) return;
    const step = (event.key === "ArrowLeft" ? -1 : 1) * (event.shiftKey ? 10 : 1);
    if (openCall) seek(Math.max(0, player.time + step));
    event.preventDefault();
    return;
  }
  if (event.key === " " && target.matches("button, a, input")) return;
  const action = SHORTCUTS[event.key];
  if (!action || (!openCall && !["?", "]"].includes(event.key))) return;
  event.preventDefault();
  action();
}

/** @param {KeyboardEvent} event */
function onCallsKey(event) {
  const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
  if (!step) return;
  event.preventDefault();
  openNeighbour(step);
  const at = shownCalls.findIndex((call) => call.id === openCall?.id);
  if (at >= 0) callList.reveal(Math.max(0, Math.min(shownCalls.length - 1, at + step)));
}

function wire() {
  const on = (/** @type {string} */ id, /** @type {string} */ type, /** @type {(event: any) => void} */ action) =>
    byId(id).addEventListener(type, action);
  document.addEventListener("keydown", onKey);
  on("calls", "keydown", onCallsKey);
  on("calls", "click", onCallsClick);
  on("calls", "pointerdown", (event) => (pressedCall = callOfRow(event)));
  on("calls", "pointerenter", () => setPointing(true));
  on("calls", "pointerleave", () => setPointing(false));
  on("events", "keydown", onEventsKey);
  on("call-search", "input", filterCalls);
  on("back", "click", () => setView("list"));
  on("help-button", "click", () => dialog("help").showModal());
  on("play", "click", () => void player.toggle());
  on("rate", "change", () => player.setRate(Number(field("rate").value)));
  on("zoom-in", "click", () => timeline.zoom(0.5));
  on("zoom-out", "click", () => timeline.zoom(2));
  on("zoom-all", "click", () => timeline.showAll());
  on("clear-filters", "click", () => ladder.clearFilters());
  on("detail-close", "click", closeMessage);
  on("copy", "click", () => void copyMessage());
  on("replay-button", "click", askReplay);
  on("replay-cancel", "click", () => dialog("replay-dialog").close());
  on("replay-form", "submit", () => void replay());
  on("open-replay", "click", () => replayId && void open(replayId));
  on("toast", "click", () => (byId("toast").hidden = true));
  addEventListener("hashchange", () => {
    const named = decodeURIComponent(location.hash.slice(1));
    if (calls.has(named)) void open(named);
  });
  const tabs = [...document.querySelectorAll("[role=tab]")];
  for (const tab of tabs) tab.addEventListener("click", () => showTab(tab.id.slice(4)));
  document.querySelector("[role=tablist]")?.addEventListener("keydown", (event) => {
    const key = /** @type {KeyboardEvent} */ (event).key;
    const step = key === "ArrowRight" ? 1 : key === "ArrowLeft" ? -1 : 0;
    const usable = tabs.filter((tab) => !(/** @type {HTMLElement} */ (tab).hidden));
    const at = usable.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
    const next = usable[(at + step + usable.length) % usable.length];
    if (!step || !(next instanceof HTMLElement)) return;
    event.preventDefault();
    showTab(next.id.slice(4));
    next.focus();
  });
  const signs = byId("signs");
  for (const { name, sign } of Object.values(KINDS)) {
    signs.append(element("dt", "", sign), element("dd", "", name.toLowerCase()));
  }
}

async function start() {
  wire();
  document.body.classList.toggle("report", Boolean(inline));
  try {
    config = await source.config();
    const names = { files: "captures", proxy: "proxy to", phone: "phone to", report: "report" };
    byId("source").textContent = [names[config.source], config.target].filter(Boolean).join(" ");
    buildPhone();
    updateCalls(await source.calls());
  } catch (error) {
    toast(errorText(error));
    byId("nothing").textContent = errorText(error);
    return;
  }
  source.listen(onBatch, (connected) => {
    byId("connection").hidden = connected;
    if (connected) void refresh();
  });
  await openFirst();
}

/** Opens the call that the URL names, or the only call, when the first calls are known. */
async function openFirst() {
  const named = decodeURIComponent(location.hash.slice(1));
  const first = shownCalls[0];
  if (calls.has(named)) await open(named);
  else if (first && (inline || calls.size === 1)) await open(first.id);
}

/** Fetches the changes that happened while the page was not connected. */
async function refresh() {
  try {
    updateCalls(await source.calls());
    const index = messages;
    const run = opened;
    if (index && openCall?.running) await index.load(() => run === opened, () => ladder.grow());
  } catch (error) {
    toast(errorText(error));
  }
}

void start();
