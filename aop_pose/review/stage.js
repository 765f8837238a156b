// The picture with its points: drawing, zoom and pan, dragging, placing by a click, arrow keys.
// One SVG in pixels of the frame, the centre of the top-left pixel at (0, 0). Marks keep their size on the screen.

const SVG = "http://www.w3.org/2000/svg";
const CLICK = 4; // Pixels of the screen: a pointer that moved less has clicked.
const HIT = { mouse: 14, pen: 18, touch: 26 };
const RING = 9; // Radius of a mark in pixels of the screen.
const MOST_ZOOM = 24;

function made(kind, attributes = {}, parent = null) {
  const element = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent?.append(element);
  return element;
}

export class Stage {
  /** tell: {moving(name), moved(name, byKeys), selected(name)}: while a point moves, when it stands, when one is chosen. */
  constructor(svg, tell) {
    this.svg = svg;
    this.tell = tell;
    this.points = {};
    this.colours = {};
    this.lines = [];
    this.size = [1, 1];
    this.view = [0, 0, 1, 1];
    this.selected = null;
    this.armed = null; // The point that the next click places.
    this.pointers = new Map();
    this.drag = null;
    this.image = made("image", { x: -0.5, y: -0.5 }, svg);
    this.outlines = made("g", { class: "outlines", "aria-hidden": "true" }, svg);
    this.ghosts = made("g", { class: "ghosts", "aria-hidden": "true" }, svg);
    this.joints = made("g", { class: "joints", "aria-hidden": "true" }, svg);
    this.marks = made("g", { class: "marks" }, svg);
    svg.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    svg.addEventListener("pointerdown", (event) => this.#down(event));
    svg.addEventListener("pointermove", (event) => this.#move(event));
    svg.addEventListener("pointerup", (event) => this.#up(event));
    svg.addEventListener("pointercancel", (event) => this.#cancel(event));
    svg.addEventListener("dblclick", () => this.fit());
    new ResizeObserver(() => this.#look()).observe(svg);
  }

  /** What the points are called, how they are joined and coloured; once. */
  begin(names, lines, colours) {
    this.names = names;
    this.lines = lines;
    names.forEach((name, place) => (this.colours[name] = colours[place]));
    this.marks.replaceChildren();
    this.handles = {};
    for (const name of names) {
      const group = made("g", { tabindex: 0, role: "button", "data-point": name, class: "mark" }, this.marks);
      made("circle", { class: "hit" }, group);
      made("circle", { class: "halo" }, group);
      made("circle", { class: "ring", stroke: this.colours[name] }, group);
      made("circle", { class: "dot", fill: this.colours[name] }, group);
      made("text", {}, group).textContent = name;
      group.addEventListener("focus", () => this.select(name));
      this.handles[name] = group;
    }
    this.joined = lines.map(() => made("line", {}, this.joints));
  }

  /** A frame: its picture's address and size, its points (kept, and changed in place) and its outlines. */
  show(address, size, points, outlines) {
    this.#forget();
    this.size = size;
    this.points = points;
    this.ghosts.replaceChildren();
    this.outlines.replaceChildren();
    for (const contour of Object.values(outlines))
      made("polygon", { points: contour.map((at) => at.join(",")).join(" ") }, this.outlines);
    this.image.setAttribute("width", size[0]);
    this.image.setAttribute("height", size[1]);
    if (address) this.image.setAttribute("href", address);
    else this.image.removeAttribute("href");
    this.selected = null;
    this.armed = this.names.find((name) => !points[name]) ?? null;
    this.fit();
  }

  /** Points of somebody else, dashed and not to be moved; name in words. */
  ghost(name, points) {
    const below = 22 + 17 * this.ghosts.childElementCount;
    const group = made("g", {}, this.ghosts);
    for (const [from, to] of this.lines)
      if (points[from] && points[to])
        made("line", { x1: points[from][0], y1: points[from][1], x2: points[to][0], y2: points[to][1] }, group);
    const places = Object.values(points).filter(Boolean);
    for (const at of places) made("circle", { cx: at[0], cy: at[1], class: "ghost" }, group);
    const last = places.at(-1);
    if (last) {
      const text = made("text", { x: last[0], y: last[1], "data-dy": below }, group);
      text.textContent = name;
    }
    this.draw();
  }

  clearGhosts() {
    this.ghosts.replaceChildren();
  }

  /** Choose a point: arrow keys move it, and with ``arm`` the next click places it. */
  select(name, arm = false) {
    this.selected = name;
    if (arm || name === null) this.armed = name;
    this.draw();
    this.tell.selected(name);
  }

  /** Move the chosen point by pixels of the frame. */
  nudge(x, y) {
    const name = this.selected;
    if (!name || !this.points[name]) return;
    this.#put(name, [this.points[name][0] + x, this.points[name][1] + y]);
    this.tell.moved(name, true);
  }

  // --- where things are ---

  get unit() {
    const box = this.svg.getBoundingClientRect();
    return Math.max(this.view[2] / box.width, this.view[3] / box.height) || 1;
  }

  #at(event) {
    const box = this.svg.getBoundingClientRect();
    const unit = this.unit;
    const [x, y, width, height] = this.view;
    return [
      x + width / 2 + (event.clientX - box.left - box.width / 2) * unit,
      y + height / 2 + (event.clientY - box.top - box.height / 2) * unit,
    ];
  }

  fit() {
    this.view = [-0.5, -0.5, ...this.size];
    this.#look();
  }

  /** Zoom by a factor, the place [x, y] of the frame staying where it is. */
  zoom(factor, place = [this.view[0] + this.view[2] / 2, this.view[1] + this.view[3] / 2]) {
    const now = this.size[0] / this.view[2];
    const then = Math.min(Math.max(now * factor, 1), MOST_ZOOM);
    const by = now / then;
    this.view = [
      place[0] - (place[0] - this.view[0]) * by,
      place[1] - (place[1] - this.view[1]) * by,
      this.view[2] * by,
      this.view[3] * by,
    ];
    this.#look();
  }

  #look() {
    for (const axis of [0, 1]) {
      const most = this.size[axis] - 0.5 - this.view[axis + 2];
      this.view[axis] = Math.min(Math.max(this.view[axis], -0.5), Math.max(most, -0.5));
    }
    this.svg.setAttribute("viewBox", this.view.join(" "));
    this.image.classList.toggle("pixels", this.unit < 0.25);
    this.draw();
  }

  #put(name, at) {
    const inside = (value, axis) => Math.min(Math.max(value, -0.5), this.size[axis] - 0.5);
    this.points[name] = at.map((value, axis) => Math.round(inside(value, axis) * 100) / 100);
    this.draw();
  }

  draw() {
    if (!this.names) return;
    const unit = this.unit;
    for (const name of this.names) {
      const at = this.points[name];
      const handle = this.handles[name];
      handle.style.display = at ? "" : "none";
      if (!at) continue;
      handle.setAttribute("transform", `translate(${at[0]} ${at[1]}) scale(${unit})`);
      handle.classList.toggle("selected", name === this.selected);
      handle.setAttribute("aria-label", `${name}, x ${at[0].toFixed(1)}, y ${at[1].toFixed(1)}; arrow keys move it`);
      const [hit, halo, ring, dot, text] = handle.children;
      hit.setAttribute("r", 22);
      halo.setAttribute("r", RING);
      ring.setAttribute("r", RING);
      dot.setAttribute("r", 1.6);
      const right = at[0] > this.view[0] + this.view[2] - 60 * unit;
      text.setAttribute("x", right ? -14 : 14);
      text.setAttribute("y", at[1] < this.view[1] + 24 * unit ? 18 : -10);
      text.setAttribute("text-anchor", right ? "end" : "start");
    }
    this.lines.forEach(([from, to], place) => {
      const [a, b] = [this.points[from], this.points[to]];
      const line = this.joined[place];
      const far = a && b ? Math.hypot(b[0] - a[0], b[1] - a[1]) : 0;
      // It ends at the rings, so that what lies under a point can be seen.
      const free = RING * unit;
      line.style.display = far > 2 * free ? "" : "none";
      if (far <= 2 * free) return;
      const step = [((b[0] - a[0]) / far) * free, ((b[1] - a[1]) / far) * free];
      const ends = { x1: a[0] + step[0], y1: a[1] + step[1], x2: b[0] - step[0], y2: b[1] - step[1] };
      for (const [key, value] of Object.entries(ends)) line.setAttribute(key, value);
    });
    for (const circle of this.ghosts.querySelectorAll("circle")) circle.setAttribute("r", 6 * unit);
    for (const text of this.ghosts.querySelectorAll("text")) {
      text.style.fontSize = `${13 * unit}px`;
      text.setAttribute("dy", Number(text.dataset.dy) * unit);
    }
    this.svg.classList.toggle("placing", this.armed !== null);
  }

  // --- pointers ---

  #nearest(event) {
    const reach = (HIT[event.pointerType] ?? HIT.mouse) * this.unit;
    const at = this.#at(event);
    let [found, least] = [null, reach];
    for (const name of this.names) {
      const point = this.points[name];
      const far = point ? Math.hypot(point[0] - at[0], point[1] - at[1]) : Infinity;
      if (far <= least) [found, least] = [name, far];
    }
    return found;
  }

  #down(event) {
    if (event.button > 1 || !this.size[0]) return;
    event.preventDefault();
    this.svg.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.pointers.size > 1) {
      this.#putBack();
      this.drag = { kind: "pinch" };
      return;
    }
    const start = { x: event.clientX, y: event.clientY, at: this.#at(event), view: [...this.view], far: 0 };
    const name = event.button === 0 ? this.#nearest(event) : null;
    if (name && this.armed !== name) {
      // Focus would scroll the page on a small screen.
      this.handles[name].focus({ preventScroll: true });
      this.select(name);
      this.drag = { kind: "point", name, before: [...this.points[name]], ...start };
    } else this.drag = { kind: "view", ...start };
  }

