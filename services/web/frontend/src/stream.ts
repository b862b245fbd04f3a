// The connection to the server: opens, closes, opens again. What arrives belongs to the newest connection only.

import type { Beat, Changes, Whole } from "./view";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 4000;
/** A connection that has not brought its first message within this time is given up. */
const PATIENCE_MS = 5000;

export interface Listener {
  whole(message: Whole): void;
  changes(message: Changes): void;
  beat(message: Beat): void;
}

export class Stream {
  private source: EventSource | null = null;
  private openedAt = 0;
  private pause = FIRST_PAUSE_MS;
  private timer = 0;

  constructor(
    private readonly url: string,
    private readonly listener: Listener,
  ) {}

  /** Connect, anew if need be. */
  open(): void {
    this.close();
    const source = new EventSource(this.url);
    this.source = source;
    this.openedAt = performance.now();
    source.addEventListener("wall", (event) => {
      this.pause = FIRST_PAUSE_MS;
      this.listener.whole(JSON.parse(event.data) as Whole);
    });
    source.addEventListener("rooms", (event) => this.listener.changes(JSON.parse(event.data) as Changes));
    source.addEventListener("beat", (event) => this.listener.beat(JSON.parse(event.data) as Beat));
    source.addEventListener("error", () => this.openLater());
  }

  /** Connect anew if the present try has had its time. */
  retry(): void {
    if (this.source !== null && performance.now() - this.openedAt > PATIENCE_MS) {
      this.open();
    }
  }

  /** Leave, and stay away until `open`. */
  close(): void {
    window.clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  private openLater(): void {
    this.close();
    this.timer = window.setTimeout(() => this.open(), this.pause);
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
  }
}
