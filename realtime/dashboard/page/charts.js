// Two pictures on canvas: the score with its interval, and how the gates shared the weight. Time runs to the right.

import { STALE_S } from "./stream.js";

const LEFT = 26;
const TOP = 6;

function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

// Runs of points that hang together; a long past is thinned out to about one point a pixel.
function runs(past, fromS, width, usable) {
  const first = Math.max(0, past.findIndex((point) => point.t >= fromS) - 1);
  const step = Math.max(1, Math.floor((past.length - first) / Math.max(1, width)));
  const found = [];
  let run = [];
  let before = null;
  for (let index = first; index < past.length; index += step) {
    const point = past[index];
    if (!usable(point) || (before !== null && point.t - before > STALE_S + step)) {
      if (run.length) found.push(run);
      run = [];
    }
    if (usable(point)) run.push(point);
    before = point.t;
  }
  if (run.length) found.push(run);
  return found;
}

export function drawScore(canvas, past, nowS, spanS, colours) {
  const { pen, width, height } = prepare(canvas);
  const x = (t) => width - ((nowS - t) / spanS) * (width - LEFT);
  const y = (score) => TOP + ((3 - score) / 6) * (height - 2 * TOP);
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.lineWidth = 1;
  for (const level of [3, 2, 1, 0, -1, -2, -3]) {
    pen.strokeStyle = level === 0 ? colours.faint : colours.track;
    pen.setLineDash(level === 0 ? [4, 4] : []);
    pen.beginPath();
    pen.moveTo(LEFT, y(level));
    pen.lineTo(width, y(level));
    pen.stroke();
    if (level % 3 === 0) {
      pen.fillStyle = colours.faint;
      const word = level > 0 ? `+${level}` : level < 0 ? `−${-level}` : "0";
      pen.fillText(word, LEFT - 8 - pen.measureText(word).width, Math.min(height - 7, Math.max(7, y(level))));
    }
  }
  pen.setLineDash([]);
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, 0, width - LEFT, height);
  pen.clip();
  for (const run of runs(past, nowS - spanS, width, (point) => point.score !== null)) {
    pen.fillStyle = colours.band;
    pen.beginPath();
    run.forEach((point) => pen.lineTo(x(point.t), y(point.high)));
    run.toReversed().forEach((point) => pen.lineTo(x(point.t), y(point.low)));
    pen.fill();
    // Above 0 and below 0 the line has the colour of its sign.
    for (const [colour, from, to] of [[colours.positive, 0, y(0)], [colours.negative, y(0), height]]) {
      pen.save();
      pen.beginPath();
      pen.rect(0, from, width, to - from);
      pen.clip();
      pen.strokeStyle = colour;
      pen.lineWidth = 2.4;
      pen.lineJoin = "round";
      pen.beginPath();
      run.forEach((point) => pen.lineTo(x(point.t), y(point.score)));
      pen.stroke();
      pen.restore();
    }
  }
  pen.restore();
}

export function drawShares(canvas, past, nowS, spanS, colours) {
  const { pen, width, height } = prepare(canvas);
  const x = (t) => Math.max(LEFT, width - ((nowS - t) / spanS) * (width - LEFT));
  pen.fillStyle = colours.track;
  pen.fillRect(LEFT, 0, width - LEFT, height);
  const some = (point) => point.weights.some((weight) => weight > 0);
  for (const run of runs(past, nowS - spanS, width, some)) {
    const below = run.map(() => 0);
    run[0].weights.forEach((_, gate) => {
      const lower = below.map((share) => share * height);
      run.forEach((point, index) => { below[index] += point.weights[gate]; });
      pen.fillStyle = colours.gates[gate];
      pen.beginPath();
      run.forEach((point, index) => pen.lineTo(x(point.t), Math.min(height, below[index] * height)));
      for (let index = run.length - 1; index >= 0; index -= 1) pen.lineTo(x(run[index].t), lower[index]);
      pen.fill();
    });
  }
}

export function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    faint: of("faint"),
    track: of("track"),
    band: `color-mix(in srgb, ${of("neutral")} 28%, transparent)`,
    positive: of("positive"),
    negative: of("negative"),
    gates: ["text", "voice", "face"].map(of),
  };
}
