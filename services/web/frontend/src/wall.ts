// The page: all rooms, the banner, the clock and the counts.

import type { Form } from "./face";
import { layoutOf } from "./layout";
import { Room, shapeElement } from "./room";
import type { Ink } from "./trend";
import type { Beat, Changes, Run, Whole } from "./view";
import type { Trouble } from "./watchdog";

const IN_WORDS: Readonly<Record<Trouble, string>> = {
  "": "",
  connecting: "Connecting to the server. Nothing is shown until it answers.",
  silent: "No connection to the server. Nothing is shown until it answers again.",
  late: "The server's messages arrive too late. Nothing is shown until they come in time.",
  feed: "The server receives no records. Nothing is shown until they come again.",
};
const COUNTED: readonly (readonly [Form, string])[] = [
  ["index", "predicted"],
  ["device", "device's own"],
  ["suppressed", "suppressed"],
  ["refusal", "refused"],
  ["nodata", "no data"],
];

/** Tiles lower or narrower than this (CSS pixels) leave out the scale and set the state below the number. */
const COMPACT_BELOW = 240;

function found(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (element === null) {
    throw new Error(`the page lacks #${id}`);
  }
  return element;
}

export class Wall {
  private readonly grid = found("rooms");
  private readonly connection = found("connection");
  private readonly simulation = found("simulation");
  private readonly clock = found("clock");
  private readonly counts = found("counts");
  private readonly site = found("site");
  private rooms = new Map<string, Room>();
  private unrecorded: ReadonlySet<string> = new Set();
  private mode = "simulation";
  private ink: Ink | null = null;
  private told = "";
  private second = 0;
  private trouble: Trouble = "connecting";

  constructor() {
    for (const element of document.querySelectorAll<HTMLElement>("[data-legend]")) {
      element.prepend(shapeElement(element.dataset["legend"] ?? ""));
    }
    new ResizeObserver(() => this.fit()).observe(this.grid);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.fit());
  }

  get beds(): readonly string[] {
    return [...this.rooms.keys()];
  }

  /** Take everything: the first message of a connection. */
  whole(message: Whole): void {
    this.mode = message.mode;
    this.site.textContent = message.site;
    const same = message.rooms.map((view) => view.bed).join("\n") === this.beds.join("\n");
    if (!same) {
      this.rooms = new Map(message.rooms.map((view) => [view.bed, new Room(view)]));
      this.grid.replaceChildren(...[...this.rooms.values()].map((room) => room.element));
    }
    for (const view of message.rooms) {
      this.rooms.get(view.bed)?.take(view);
    }
    this.beat(message);
    this.fit();
  }

  changes(message: Changes): void {
    for (const view of message.rooms) {
      this.rooms.get(view.bed)?.take(view);
    }
    for (const [bed, points] of Object.entries(message.points)) {
      for (const point of points) {
        this.rooms.get(bed)?.trend.add(point);
      }
    }
    this.beat(message);
  }

  beat(message: Beat): void {
    this.unrecorded = new Set(message.unrecorded);
  }

  past(bed: string, runs: readonly Run[], now: number): void {
    const room = this.rooms.get(bed);
    runs.forEach((run) => room?.trend.addRun(run));
    if (this.ink !== null) {
      room?.draw(now, this.ink, true);
    }
  }

  /** Say what holds now. */
  show(now: number, trouble: Trouble): void {
    const second = Math.ceil(now / 1000);
    if (second !== this.second || trouble !== this.trouble) {
      this.tell(second, trouble);
    }
    let simulated = this.mode === "simulation";
    for (const [bed, room] of this.rooms) {
      room.show(now, trouble, this.unrecorded.has(bed));
      simulated ||= room.isSimulated;
    }
    if (this.simulation.hidden === simulated) {
      this.simulation.hidden = !simulated;
    }
    this.draw(now, false);
    this.count();
  }

  /** What changes once a second at most: the clock, the banner and the counts. */
  private tell(second: number, trouble: Trouble): void {
    this.clock.textContent =
      Number.isFinite(second) && trouble === "" ? new Date(1000 * second).toLocaleTimeString([], { hour12: false }) : "--:--:--";
    if (trouble !== this.trouble) {
      this.connection.textContent = IN_WORDS[trouble];
      this.connection.hidden = trouble === "";
    }
    this.second = second;
    this.trouble = trouble;
  }

  private draw(now: number, anew: boolean): void {
    const ink = this.ink;
    if (ink !== null) {
      this.rooms.forEach((room) => room.draw(now, ink, anew));
    }
  }

  private count(): void {
    const forms = [...this.rooms.values()].map((room) => room.face?.form);
    const parts = COUNTED.map(([form, words]) => [forms.filter((one) => one === form).length, words] as const);
    const told = parts.filter(([count]) => count > 0).map(([count, words]) => `${count} ${words}`).join("  ·  ");
    if (told !== this.told) {
      this.told = told;
      this.counts.textContent = told;
    }
  }

  private fit(): void {
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    this.ink = { line: colour("--line"), interval: colour("--line-soft"), device: colour("--device"), range: colour("--range"), gap: colour("--edge") };
    const main = this.grid.parentElement ?? this.grid;
    const layout = layoutOf(this.rooms.size, main.clientWidth, main.clientHeight);
    this.grid.style.setProperty("--columns", String(layout.columns));
    this.grid.classList.toggle("fills", layout.fills);
    const tile = this.grid.firstElementChild;
    if (tile !== null) {
      this.grid.style.setProperty("--cw", `${tile.clientWidth / 100}px`);
      this.grid.style.setProperty("--ch", `${tile.clientHeight / 100}px`);
      this.grid.classList.toggle("compact", tile.clientHeight < COMPACT_BELOW || tile.clientWidth < COMPACT_BELOW);
    }
    this.refresh();
  }

  /** Draw again with the time of the last look. */
  refresh: () => void = () => undefined;

  redraw(now: number): void {
    this.draw(now, true);
  }
}