  #move(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last || !this.drag) return;
    if (this.drag.kind === "pinch") {
      this.#pinch(event);
      return;
    }
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    const { kind, name, before, at, x, y, view } = this.drag;
    this.drag.far = Math.max(this.drag.far, Math.hypot(event.clientX - x, event.clientY - y));
    if (kind === "point") {
      if (this.drag.far < 1) return;
      const now = this.#at(event);
      this.#put(name, [before[0] + now[0] - at[0], before[1] + now[1] - at[1]]);
      this.tell.moving(name);
    } else if (this.drag.far >= CLICK) {
      const unit = this.unit;
      this.view = [view[0] - (event.clientX - x) * unit, view[1] - (event.clientY - y) * unit, view[2], view[3]];
      this.#look();
    }
  }

  #pinch(event) {
    const before = [...this.pointers.values()];
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    const after = [...this.pointers.values()];
    if (after.length !== 2) return;
    const apart = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]);
    const middle = ([a, b]) => ({ clientX: (a[0] + b[0]) / 2, clientY: (a[1] + b[1]) / 2 });
    const [was, now] = [this.#at(middle(before)), this.#at(middle(after))];
    this.view[0] -= now[0] - was[0];
    this.view[1] -= now[1] - was[1];
    this.zoom(apart(after) / Math.max(apart(before), 1), this.#at(middle(after)));
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const drag = this.drag;
    if (this.pointers.size) return;
    this.drag = null;
    if (!drag || drag.kind === "pinch") return;
    if (drag.kind === "point") {
      const at = this.points[drag.name];
      if (at[0] !== drag.before[0] || at[1] !== drag.before[1]) this.tell.moved(drag.name);
    } else if (drag.far < CLICK && this.armed && event.button === 0) this.#place(this.#at(event));
  }

  #place(at) {
    const name = this.armed;
    this.#put(name, at);
    this.armed = this.names.find((other) => !this.points[other]) ?? null;
    this.selected = name;
    this.handles[name].focus({ preventScroll: true });
    this.draw();
    this.tell.moved(name);
  }

  #putBack() {
    if (this.drag?.kind === "point") {
      this.#put(this.drag.name, this.drag.before);
      this.tell.moving(this.drag.name);
    }
  }

  #cancel(event) {
    this.pointers.delete(event.pointerId);
    this.#putBack();
    this.drag = null;
  }

  #forget() {
    this.pointers.clear();
    this.drag = null;
  }

  #wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), this.#at(event));
  }
}
