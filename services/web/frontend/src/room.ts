// One tile: keeps its elements and changes only what is different.

import { type Face, faceOf } from "./face";
import { type Ink, Trend, TREND_S } from "./trend";
import type { RoomView } from "./view";
import type { Trouble } from "./watchdog";

const SVG = "http://www.w3.org/2000/svg";
const WORDS_EACH_S = 10;

// One outline a state: told apart without colour. [path, filled]
const SHAPES: Readonly<Record<string, readonly [string, boolean]>> = {
  awake: ["M12 3 22 20.5H2Z", false],
  light: ["M12 1.5 22.5 12 12 22.5 1.5 12Z", false],
  general: ["M12 2a10 10 0 1 0 0 20a10 10 0 1 0 0-20Z", true],
  deep: ["M2 3.5H22L12 21Z", true],
  suppressed: ["M2 3H22V21H2ZM6 12H18", false],
  refusal: ["M12 2a10 10 0 1 0 0 20a10 10 0 1 0 0-20ZM5 5 19 19", false],
  nodata: ["M3 3H8M16 3H21V8M21 16V21H16M8 21H3V16M3 8V3", false],
  device: ["M2 4H22V17H2ZM7 21H17", false],
};

export function shapeElement(name: string): SVGSVGElement {
  const [path, filled] = SHAPES[name] ?? ["", false];
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", filled ? "shape filled" : "shape");
  const drawn = document.createElementNS(SVG, "path");
  drawn.setAttribute("d", path);
  svg.append(drawn);
  return svg;
}

