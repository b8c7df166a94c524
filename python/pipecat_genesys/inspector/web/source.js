// @ts-check
/**
 * The sources of calls: `LiveSource` requests the calls from the server of `pipecat-genesys
 * inspect`; `InlineSource` reads the JSON block of a saved report. The two classes have the same
 * methods.
 *
 * Times (`at`, `duration`) are seconds since the start of the call. All text comes from calls and
 * is untrusted: the page only sets it as text content.
 */

/**
 * @typedef {{rule: string, severity: "violation"|"warning", message: string, source: string}} Rule
 *
 * @typedef {object} Entry  A message of a call.
 * @property {number} i  Position in the call, from 0.
 * @property {number} at
 * @property {"to_server"|"to_client"} dir
 * @property {string} type
 * @property {number|null} seq
 * @property {number} size  Bytes on the wire.
 * @property {number|null} latency  Seconds from the request to this reply.
 * @property {string|null} note
 * @property {object|null} json
 * @property {string|null} text  The text of a message that is not JSON, or the first characters of
 * a long message.
 * @property {number|null} audio_seconds
 * @property {Rule[]} rules  Rules that this message breaks.
 *
 * @typedef {object} Call
 * @property {string} id
 * @property {string} name
 * @property {"file"|"proxy"|"phone"|"replay"} source
 * @property {string} url
 * @property {"bot"|"monitor"} mode
 * @property {string|null} started
 * @property {boolean} running
 * @property {number} duration
 * @property {{by: string|null, code: number|null, reason: string|null}|null} end
 * @property {number} faults
 * @property {number} warnings
 * @property {number|null} worst_latency
 * @property {string|null} error  Why the call cannot be shown, or why it failed.
 *
 * @typedef {object} Numbers
 * @property {number|null} opened_latency
 * @property {{turn_end: number, latency: number}[]} first_audio
 * @property {number|null} first_audio_p95
 * @property {number[]} barge_in_to_silence
 * @property {number|null} holes
 * @property {{at: number, duration: number}[]} underruns
 * @property {number|null} refused_429
 * @property {Record<string, unknown>} output_variables
 *
 * @typedef {{kind: string, at: number, until: number|null, value: any}} Mark
 * @typedef {{call: Call, headers: Record<string, string>, numbers: Numbers, parties: string[]}} CallDetails
 * @typedef {{a: Entry|null, b: Entry|null, same: boolean, paths: string[]}} DiffRow
 * @typedef {{from: number, to: number, peaks: number[]}} Peaks
 *
 * @typedef {object} Config
 * @property {"files"|"proxy"|"phone"|"report"} source
 * @property {string} version
 * @property {string|null} target
 * @property {string[]} faults
 * @property {string[]} languages
 *
 * @typedef {object} LiveBatch  The changes since the previous batch.
 * @property {Call[]} [calls]  Calls that changed.
 * @property {string[]} [removed]  Ids of calls that were removed.
 * @property {string} [id]  Id of the call to which the other fields belong.
 * @property {Entry[]} [messages]
 * @property {Mark[]} [marks]
 * @property {number} [total_marks]  Number of all marks of the call so far.
 * @property {Numbers} [numbers]
 * @property {Call} [call]
 */

/** Requests calls from the server of `pipecat-genesys inspect`. A failed request throws an `Error`. */
export class LiveSource {
  constructor() {
    /** @type {WebSocket|null} */
    this._socket = null;
    /** @type {{subscribe: string|null, from: number}} */
    this._subscription = { subscribe: null, from: 0 };
    this._retry = 500;
  }

  /** @returns {Promise<Config>} */
  config() {
    return requestJson("api/config");
  }

  /** @returns {Promise<Call[]>} */
  async calls() {
    return (await requestJson("api/calls")).calls;
  }

  /** @param {string} id @returns {Promise<CallDetails>} */
  call(id) {
    return requestJson(callPath(id));
  }

  /**
   * @param {string} id
   * @param {number} from
   * @param {number} limit
   * @returns {Promise<{total: number, messages: Entry[]}>}
   */
  messages(id, from, limit) {
    return requestJson(`${callPath(id)}/messages?from=${from}&limit=${limit}`);
  }

