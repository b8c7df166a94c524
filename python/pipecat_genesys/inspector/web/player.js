// @ts-check
/** Plays the audio of one party of a call, or of all parties together, as the caller heard it. */

/** @typedef {import("./source.js").LiveSource | import("./source.js").InlineSource} Source */

export class Player {
  /** @param {{time: (time: number) => void, state: (playing: boolean) => void, error: (text: string) => void}} events */
  constructor(events) {
    this._events = events;
    this._audio = new Audio();
    this._audio.preload = "none";
    /** @type {Source|null} */
    this._source = null;
    this._id = "";
    this.party = "both";
    this._time = 0;
    this._loaded = "";
    this._grows = false;
    this._version = 0;
    this._frame = 0;
    this._audio.addEventListener("loadedmetadata", () => (this._audio.currentTime = this._time));
    this._audio.addEventListener("play", () => this._changed());
    this._audio.addEventListener("pause", () => this._changed());
    this._audio.addEventListener("ended", () => this._changed());
    this._audio.addEventListener("error", () => {
      if (this._loaded) events.error("This call has no audio that the browser can play.");
      this._loaded = "";
      this._changed();
    });
  }

  /** @param {Source|null} source @param {string} id @param {boolean} grows  Whether the call runs. */
  open(source, id, grows) {
    this._audio.pause();
    this._source = source;
    this._id = id;
    this._grows = grows;
    this._loaded = "";
    this._audio.removeAttribute("src");
    this.seek(0);
  }

  /** Records that the call has ended, so that its audio no longer changes. */
  finish() {
    if (this._grows) this._version++;
    this._grows = false;
  }

  /** @returns {boolean} */
  get playing() {
    return !this._audio.paused && !this._audio.ended;
  }

  /** @returns {number} */
  get time() {
    return this._time;
  }

  /** @param {number} time */
  seek(time) {
    this._time = Math.max(0, time);
    if (this._audio.readyState > 0) this._audio.currentTime = this._time;
    this._events.time(this._time);
  }

  /** @param {number} rate */
  setRate(rate) {
    this._audio.defaultPlaybackRate = this._audio.playbackRate = rate;
  }

  /** @param {string} party  A party of the call, or "both". */
  async setParty(party) {
    const playing = this.playing;
    this.party = party;
    if (playing) await this.play();
  }

  async toggle() {
    if (this.playing) this._audio.pause();
    else await this.play();
  }

  async play() {
    const source = this._source;
    if (!source) return;
    if (this._grows) this._version++;
    const wanted = `${this._id} ${this.party} ${this._version}`;
    if (wanted !== this._loaded) {
      const url = await source.audioUrl(this._id, this.party);
      if (!url) {
        this._events.error("This call was saved without audio.");
        return;
      }
      this._loaded = wanted;
      this._audio.src = url.startsWith("blob:") ? url : `${url}?version=${this._version}`;
    }
    try {
      await this._audio.play();
    } catch (error) {
      // `play` also fails if another source or a pause interrupts it. Other errors of the audio are
      // reported by the `error` event.
      if (error instanceof DOMException && error.name === "NotAllowedError") {
        this._events.error("The browser refused to play audio. Click the play button.");
      }
    }
  }

  _changed() {
    this._events.state(this.playing);
    if (this.playing && !this._frame) this._frame = requestAnimationFrame(() => this._tick());
  }

  _tick() {
    this._frame = 0;
    if (this._audio.readyState > 0 && !this._audio.seeking) {
      this._time = this._audio.currentTime;
      this._events.time(this._time);
    }
    if (this.playing) this._frame = requestAnimationFrame(() => this._tick());
  }
}
