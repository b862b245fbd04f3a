// What a room's tile says now: a view, an instant and the state of the connection become plain texts. Pure.

import type { DeviceValue, RoomView } from "./view";
import type { Trouble } from "./watchdog";

export type Form = "index" | "device" | "suppressed" | "refusal" | "nodata";

export interface Face {
  readonly form: Form;
  /** Which shape stands before the headline. */
  readonly shape: string;
  readonly headline: string;
  /** Stands small before or after the number. */
  readonly name: string;
  readonly number: string;
  readonly interval: string;
  readonly label: string;
  /** Values that stand beside a refusal, each with its owner. */
  readonly both: string;
  readonly words: string;
  readonly caveats: string;
  readonly tier: string;
  readonly tierWords: string;
  readonly age: string;
  readonly feed: string;
  readonly simulated: boolean;
  /** Value, low, high of the scale; null where our index is not shown. */
  readonly scale: readonly [number, number, number] | null;
}

/** Data from further ahead than this cannot be: some clock is wrong. */
const AHEAD_MS = 2000;
const TIER_WORDS: Readonly<Record<string, string>> = { E: "EEG", D: "device" };

export function inTime(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 100) {
    return `${seconds} s`;
  }
  const minutes = Math.floor(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}

const NOTHING: Face = {
  form: "nodata",
  shape: "nodata",
  headline: "NO DATA",
  name: "",
  number: "",
  interval: "",
  label: "",
  both: "",
  words: "",
  caveats: "",
  tier: "",
  tierWords: "",
  age: "",
  feed: "",
  simulated: false,
  scale: null,
};

function noData(view: RoomView, now: number, words: string): Face {
  const known = view.data_ms !== null && Number.isFinite(now);
  const age = known ? `last data ${inTime(now - (view.data_ms ?? 0))} ago` : "";
  return { ...NOTHING, words, age, simulated: view.simulated };
}

function labelled(device: DeviceValue | null, withheld: number | null): string {
  const ours = withheld === null ? "" : `model ${withheld}`;
  const theirs = device === null ? "" : `${device.name} ${device.value} (device)`;
  return [ours, theirs].filter((text) => text !== "").join("  ·  ");
}

function shapeOf(state: string): string {
  return state.split(/[ -]/)[0] ?? "";
}

function current(view: RoomView, now: number): Face {
  const age = view.data_ms === null ? "no data time" : `data ${inTime(now - view.data_ms)} old`;
  const common = {
    ...NOTHING,
    age,
    feed: view.interval_s > 1 ? `data every ${inTime(1000 * view.interval_s)}` : "",
    words: view.words,
    caveats: view.caveats.join(" · "),
    simulated: view.simulated,
    tier: view.tier,
    tierWords: TIER_WORDS[view.tier] ?? "",
  };
  const suppressed = view.suppression === null ? "" : `SR ${view.suppression} %`;
  switch (view.kind) {
    case "index":
      return {
        ...common,
        form: "index",
        shape: shapeOf(view.state),
        headline: view.state,
        number: String(view.value),
        interval: `${view.low}–${view.high}`,
        label: "predicted depth index",
        scale: [view.value ?? 0, view.low ?? 0, view.high ?? 0],
      };
    case "device":
      return {
        ...common,
        form: "device",
        shape: "device",
        headline: suppressed === "" ? "device's own value" : `suppressed, ${suppressed}`,
        name: view.device?.name ?? "",
        number: String(view.device?.value ?? ""),
        label: `${view.device?.name ?? ""}, device`,
      };
    case "suppressed":
      return { ...common, form: "suppressed", shape: "suppressed", headline: `suppressed, ${suppressed}`, both: labelled(view.device, view.withheld) };
    default:
      return { ...common, form: "refusal", shape: "refusal", headline: "no number", both: labelled(view.device, view.withheld) };
  }
}

/** Return what the tile of a view says at the server's instant `now` (NaN: not known). */
export function faceOf(view: RoomView, now: number, trouble: Trouble): Face {
  // Ages count to the end of the running second, so that all of them change together, and none is too small.
  const until = 1000 * Math.ceil(now / 1000);
  if (trouble !== "") {
    return noData(view, until, "");
  }
  if (view.kind === "empty") {
    return noData(view, until, "nothing recorded yet");
  }
  if (view.data_ms !== null && view.data_ms - now > AHEAD_MS) {
    return noData(view, Number.NaN, "its time lies in the future");
  }
  // Written so that NaN is too old.
  return now <= view.expires_ms ? current(view, until) : noData(view, until, "");
}
