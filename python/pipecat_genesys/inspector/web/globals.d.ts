/** What an AudioWorklet has beside the types of TypeScript's DOM library. Only type checks read this file. */
export {};

declare global {
  class AudioWorkletProcessor {
    readonly port: MessagePort;
  }
  const sampleRate: number;
  const currentTime: number;
  function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;
}
