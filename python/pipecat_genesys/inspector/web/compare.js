// @ts-check
/** A recorded call and its replay, side by side. */

import { element, VirtualList } from "./virtual_list.js";
import { formatTime } from "./ladder.js";

/** @typedef {import("./source.js").DiffRow} DiffRow */
/** @typedef {import("./source.js").Entry} Entry */

const PAIR_HEIGHT = 26;

export class Comparison {
  /**
   * @param {{viewport: HTMLElement, only: HTMLInputElement, count: HTMLElement, detail: HTMLElement}} parts
   */
  constructor(parts) {
    this._parts = parts;
    /** @type {DiffRow[]} */
    this._rows = [];
    /** @type {DiffRow[]} */
    this._shown = [];
    this._selected = -1;
    this.list = new VirtualList(parts.viewport, PAIR_HEIGHT, createPair, (row, at) => this._fill(row, at));
    parts.only.addEventListener("change", () => this._filter());
    parts.viewport.addEventListener("click", (event) => {
      const row = /** @type {HTMLElement} */ (event.target).closest("[data-at]");
      if (row instanceof HTMLElement) this._select(Number(row.dataset.at));
    });
    parts.viewport.addEventListener("keydown", (event) => {
      const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
      if (!step || this._shown.length === 0) return;
      event.preventDefault();
      event.stopPropagation();
      this._select(Math.max(0, Math.min(this._shown.length - 1, this._selected + step)));
    });
  }

  /** @param {DiffRow[]} rows */
  show(rows) {
    this._rows = rows;
    this._filter();
    const first = this._shown.findIndex((row) => !row.same);
    if (first >= 0) this._select(first);
  }

  _filter() {
    const { only, count, detail, viewport } = this._parts;
    const different = this._rows.filter((row) => !row.same);
    this._shown = only.checked ? different : this._rows;
    this._selected = -1;
    detail.replaceChildren();
    const total = this._rows.length.toLocaleString("en");
    count.textContent = different.length
      ? `${different.length.toLocaleString("en")} of ${total} messages differ`
      : `${total} messages, no difference`;
    viewport.setAttribute("aria-rowcount", String(this._shown.length));
    this.list.update(this._shown.length);
  }

  /** @param {number} at */
  _select(at) {
    const row = this._shown[at];
    if (!row) return;
    this._selected = at;
    this.list.reveal(at);
    this.list.refresh();
    this._parts.viewport.setAttribute("aria-activedescendant", `pair-${at}`);
    const { detail } = this._parts;
    const nodes = [];
    if (row.same) nodes.push(element("p", "hint", "No difference."));
    else if (row.paths.length) {
      const list = element("ul", "paths");
      for (const path of row.paths.slice(0, 100)) list.append(element("li", "", path));
      nodes.push(element("p", "hint", "Different values:"), list);
    }
    const pair = element("div", "pair-json");
    pair.append(side("Recorded", row.a), side("Replayed", row.b));
    detail.replaceChildren(...nodes, pair);
  }

  /** @param {HTMLElement} node @param {number} at */
  _fill(node, at) {
    const row = this._shown[at];
    if (!row) return;
    node.id = `pair-${at}`;
    node.dataset.at = String(at);
    node.className = `row pair ${row.same ? "" : "different"} ${at === this._selected ? "selected" : ""}`;
    node.setAttribute("aria-rowindex", String(at + 1));
    node.setAttribute("aria-selected", String(at === this._selected));
    const cells = [...node.children];
    [row.a, row.b].forEach((entry, i) => {
      const [time, direction, type] = cells.slice(3 * i, 3 * i + 3);
      if (!time || !direction || !type) return;
      time.textContent = entry ? formatTime(entry.at) : "";
      direction.textContent = entry ? (entry.dir === "to_server" ? "→" : "←") : "";
      type.textContent = entry ? entry.type : "missing";
      type.classList.toggle("missing", !entry);
    });
  }
}

/** @returns {HTMLElement} */
function createPair() {
  const row = element("div", "row pair");
  row.setAttribute("role", "row");
  for (const name of ["time", "direction", "type", "time", "direction", "type"]) {
    const cell = element("span", `cell-${name}`);
    cell.setAttribute("role", "gridcell");
    row.append(cell);
  }
  return row;
}

/** @param {string} title @param {Entry|null} entry @returns {HTMLElement} */
function side(title, entry) {
  const box = element("div");
  const text = entry ? (entry.json ? JSON.stringify(entry.json, null, 2) : (entry.text ?? entry.type)) : "missing";
  const pre = element("pre", "", text.slice(0, 50_000));
  pre.tabIndex = 0;
  box.append(element("h3", "", title), pre);
  return box;
}
