/** Types of AudioWorklet that TypeScript's DOM library lacks. Only the type checker reads this file. */
export {};

declare global {
  class AudioWorkletProcessor {
    readonly port: MessagePort;
  }
  const sampleRate: number;
  const currentTime: number;
  function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;
}
