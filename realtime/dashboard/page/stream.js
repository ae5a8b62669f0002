// What the page knows of one stream: the newest message, the past, and what a person should be told. No DOM in here.

export const STALE_S = 2;
const KEEP_S = 900;
const HEALTH_S = 5; // so long holds what the last health message said of the recording

export class Stream {
  constructor(name) {
    this.name = name;
    this.status = "";
    this.newest = null;
    this.health = null;
    this.healthS = -Infinity;
    this.heardS = -Infinity;
    this.past = []; // {t, score, interval, band, weights}, oldest first; score null parts the line
    this.asked = null; // the command that waits for its effect: {word, untilS}
  }

  hear(message, nowS) {
    this.newest = message;
    this.heardS = nowS;
    const weights = Object.values(message.gates).map((gate) => gate.weight);
    const { score, interval, band } = message;
    this.past.push({ t: nowS, score, interval, band, weights });
    while (this.past[0].t < nowS - KEEP_S) this.past.shift();
    if (this.asked && (message.state === "paused") === (this.asked.word === "pause")) this.asked = null;
  }

  get paused() {
    return this.newest?.state === "paused";
  }

  // {kept, failed} while the stream is recorded, as far as is known.
  recording(nowS) {
    return nowS - this.healthS <= HEALTH_S ? this.health?.recording ?? null : null;
  }

  ask(word, nowS) {
    this.asked = { word, untilS: nowS + 5 };
  }

  // {say, stale, mark}: a sentence or "", whether what is shown is of the past, and analysing, paused or unknown.
  view(nowS, connected) {
    const stale = !connected || this.status === "offline" || nowS - this.heardS > STALE_S;
    const mark = stale || !this.newest ? "unknown" : this.paused ? "paused" : "analysing";
    return { say: this.#say(nowS, connected), stale: stale && this.newest !== null, mark };
  }

  #say(nowS, connected) {
    const ageS = Math.floor(nowS - this.heardS);
    if (!connected) return this.newest ? `Broker gone: this is ${ageS} s old.` : "";
    if (this.status === "offline") return "Stream offline: it has ended; waiting for it to come back.";
    if (!this.newest) return "Online; waiting for its first message.";
    if (ageS >= STALE_S) return `No message for ${ageS} s: what is shown is old.`;
    if (this.asked && nowS > this.asked.untilS) return `No answer to ${this.asked.word}.`;
    if (this.paused) return "Paused: camera and microphone are released.";
    if (this.newest.score === null) return "No signal: nothing to judge from, so no score is made up.";
    return "";
  }
}