  /** @param {string} id @returns {Promise<Mark[]>} */
  async marks(id) {
    return (await requestJson(`${callPath(id)}/marks`)).marks;
  }

  /**
   * @param {string} id
   * @param {string} party
   * @param {number} from
   * @param {number} to
   * @param {number} columns
   * @returns {Promise<Peaks>}
   */
  peaks(id, party, from, to, columns) {
    const span = `from=${from.toFixed(4)}&to=${to.toFixed(4)}&columns=${columns}`;
    return requestJson(`${callPath(id)}/peaks/${encodeURIComponent(party)}?${span}`);
  }

  /** @param {string} id @param {string} party @returns {Promise<string|null>} */
  async audioUrl(id, party) {
    return `${callPath(id)}/audio/${encodeURIComponent(party)}.wav`;
  }

  /** @param {string} id @returns {{capture: string, audio: string, report: string}|null} */
  downloads(id) {
    const path = callPath(id);
    return {
      capture: `${path}/capture`,
      audio: `${path}/audio/both.wav`,
      report: `${path}/report.html`,
    };
  }

  /** @param {string} id @param {string} url @returns {Promise<string>} The id of the new call. */
  async replay(id, url) {
    const body = JSON.stringify({ url: url || null });
    const headers = { "Content-Type": "application/json" };
    return (await requestJson(`${callPath(id)}/replay`, { method: "POST", headers, body })).id;
  }

  /** @param {string} id @param {string} other @returns {Promise<DiffRow[]>} */
  async diff(id, other) {
    return (await requestJson(`${callPath(id)}/diff/${encodeURIComponent(other)}`)).rows;
  }

  /**
   * Listens for changes, and connects again when the connection is lost.
   *
   * @param {(batch: LiveBatch) => void} onBatch
   * @param {(connected: boolean) => void} onState
   */
  listen(onBatch, onState) {
    const socket = new WebSocket(webSocketUrl("api/live"));
    this._socket = socket;
    socket.onopen = () => {
      this._retry = 500;
      this._sendSubscription();
      onState(true);
    };
    socket.onmessage = (event) => onBatch(JSON.parse(event.data));
    socket.onclose = () => {
      onState(false);
      setTimeout(() => this.listen(onBatch, onState), this._retry);
      this._retry = Math.min(8000, 2 * this._retry);
    };
  }

  /**
   * Chooses the call whose messages `listen` reports.
   *
   * @param {string|null} id
   * @param {number} from  Number of the first message to report.
   */
  subscribe(id, from) {
    this._subscription = { subscribe: id, from };
    this._sendSubscription();
  }

  _sendSubscription() {
    if (this._socket?.readyState === WebSocket.OPEN) {
      this._socket.send(JSON.stringify(this._subscription));
    }
  }
}

/** Reads a call from the JSON block of a saved report, without network requests. */
export class InlineSource {
  /** @param {string} text  The JSON text of the block. */
  constructor(text) {
    this._data = JSON.parse(text);
    /** @type {Map<string, string>} */
    this._urls = new Map();
  }

  /** @returns {Promise<Config>} */
  async config() {
    return { source: "report", version: "", target: null, faults: [], languages: [] };
  }

  /** @returns {Promise<Call[]>} */
  async calls() {
    return [this._data.call];
  }

  /** @param {string} _id @returns {Promise<CallDetails>} */
  async call(_id) {
    const { call, headers, numbers, parties } = this._data;
    return { call, headers, numbers, parties };
  }

  /**
   * @param {string} _id
   * @param {number} from
   * @param {number} limit
   * @returns {Promise<{total: number, messages: Entry[]}>}
   */
  async messages(_id, from, limit) {
    const all = this._data.messages;
    return { total: all.length, messages: all.slice(from, from + limit) };
  }

  /** @param {string} _id @returns {Promise<Mark[]>} */
  async marks(_id) {
    return this._data.marks;
  }

