// @ts-check
/**
 * The two audio processors of the phone. They run on the browser's audio thread.
 *
 * `microphone` sends blocks of 20 ms of 16-bit samples. `loudspeaker` plays the bot's samples through
 * a jitter buffer.
 */

/** Seconds of audio that the jitter buffer collects before it plays. */
const TARGET = 0.06;
/** Maximum length of the audio in the jitter buffer, in seconds. The oldest audio is dropped. */
const LIMIT = 0.1;

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this._block = new Int16Array(Math.round(sampleRate / 50));
    this._filled = 0;
  }

  /** @param {Float32Array[][]} inputs @returns {boolean} */
  process(inputs) {
    for (const sample of inputs[0]?.[0] ?? []) {
      this._block[this._filled++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      if (this._filled < this._block.length) continue;
      const full = this._block.buffer;
      this._block = new Int16Array(this._block.length);
      this._filled = 0;
      this.port.postMessage(full, [full]);
    }
    return true;
  }
}

class Loudspeaker extends AudioWorkletProcessor {
  constructor() {
    super();
    /** @type {Int16Array[]} */
    this._blocks = [];
    this._offset = 0;
    this._buffered = 0;
    this._playing = false;
    this._waiting = 0;
    this._dropped = 0;
    this._deepest = 0;
    this._played = 0;
    this._reported = 0;
    this.port.onmessage = (/** @type {MessageEvent} */ { data }) => {
      if (data === "clear") this._clear();
      else this._add(new Int16Array(data));
    };
  }

  _clear() {
    this._blocks = [];
    this._offset = this._buffered = this._waiting = 0;
    this._playing = false;
  }

  /** @param {Int16Array} block */
  _add(block) {
    this._blocks.push(block);
    this._buffered += block.length;
    while (this._buffered > LIMIT * sampleRate && this._skip()) this._dropped++;
    this._deepest = Math.max(this._deepest, this._buffered);
  }

  /** Drops the oldest sample. @returns {boolean} */
  _skip() {
    return this._take() !== null;
  }

  /** @returns {number|null} The oldest sample. */
  _take() {
    const block = this._blocks[0];
    if (!block) return null;
    const sample = block[this._offset++] ?? 0;
    this._buffered--;
    if (this._offset >= block.length) {
      this._blocks.shift();
      this._offset = 0;
    }
    return sample;
  }

  /** @param {Float32Array[][]} _inputs @param {Float32Array[][]} outputs @returns {boolean} */
  process(_inputs, outputs) {
    const out = outputs[0]?.[0];
    if (!out) return true;
    if (!this._playing && this._buffered > 0) {
      // Audio that is shorter than `TARGET` is played after `TARGET` seconds have passed.
      this._waiting += out.length;
      this._playing = this._buffered >= TARGET * sampleRate || this._waiting >= TARGET * sampleRate;
    }
    if (this._playing) {
      for (let i = 0; i < out.length; i++) {
        const sample = this._take();
        if (sample === null) {
          this._playing = false;
          this._waiting = 0;
          break;
        }
        out[i] = sample / 32768;
        this._played++;
      }
    }
    if (currentTime - this._reported >= 0.25) {
      this._reported = currentTime;
      this.port.postMessage({
        buffered: this._buffered / sampleRate,
        deepest: this._deepest / sampleRate,
        dropped: this._dropped / sampleRate,
        played: this._played / sampleRate,
      });
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
registerProcessor("loudspeaker", Loudspeaker);
