// @ts-check
/** The phone: a call with the browser's microphone and loudspeaker. */

import { webSocketUrl } from "./source.js";

const WORKLETS = "./worklets.js";

/** The keys of the phone, in the order of a keypad. */
export const KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "0", "#"];

/**
 * @typedef {object} PhoneCall  The values of the form for a call.
 * @property {string} language
 * @property {string} ani
 * @property {string} dnis
 * @property {string} organization
 * @property {Record<string, string>} input
 * @property {string|null} fault
 *
 * @typedef {"idle"|"microphone"|"connecting"|"opened"|"ended"} PhoneState
 * @typedef {{buffered: number, deepest: number, dropped: number, played: number}} PlayoutStats  Seconds.
 */

/**
 * Reads input variables, one `NAME=VALUE` on each line.
 *
 * @param {string} text
 * @returns {Record<string, string>}
 */
export function parseVariables(text) {
  /** @type {Record<string, string>} */
  const variables = {};
  for (const line of text.split("\n")) {
    if (!line.trim()) continue;
    const at = line.indexOf("=");
    if (at < 1) throw new Error(`"${line.trim()}" is not an input variable. Write NAME=VALUE on each line.`);
    variables[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  return variables;
}

/** @param {unknown} error @returns {string} */
function microphoneError(error) {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") {
    return "The browser refused the microphone. Allow it in the site settings beside the address, then call again.";
  }
  if (name === "NotFoundError") {
    return "The browser found no microphone. Connect one, then call again.";
  }
  if (name === "NotReadableError") {
    return "Another program uses the microphone. Close that program, then call again.";
  }
  return `The microphone does not work: ${error instanceof Error ? error.message : String(error)}`;
}

export class Phone {
  /**
   * @param {{state: (state: PhoneState, id: string|null, error: string|null) => void,
   *     level: (level: number) => void, playout: (stats: PlayoutStats) => void}} events
   */
  constructor(events) {
    this._events = events;
    /** @type {PhoneState} */
    this.state = "idle";
    /** @type {WebSocket|null} */
    this._socket = null;
    /** @type {(() => void)[]} */
    this._cleanups = [];
  }

  /** @returns {boolean} */
  get busy() {
    return ["microphone", "connecting", "opened"].includes(this.state);
  }

  /** Starts a call. Errors are reported as the state `ended`. @param {PhoneCall} call */
  async start(call) {
    if (this.busy) return;
    this._set("microphone", null, null);
    let microphone;
    try {
      microphone = await this._openMicrophone();
    } catch (error) {
      this._end(microphoneError(error), null);
      return;
    }
    try {
      const loudspeaker = await this._openLoudspeaker();
      this._connect(call, microphone, loudspeaker);
    } catch (error) {
      this._end(`The loudspeaker does not work: ${error instanceof Error ? error.message : error}`, null);
    }
  }

  /** @param {string} key */
  press(key) {
    this._send({ key });
  }

  /** @param {boolean} hold */
  hold(hold) {
    this._send({ hold });
  }

  hangUp() {
    this._send({ hang_up: true });
  }

  /** @returns {Promise<{port: MessagePort, rate: number}>} */
  async _openMicrophone() {
    if (!navigator.mediaDevices) {
      throw new Error("the page must be opened with the URL that pipecat-genesys printed.");
    }
    const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: false, autoGainControl: true };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    this._cleanups.push(() => stream.getTracks().forEach((track) => track.stop()));
    // Record at the sample rate of the device; the server resamples to 8 kHz.
    const context = new AudioContext({ latencyHint: "interactive" });
    this._cleanups.push(() => void context.close());
    await context.audioWorklet.addModule(WORKLETS);
    await context.resume();
    const node = new AudioWorkletNode(context, "microphone", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    context.createMediaStreamSource(stream).connect(node);
    return { port: node.port, rate: context.sampleRate };
  }

  /** @returns {Promise<MessagePort>} */
  async _openLoudspeaker() {
    // The browser resamples from the rate of the call to the rate of the device.
    const context = new AudioContext({ sampleRate: 8000, latencyHint: "interactive" });
    this._cleanups.push(() => void context.close());
    await context.audioWorklet.addModule(WORKLETS);
    await context.resume();
    const node = new AudioWorkletNode(context, "loudspeaker", { numberOfInputs: 0, outputChannelCount: [1] });
    node.connect(context.destination);
    node.port.onmessage = ({ data }) => this._events.playout(data);
    return node.port;
  }

  /** @param {PhoneCall} call @param {{port: MessagePort, rate: number}} microphone @param {MessagePort} loudspeaker */
  _connect(call, microphone, loudspeaker) {
    const socket = new WebSocket(webSocketUrl("api/phone"));
    socket.binaryType = "arraybuffer";
    this._socket = socket;
    this._cleanups.push(() => socket.close());
    this._set("connecting", null, null);
    socket.onopen = () => {
      this._send({ microphone: { rate: microphone.rate } });
      this._send({ start: call });
      microphone.port.onmessage = ({ data }) => {
        this._events.level(peak(new Int16Array(data)));
        // If the server does not read, drop audio, so that the page does not use more and more
        // memory.
        if (socket.readyState === WebSocket.OPEN && socket.bufferedAmount < 200_000) socket.send(data);
      };
    };
    socket.onmessage = ({ data }) => {
      if (data instanceof ArrayBuffer) {
        loudspeaker.postMessage(data, [data]);
        return;
      }
      const message = JSON.parse(data);
      if (message.clear) loudspeaker.postMessage("clear");
      if (message.state === "ended") this._end(message.error ?? null, message.id ?? null);
      else if (message.state) this._set(message.state, message.id ?? null, message.error ?? null);
    };
    socket.onclose = () => {
      if (this.busy) this._end("The connection to the inspector was lost.", null);
    };
  }

  /** @param {object} message */
  _send(message) {
    if (this._socket?.readyState === WebSocket.OPEN) this._socket.send(JSON.stringify(message));
  }

  /** @param {PhoneState} state @param {string|null} id @param {string|null} error */
  _set(state, id, error) {
    this.state = state;
    this._events.state(state, id, error);
  }

  /** @param {string|null} error @param {string|null} id */
  _end(error, id) {
    this._set("ended", id, error);
    this._events.level(0);
    for (const cleanup of this._cleanups.splice(0)) cleanup();
    this._socket = null;
  }
}

/** @param {Int16Array} samples @returns {number} The loudest sample, 0 to 1. */
function peak(samples) {
  let loudest = 0;
  for (const sample of samples) loudest = Math.max(loudest, Math.abs(sample));
  return loudest / 32768;
}