function made<K extends keyof HTMLElementTagNameMap>(tag: K, name: string, ...inside: Node[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  element.className = name;
  element.append(...inside);
  return element;
}

function hide(element: HTMLElement, hidden: boolean): void {
  if (element.hidden !== hidden) {
    element.hidden = hidden;
  }
}

function write(element: HTMLElement, text: string): void {
  if (element.textContent !== text) {
    element.textContent = text;
  }
  hide(element, text === "");
}

export class Room {
  readonly trend = new Trend();
  readonly element: HTMLLIElement;
  face: Face | null = null;
  private readonly tier = made("span", "tier");
  private readonly age = made("span", "age");
  private readonly simulated = made("span", "mark simulated");
  private readonly unrecorded = made("span", "mark unrecorded");
  private readonly name = made("span", "name");
  private readonly number = made("span", "number");
  private readonly interval = made("span", "interval");
  private readonly label = made("p", "label");
  private readonly both = made("p", "both");
  private readonly feed = made("span", "feed");
  private readonly shape = made("span", "shape-box");
  private readonly headline = made("span", "headline");
  private readonly words = made("p", "words");
  private readonly caveats = made("p", "caveats");
  private readonly span = made("span", "span");
  private readonly dot = made("span", "dot");
  private readonly scale = made("div", "scale", made("span", "range"), this.span, this.dot);
  private readonly canvas = made("canvas", "trend");
  private drawnAt = Number.NEGATIVE_INFINITY;
  private wordedAt = 0;

  constructor(private view: RoomView) {
    const heading = made("h2", "bed");
    heading.textContent = view.bed;
    heading.id = `bed-${view.bed.replaceAll(/\W/g, "-")}`;
    this.simulated.textContent = "SIM";
    this.simulated.title = "simulated data";
    this.unrecorded.textContent = "not yet recorded";
    this.words.setAttribute("aria-live", "polite");
    this.scale.setAttribute("aria-hidden", "true");
    this.canvas.setAttribute("role", "img");
    const head = made("header", "head", heading, this.simulated, this.unrecorded, this.tier);
    const value = made("p", "value", this.name, this.number);
    const state = made("p", "state", this.shape, this.headline);
    const reading = made("div", "reading", value, this.interval, state, this.label);
    const body = made("div", "body", reading, this.scale, this.words, this.both, this.caveats);
    const foot = made("footer", "foot", this.feed, this.age);
    this.element = made("li", "room", made("article", "tile", head, body, this.canvas, foot));
    this.element.dataset["bed"] = view.bed;
    this.element.firstElementChild?.setAttribute("aria-labelledby", heading.id);
    new ResizeObserver(() => this.fit()).observe(this.canvas);
  }

  take(view: RoomView): void {
    this.view = view;
  }

  get isSimulated(): boolean {
    return this.view.simulated;
  }

  /** Say what holds at the server's instant `now`. */
  show(now: number, trouble: Trouble, unrecorded: boolean): void {
    const face = faceOf(this.view, now, trouble);
    hide(this.unrecorded, !unrecorded || face.form === "nodata");
    write(this.age, face.age);
    if (this.face !== null && this.same(this.face, face)) {
      return;
    }
    this.element.dataset["form"] = face.form;
    if (this.element.dataset["shape"] !== face.shape) {
      this.element.dataset["shape"] = face.shape;
      this.shape.replaceChildren(shapeElement(face.shape));
    }
    write(this.tier, face.tier === "" ? "" : `${face.tier} ${face.tierWords}`);
    hide(this.simulated, !face.simulated);
    write(this.name, face.name);
    write(this.number, face.number);
    write(this.interval, face.interval);
    write(this.label, face.label);
    write(this.both, face.both);
    write(this.feed, face.feed);
    this.say(face.headline);
    write(this.words, face.words);
    write(this.caveats, face.caveats);
    this.caveats.title = face.caveats;
    this.place(face.scale);
    this.face = face;
  }

  /** Draw the trend when at least one column of pixels has moved; `anew` draws it in any case. */
  draw(now: number, ink: Ink, anew: boolean): void {
    const second = Math.floor(now / 1000);
    const width = this.canvas.width;
    if (!Number.isFinite(second) || width === 0 || (!anew && second - this.drawnAt < Math.max(1, (1.5 * TREND_S) / width))) {
      return;
    }
    this.drawnAt = second;
    const context = this.canvas.getContext("2d");
    if (context !== null) {
      this.trend.draw(context, second, ink);
    }
    if (second - this.wordedAt >= WORDS_EACH_S) {
      this.wordedAt = second;
      this.canvas.setAttribute("aria-label", this.trend.inWords(second));
    }
  }

  /** Fit the canvas to its place on the screen. */
  fit(): void {
    const { clientWidth, clientHeight } = this.canvas;
    const dots = window.devicePixelRatio;
    this.canvas.width = Math.round(clientWidth * dots);
    this.canvas.height = Math.round(clientHeight * dots);
    this.drawnAt = Number.NEGATIVE_INFINITY;
  }

  private same(one: Face, other: Face): boolean {
    return (
      one.form === other.form &&
      one.shape === other.shape &&
      one.number === other.number &&
      one.name === other.name &&
      one.interval === other.interval &&
      one.headline === other.headline &&
      one.words === other.words &&
      one.caveats === other.caveats &&
      one.label === other.label &&
      one.both === other.both &&
      one.feed === other.feed &&
      one.tier === other.tier &&
      one.simulated === other.simulated
    );
  }

  /** Write the headline in pieces that do not break: "general-range" "(40-60)", "suppressed," "SR 34 %". */
  private say(headline: string): void {
    if (this.headline.textContent !== headline) {
      const texts = headline.split(/ (?=\(|SR)/);
      const pieces = texts.map((text) => {
        const piece = document.createElement("span");
        piece.className = texts.length > 1 ? "whole" : "";
        piece.textContent = text;
        return piece;
      });
      this.headline.replaceChildren(...pieces.flatMap((piece, k) => (k === 0 ? [piece] : [" ", piece])));
    }
  }

  private place(scale: Face["scale"]): void {
    hide(this.scale, scale === null);
    if (scale !== null) {
      const [value, low, high] = scale;
      this.dot.style.left = `${value}%`;
      this.span.style.left = `${low}%`;
      this.span.style.width = `${high - low}%`;
    }
  }
}
