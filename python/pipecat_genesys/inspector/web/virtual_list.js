// @ts-check
/**
 * A list of any length whose rows have the same height. Only rows near the visible part are in the
 * document. The rows are reused for other items while the list scrolls.
 */

/**
 * Creates an element.
 *
 * @param {string} tag
 * @param {string} [className]
 * @param {string} [text]
 * @returns {HTMLElement}
 */
export function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

/** Number of rows above and below the visible part that are kept in the document. */
const OVERSCAN = 8;

export class VirtualList {
  /**
   * @param {HTMLElement} viewport  The element that scrolls.
   * @param {number} rowHeight  Height of a row in CSS pixels.
   * @param {() => HTMLElement} createRow
   * @param {(row: HTMLElement, index: number) => void} fillRow  Shows an item in a row.
   */
  constructor(viewport, rowHeight, createRow, fillRow) {
    this.viewport = viewport;
    this.rowHeight = rowHeight;
    this._createRow = createRow;
    this._fillRow = fillRow;
    this._length = 0;
    /** @type {{row: HTMLElement, index: number, stale: boolean}[]} */
    this._rows = [];
    this._frame = 0;
    this._canvas = element("div", "virtual-canvas");
    this._canvas.setAttribute("role", "presentation");
    viewport.replaceChildren(this._canvas);
    viewport.addEventListener("scroll", () => this._schedule(), { passive: true });
    new ResizeObserver(() => this._schedule()).observe(viewport);
  }

  /**
   * Fills all rows again. A row keeps its position, because the pointer may be over it.
   *
   * @param {number} length  The number of items.
   */
  update(length) {
    this._length = length;
    this._canvas.style.height = `${length * this.rowHeight}px`;
    for (const slot of this._rows) slot.stale = true;
    this._schedule();
  }

  /** Fills the rows in the document again, for instance after a selection. */
  refresh() {
    for (const { row, index } of this._rows) if (index >= 0) this._fillRow(row, index);
  }

  /** @returns {boolean} Whether the end of the list is visible. */
  get atEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.viewport;
    return scrollTop + clientHeight >= scrollHeight - 2 * this.rowHeight;
  }

  /** Scrolls as far as needed to show an item. @param {number} index @param {boolean} [centre] */
  reveal(index, centre = false) {
    const top = index * this.rowHeight;
    const { scrollTop, clientHeight } = this.viewport;
    if (centre && (top < scrollTop || top + this.rowHeight > scrollTop + clientHeight)) {
      this.viewport.scrollTop = top - clientHeight / 2;
    } else if (top < scrollTop) {
      this.viewport.scrollTop = top;
    } else if (top + this.rowHeight > scrollTop + clientHeight) {
      this.viewport.scrollTop = top + this.rowHeight - clientHeight;
    }
    this._schedule();
  }

  _schedule() {
    if (!this._frame) this._frame = requestAnimationFrame(() => this._render());
  }

  _render() {
    this._frame = 0;
    const { scrollTop, clientHeight } = this.viewport;
    const first = Math.max(0, Math.floor(scrollTop / this.rowHeight) - OVERSCAN);
    const last = Math.min(this._length, Math.ceil((scrollTop + clientHeight) / this.rowHeight) + OVERSCAN);
    const wanted = new Set();
    for (let index = first; index < last; index++) wanted.add(index);
    const free = [];
    for (const slot of this._rows) {
      if (!wanted.delete(slot.index)) {
        free.push(slot);
      } else if (slot.stale) {
        slot.stale = false;
        this._fillRow(slot.row, slot.index);
      }
    }
    for (const index of wanted) {
      let slot = free.pop();
      if (!slot) {
        slot = { row: this._createRow(), index: -1, stale: false };
        this._rows.push(slot);
        this._canvas.append(slot.row);
      }
      slot.index = index;
      slot.stale = false;
      slot.row.hidden = false;
      slot.row.style.transform = `translateY(${index * this.rowHeight}px)`;
      this._fillRow(slot.row, index);
    }
    for (const slot of free) {
      slot.index = -1;
      slot.row.hidden = true;
    }
  }
}