  /**
   * @param {string} _id
   * @param {string} party
   * @param {number} _from
   * @param {number} _to
   * @param {number} _columns
   * @returns {Promise<Peaks>} The peaks of the whole call; `_from` and `_to` are ignored.
   */
  async peaks(_id, party, _from, _to, _columns) {
    return this._data.peaks[party] ?? { from: 0, to: 0, peaks: [] };
  }

  /** @param {string} _id @param {string} party @returns {Promise<string|null>} */
  async audioUrl(_id, party) {
    const known = this._urls.get(party);
    if (known) return known;
    const parties = party === "both" ? Object.keys(this._data.audio) : [party];
    const encoded = parties.map((name) => this._data.audio[name]).filter(Boolean);
    if (encoded.length === 0) return null;
    const url = URL.createObjectURL(mixedWav(encoded.map(decodeMulawWav)));
    this._urls.set(party, url);
    return url;
  }

  /** @param {string} _id @returns {null} */
  downloads(_id) {
    return null;
  }

  /** @returns {Promise<string>} */
  async replay() {
    throw new Error("A report cannot replay a call. Open the capture with pipecat-genesys inspect.");
  }

  /** @returns {Promise<DiffRow[]>} */
  async diff() {
    return [];
  }

  listen() {}

  subscribe() {}
}

/** @param {string} path @returns {string} */
export function webSocketUrl(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = "";
  return url.href;
}

/** @param {string} id @returns {string} */
function callPath(id) {
  return `api/calls/${encodeURIComponent(id)}`;
}

/** @param {string} path @param {RequestInit} [init] @returns {Promise<any>} */
async function requestJson(path, init) {
  let response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new Error("The inspector does not answer. Is pipecat-genesys inspect still running?");
  }
  const body = await response.json().catch(() => null);
  if (!response.ok) {
    throw new Error(body?.error ?? `${path}: the inspector answered ${response.status}.`);
  }
  return body;
}

/** @param {string} base64 @returns {Int16Array} The samples of a mu-law WAV file. */
function decodeMulawWav(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  let start = 12;
  while (start + 8 <= bytes.length && view.getUint32(start) !== 0x64617461) {
    start += 8 + view.getUint32(start + 4, true) + (view.getUint32(start + 4, true) % 2);
  }
  const size = Math.min(view.getUint32(start + 4, true), bytes.length - start - 8);
  const samples = new Int16Array(size);
  for (let i = 0; i < size; i++) samples[i] = decodeMulaw(bytes[start + 8 + i] ?? 0xff);
  return samples;
}

/** @param {number} code  ITU-T G.711 mu-law. @returns {number} */
function decodeMulaw(code) {
  const bits = ~code & 0xff;
  const magnitude = (((bits & 0x0f) << 3) + 0x84) << ((bits & 0x70) >> 4);
  return bits & 0x80 ? 0x84 - magnitude : magnitude - 0x84;
}

/** @param {Int16Array[]} voices @returns {Blob} One 8 kHz WAV file with the sum of the voices. */
function mixedWav(voices) {
  const length = Math.max(...voices.map((voice) => voice.length));
  const wav = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (/** @type {number} */ at, /** @type {string} */ name) => {
    for (let i = 0; i < name.length; i++) wav.setUint8(at + i, name.charCodeAt(i));
  };
  text(0, "RIFF");
  wav.setUint32(4, 36 + 2 * length, true);
  text(8, "WAVEfmt ");
  wav.setUint32(16, 16, true);
  wav.setUint16(20, 1, true);
  wav.setUint16(22, 1, true);
  wav.setUint32(24, 8000, true);
  wav.setUint32(28, 16000, true);
  wav.setUint16(32, 2, true);
  wav.setUint16(34, 16, true);
  text(36, "data");
  wav.setUint32(40, 2 * length, true);
  for (let i = 0; i < length; i++) {
    let sum = 0;
    for (const voice of voices) sum += voice[i] ?? 0;
    wav.setInt16(44 + 2 * i, Math.max(-32768, Math.min(32767, sum)), true);
  }
  return new Blob([wav], { type: "audio/wav" });
}
