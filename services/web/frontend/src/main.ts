// Joins the parts: the stream speaks, the watchdog judges, the wall shows, four times a second and at every message.

import { Stream } from "./stream";
import type { Beat, Run } from "./view";
import { Wall } from "./wall";
import { Watchdog } from "./watchdog";

const TICK_MS = 250;
const HISTORY_DEADLINE_MS = 8000;
const HISTORY_AGAIN_MS = 15000;

const wall = new Wall();
const watchdog = new Watchdog();
let history = 0;

function show(): void {
  const mono = performance.now();
  wall.show(watchdog.serverNow(mono), watchdog.trouble(mono));
}

function hear(message: Beat): void {
  watchdog.hear(message.now_ms, message.feed_ms, performance.now());
}

const stream = new Stream("/api/stream", {
  whole(message) {
    watchdog.begin(message.now_ms, message.feed_ms, performance.now());
    wall.whole(message);
    show();
    void loadPast();
  },
  changes(message) {
    hear(message);
    wall.changes(message);
    show();
  },
  beat(message) {
    hear(message);
    wall.beat(message);
  },
});

async function past(bed: string): Promise<boolean> {
  try {
    const answer = await fetch(`/api/history?bed=${encodeURIComponent(bed)}`, { signal: AbortSignal.timeout(HISTORY_DEADLINE_MS) });
    if (answer.ok) {
      wall.past(bed, ((await answer.json()) as { runs: Run[] }).runs, watchdog.serverNow(performance.now()));
    }
    return answer.ok;
  } catch {
    return false;
  }
}

/** Load the trends, one room after the other; when the past cannot be read, try again later. A newer call ends an older one. */
async function loadPast(): Promise<void> {
  history += 1;
  const mine = history;
  for (const bed of wall.beds) {
    const loaded = await past(bed);
    if (mine !== history) {
      return;
    }
    if (!loaded) {
      window.setTimeout(() => mine === history && void loadPast(), HISTORY_AGAIN_MS);
      return;
    }
  }
}

function tick(): void {
  if (document.hidden) {
    return;
  }
  const mono = performance.now();
  if (watchdog.jumped(mono, Date.now())) {
    stream.open();
  }
  const trouble = watchdog.trouble(mono);
  if (trouble === "silent" || trouble === "late" || trouble === "connecting") {
    stream.retry();
  }
  show();
}

wall.refresh = () => wall.redraw(watchdog.serverNow(performance.now()));
// A page that nobody sees holds no connection: browsers allow six to a server, and a wall is often open twice.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stream.close();
  } else {
    // Whatever stands on the page is from before: nothing of it counts until the server has answered.
    watchdog.forget();
    show();
    stream.open();
  }
});
window.setInterval(tick, TICK_MS);
show();
stream.open();
