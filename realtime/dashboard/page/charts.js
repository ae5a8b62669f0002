// Two pictures on canvas: the score with its 68 % band and 90 % whiskers, and how the gates shared the weight. Time runs
// to the right; the newest score stands there once more by itself.

import { STALE_S } from "./stream.js";

const LEFT = 26;
const NOW = 20; // so wide is the place of the newest score
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
  const { pen, width: whole, height } = prepare(canvas);
  const width = whole - NOW;
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
    pen.lineTo(whole, y(level));
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
    drawRange(pen, run, x, y, "interval", colours.interval, colours.whisker);
    for (const part of parts(run, (point) => point.band)) drawRange(pen, part, x, y, "band", colours.band, null);
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
  const newest = past.at(-1);
  if (newest && newest.score !== null && nowS - newest.t <= STALE_S) drawNow(pen, newest, width + NOW / 2, y, colours);
}

// Stretches of points of which something holds.
function parts(run, holds) {
  const found = [[]];
  for (const point of run) {
    if (holds(point)) found.at(-1).push(point);
    else if (found.at(-1).length) found.push([]);
  }
  return found.filter((part) => part.length);
}

function drawRange(pen, run, x, y, name, fill, edge) {
  pen.fillStyle = fill;
  pen.beginPath();
  run.forEach((point) => pen.lineTo(x(point.t), y(point[name].high)));
  run.toReversed().forEach((point) => pen.lineTo(x(point.t), y(point[name].low)));
  pen.fill();
  if (edge === null) return;
  pen.strokeStyle = edge;
  pen.lineWidth = 1;
  for (const end of ["high", "low"]) {
    pen.beginPath();
    run.forEach((point) => pen.lineTo(x(point.t), y(point[name][end])));
    pen.stroke();
  }
}

function drawNow(pen, point, x, y, colours) {
  const { low, high } = point.interval;
  pen.strokeStyle = colours.whisker;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.moveTo(x, y(low));
  pen.lineTo(x, y(high));
  for (const end of [low, high]) {
    pen.moveTo(x - 5, y(end));
    pen.lineTo(x + 5, y(end));
  }
  pen.stroke();
  if (point.band) {
    pen.fillStyle = colours.whisker;
    pen.fillRect(x - 3.5, y(point.band.high), 7, y(point.band.low) - y(point.band.high));
  }
  pen.fillStyle = point.score >= 0 ? colours.positive : colours.negative;
  pen.strokeStyle = colours.panel;
  pen.beginPath();
  pen.arc(x, y(point.score), 5.5, 0, 2 * Math.PI);
  pen.fill();
  pen.stroke();
}

export function drawShares(canvas, past, nowS, spanS, colours) {
  const { pen, width, height } = prepare(canvas);
  const end = width - NOW;
  const x = (t) => Math.max(LEFT, end - ((nowS - t) / spanS) * (end - LEFT));
  pen.fillStyle = colours.track;
  pen.fillRect(LEFT, 0, end - LEFT, height);
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
    panel: of("panel"),
    interval: `color-mix(in srgb, ${of("neutral")} 14%, transparent)`,
    band: `color-mix(in srgb, ${of("neutral")} 34%, transparent)`,
    whisker: of("neutral"),
    positive: of("positive"),
    negative: of("negative"),
    gates: ["text", "voice", "face"].map(of),
  };
}
