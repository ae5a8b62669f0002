// What the page knows of one stream: the newest message, the past, and what a person should be told. No DOM in here.

export const STALE_S = 2;
const KEEP_S = 3600;
const FINE_S = 300; // so long each message is a point; of what is older, one point stands for COARSE_S
const COARSE_S = 1.5; // less than STALE_S, which parts the line
const HEALTH_S = 5; // so long holds what the last health message said of the recording

const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// One point for several; without a score if most of them have none.
function mean(points) {
  const scored = points.filter((point) => point.score !== null);
  const whole = 2 * scored.length > points.length;
  const range = (name) => {
    const ranges = scored.map((point) => point[name]).filter((each) => each);
    if (!whole || !ranges.length) return null;
    return { low: average(ranges.map(({ low }) => low)), high: average(ranges.map(({ high }) => high)) };
  };
  return {
    t: average(points.map(({ t }) => t)),
    score: whole ? average(scored.map(({ score }) => score)) : null,
    interval: range("interval"),
    band: range("band"),
    weights: points[0].weights.map((_, gate) => average(points.map(({ weights }) => weights[gate]))),
  };
}

export class Stream {
  constructor(name) {
    this.name = name;
    this.status = "";
    this.newest = null;
    this.health = null;
    this.healthS = -Infinity;
    this.heardS = -Infinity;
    this.past = []; // {t, score, interval, band, weights}, oldest first; score null parts the line
    this.coarse = 0; // so many of them, the oldest, are means
    this.asked = null; // the command that waits for its effect: {word, untilS}
  }

  hear(message, nowS) {
    this.newest = message;
    this.heardS = nowS;
    const weights = Object.values(message.gates).map((gate) => gate.weight);
    const { score, interval, band } = message;
    this.past.push({ t: nowS, score, interval, band, weights });
    this.#thin(nowS);
    if (this.asked && (message.state === "paused") === (this.asked.word === "pause")) this.asked = null;
  }

  #thin(nowS) {
    const slot = (t) => Math.floor(t / COARSE_S);
    const slotAt = (index) => slot(this.past[index].t);
    while (slotAt(this.coarse) < slot(nowS - FINE_S)) {
      let end = this.coarse + 1;
      while (slotAt(end) === slotAt(this.coarse)) end += 1; // the newest point lies in a later one
      this.past.splice(this.coarse, end - this.coarse, mean(this.past.slice(this.coarse, end)));
      this.coarse += 1;
    }
    const kept = this.past.findIndex((point) => point.t >= nowS - KEEP_S);
    this.past.splice(0, kept);
    this.coarse = Math.max(0, this.coarse - kept);
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
