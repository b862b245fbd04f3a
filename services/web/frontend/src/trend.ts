// The last 15 minutes of one room: a second that was not scored is a gap, and a gap stays a gap.

import type { Point, Run } from "./view";

export const TREND_S = 900;
const SLOTS = 1024; // a ring by second; more than TREND_S, so that nothing shown is overwritten
const NONE = 0;
const EEG = 1;
const DEVICE = 2;

export interface Ink {
  readonly line: string;
  readonly interval: string;
  readonly device: string;
  readonly range: string;
  readonly gap: string;
}

interface Stretch {
  readonly tier: number;
  readonly from: number;
  readonly to: number;
}

export class Trend {
  private readonly seconds = new Float64Array(SLOTS);
  private readonly tiers = new Uint8Array(SLOTS);
  private readonly values = new Uint8Array(SLOTS);
  private readonly lows = new Uint8Array(SLOTS);
  private readonly highs = new Uint8Array(SLOTS);

  /** Take one scored second; the same second again replaces it. */
  add([second, tier, value, low, high]: Point): void {
    const slot = second % SLOTS;
    if (second < (this.seconds[slot] ?? 0)) {
      return;
    }
    this.seconds[slot] = second;
    this.tiers[slot] = tier === "E" ? EEG : DEVICE;
    this.values[slot] = value;
    this.lows[slot] = low;
    this.highs[slot] = high;
  }

  addRun(run: Run): void {
    run.values.forEach((value, k) => this.add([run.start + k, run.tier, value, run.lows[k] ?? value, run.highs[k] ?? value]));
  }

  /** Stretches of neighbouring seconds of one tier within the 15 minutes before `now` (a Unix second). */
  stretches(now: number): Stretch[] {
    const found: Stretch[] = [];
    let from = 0;
    let tier = NONE;
    for (let second = now - TREND_S; second <= now + 1; second += 1) {
      const here = second > now ? NONE : this.tierAt(second);
      if (here !== tier) {
        if (tier !== NONE) {
          found.push({ tier, from, to: second - 1 });
        }
        from = second;
        tier = here;
      }
    }
    return found;
  }

  /** The trend in words, for those who hear the page. */
  inWords(now: number): string {
    let scored = 0;
    let least = 101;
    let most = -1;
    for (const { tier, from, to } of this.stretches(now)) {
      for (let second = from; tier === EEG && second <= to; second += 1) {
        const value = this.values[second % SLOTS] ?? 0;
        scored += 1;
        least = Math.min(least, value);
        most = Math.max(most, value);
      }
    }
    const share = Math.round((100 * scored) / TREND_S);
    return scored === 0 ? "last 15 minutes: no index" : `last 15 minutes: index ${least} to ${most}, scored ${share} % of the time`;
  }

  /** Draw into a canvas of the given size in device pixels; 100 lies at the top. */
  draw(canvas: CanvasRenderingContext2D, now: number, ink: Ink): void {
    const { width, height } = canvas.canvas;
    const weight = Math.max(1.5, height / 34);
    const inner = height - 2 * weight;
    const x = (second: number): number => ((second - now + TREND_S) / TREND_S) * (width - 2 * weight) + weight;
    const y = (value: number): number => weight + (1 - value / 100) * inner;
    canvas.clearRect(0, 0, width, height);
    canvas.fillStyle = ink.range;
    canvas.fillRect(0, y(60), width, y(40) - y(60));
    canvas.lineCap = "round";
    canvas.lineJoin = "round";
    for (const stretch of this.stretches(now)) {
      if (stretch.tier === EEG) {
        this.drawInterval(canvas, stretch, x, y, ink.interval);
      }
      canvas.lineWidth = stretch.tier === EEG ? weight : Math.max(1, weight * 0.7);
      canvas.setLineDash(stretch.tier === EEG ? [] : [weight, weight * 2.2]);
      canvas.strokeStyle = stretch.tier === EEG ? ink.line : ink.device;
      this.drawLine(canvas, stretch, x, y);
    }
    canvas.setLineDash([]);
  }

  private tierAt(second: number): number {
    const slot = second % SLOTS;
    return this.seconds[slot] === second ? (this.tiers[slot] ?? NONE) : NONE;
  }

  private drawLine(canvas: CanvasRenderingContext2D, { from, to }: Stretch, x: Scale, y: Scale): void {
    canvas.beginPath();
    canvas.moveTo(x(from), y(this.values[from % SLOTS] ?? 0));
    for (let second = from; second <= to; second += 1) {
      canvas.lineTo(x(second), y(this.values[second % SLOTS] ?? 0));
    }
    canvas.stroke();
  }

  private drawInterval(canvas: CanvasRenderingContext2D, { from, to }: Stretch, x: Scale, y: Scale, colour: string): void {
    canvas.beginPath();
    for (let second = from; second <= to; second += 1) {
      canvas.lineTo(x(second), y(this.highs[second % SLOTS] ?? 0));
    }
    for (let second = to; second >= from; second -= 1) {
      canvas.lineTo(x(second), y(this.lows[second % SLOTS] ?? 0));
    }
    canvas.closePath();
    canvas.fillStyle = colour;
    canvas.fill();
  }
}

type Scale = (of: number) => number;
