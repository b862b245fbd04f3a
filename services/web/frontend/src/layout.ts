// How many columns make the tiles of a wall largest. Pure.

const SHAPE = 1.45; // width to height of a tile that reads well
const LEAST_HEIGHT = 150;
const NARROW = 620;

export interface Layout {
  readonly columns: number;
  /** Whether the rows share the height of the screen; else the page scrolls. */
  readonly fills: boolean;
}

export function layoutOf(rooms: number, width: number, height: number): Layout {
  if (width < NARROW) {
    return { columns: rooms > 8 && width > 420 ? 2 : 1, fills: false };
  }
  let best = { columns: 1, size: 0, height: 0 };
  for (let columns = 1; columns <= rooms; columns += 1) {
    const tall = height / Math.ceil(rooms / columns);
    const size = Math.min(width / columns / SHAPE, tall);
    if (size > best.size) {
      best = { columns, size, height: tall };
    }
  }
  if (best.height >= LEAST_HEIGHT) {
    return { columns: best.columns, fills: true };
  }
  return { columns: Math.max(1, Math.floor(width / 230)), fills: false };
}
