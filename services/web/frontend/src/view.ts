// What the server says: the forms of its messages. Instants are milliseconds since 1970 UTC, of the server's clock.

export type Kind = "empty" | "index" | "device" | "suppressed" | "refusal";

export interface DeviceValue {
  readonly name: string;
  readonly value: number;
  readonly observed_ms: number;
}

export interface RoomView {
  readonly bed: string;
  readonly kind: Kind;
  readonly tier: string;
  readonly simulated: boolean;
  readonly second: number;
  readonly value: number | null;
  readonly low: number | null;
  readonly high: number | null;
  readonly state: string;
  readonly words: string;
  readonly caveats: readonly string[];
  readonly suppression: number | null;
  readonly device: DeviceValue | null;
  readonly withheld: number | null;
  readonly data_ms: number | null;
  readonly expires_ms: number;
  readonly interval_s: number;
}

/** Second, tier, value, low, high. */
export type Point = readonly [number, string, number, number, number];

export interface Beat {
  readonly now_ms: number;
  readonly feed_ms: number;
  readonly unrecorded: readonly string[];
}

export interface Whole extends Beat {
  readonly site: string;
  readonly mode: string;
  readonly rooms: readonly RoomView[];
}

export interface Changes extends Beat {
  readonly rooms: readonly RoomView[];
  readonly points: Readonly<Record<string, readonly Point[]>>;
}

/** Scored seconds of one tier without a gap, from the past. */
export interface Run {
  readonly tier: string;
  readonly start: number;
  readonly values: readonly number[];
  readonly lows: readonly number[];
  readonly highs: readonly number[];
}
