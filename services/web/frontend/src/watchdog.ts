// Decides, in the browser alone, whether what stands on the page may still stand there. Pure: it is told every instant.
//
// `mono` is performance.now(), `wall` is Date.now(). The server's time is known from its messages: a message can only be late, so the
// largest (server - mono) seen is the best guess. The guess leaks by 200 ppm, more than two clocks drift apart; a server clock that was set
// back shows as lag, and lag makes the caller connect anew.

export const SILENCE_MS = 3000;
export const FEED_SILENCE_MS = 5000;
const JUMP_MS = 2000;
const CLOCKS_APART_MS = 1000;
const LEAK = 0.0002;

export type Trouble = "" | "connecting" | "silent" | "late" | "feed";

export class Watchdog {
  private offset: number | null = null;
  private offsetAt = 0;
  private heardAt = 0;
  private lag = 0;
  private feed = 0;
  private lastMono: number | null = null;
  private lastWall = 0;

  /** Take the time that the first message of a connection carries: the guess begins anew. */
  begin(server: number, feed: number, mono: number): void {
    this.offset = null;
    this.hear(server, feed, mono);
  }

  /** Take the time that any later message carries. */
  hear(server: number, feed: number, mono: number): void {
    const sample = server - mono;
    const known = this.offset === null ? sample : this.offset - (mono - this.offsetAt) * LEAK;
    this.offset = Math.max(sample, known);
    this.offsetAt = mono;
    this.lag = this.offset - sample;
    this.heardAt = mono;
    this.feed = feed;
  }

  /** Look at both clocks; true when time jumped (the browser slept, or was stopped): then nothing heard before counts. */
  jumped(mono: number, wall: number): boolean {
    const before = this.lastMono;
    const passed = before === null ? 0 : mono - before;
    const apart = before === null ? 0 : Math.abs(wall - this.lastWall - passed);
    this.lastMono = mono;
    this.lastWall = wall;
    if (passed <= JUMP_MS && apart <= CLOCKS_APART_MS) {
      return false;
    }
    this.forget();
    return true;
  }

  /** Nothing heard before counts any more. */
  forget(): void {
    this.offset = null;
    this.lastMono = null;
  }

  /** The server's time now; NaN while it is not known, and NaN is older than every bound. */
  serverNow(mono: number): number {
    return this.offset === null ? Number.NaN : mono + this.offset;
  }

  /** Why no room may show anything, or "". */
  trouble(mono: number): Trouble {
    if (this.offset === null) {
      return "connecting";
    }
    if (mono - this.heardAt > SILENCE_MS) {
      return "silent";
    }
    if (this.lag > SILENCE_MS) {
      return "late";
    }
    return this.serverNow(mono) - this.feed > FEED_SILENCE_MS ? "feed" : "";
  }
}
