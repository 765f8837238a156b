// What is measured on the points, as aop_pose.geometry has it: tests hold both against one table.
// Points are {name: [x, y] or null} in pixels, x to the right, y down; scale is [x, y] in mm per pixel or null.

const LARGEST_TURN = 225;
const SQUARE_WITHIN = 0.01;
const degrees = (radians) => (radians * 180) / Math.PI;
const minus = (a, b) => [a[0] - b[0], a[1] - b[1]];
const cross = (a, b) => a[0] * b[1] - a[1] * b[0];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1];
const scaled = (point, scale) => (point && scale ? [point[0] * scale[0], point[1] * scale[1]] : point);

/** Angle at PS1 between the rays to PS2 and FH1, 0 to 180 degrees; NaN where it does not exist. */
export function angleOfProgression(ps1, ps2, fh1) {
  if (!ps1 || !ps2 || !fh1) return NaN;
  const a = minus(ps2, ps1);
  const b = minus(fh1, ps1);
  const [across, along] = [cross(a, b), dot(a, b)];
  return across === 0 && along === 0 ? NaN : degrees(Math.atan2(Math.abs(across), along));
}

/** The turn at PS1 through the depth of the picture, 0 to 225, and whether FH1 lies beyond that. */
export function turnOfProgression(ps1, ps2, fh1) {
  const a = minus(ps2, ps1);
  const b = minus(fh1, ps1);
  const side = a[0] === 0 ? Math.sign(cross(a, b)) : Math.sign(a[0]);
  const turn = (degrees(Math.atan2(side * cross(a, b), dot(a, b))) + 360) % 360;
  return turn > LARGEST_TURN ? { turn: 360 - turn, beyond: true } : { turn, beyond: false };
}

/** Distance of two points; NaN where one is missing, and for two in one place. */
export function length(a, b) {
  const found = a && b ? Math.hypot(...minus(a, b)) : NaN;
  return found > 0 ? found : NaN;
}

export const headCircumference = (bpd, ofd) => (Math.PI * (bpd + ofd)) / 2;

export function ramanujanPerimeter(bpd, ofd) {
  const h = ((ofd - bpd) / (ofd + bpd)) ** 2;
  return ((Math.PI * (ofd + bpd)) / 2) * (1 + (3 * h) / (10 + Math.sqrt(4 - 3 * h)));
}

/** Every quantity of a schema that its points give, by column: {aop_deg: 121.3}. */
export function measure(schema, points, scale) {
  const at = (by) => (name) => scaled(points[name], by);
  const found = {};
  if (schema === "aop") {
    const point = at(scale);
    found.aop_deg = angleOfProgression(point("PS1"), point("PS2"), point("FH1"));
  } else if (schema === "head") {
    const square = !scale || Math.abs(scale[1] / scale[0] - 1) <= SQUARE_WITHIN;
    for (const [unit, by] of [["px", null], ["mm", scale]]) {
      if (unit === "px" ? !square : !scale) continue;
      const point = at(by);
      const ofd = length(point("OFD1"), point("OFD2"));
      const bpd = length(point("BPD1"), point("BPD2"));
      found[`ofd_${unit}`] = ofd;
      found[`bpd_${unit}`] = bpd;
      found[`hc_${unit}`] = headCircumference(bpd, ofd);
      if (unit === "mm") found.hc_ramanujan_mm = ramanujanPerimeter(bpd, ofd);
    }
  }
  return Object.fromEntries(Object.entries(found).filter(([, value]) => Number.isFinite(value)));
}

/** Why points cannot well be what they are named, in words for a person; nothing where they may be, or one is missing.
 *
 * The 300 labels of PSFHS that may be looked at have angles of 60 to 178 degrees and FH1 at 0.40 to 2.5 times the length
 * of the symphysis from PS1: the bounds lie well outside.
 */
export function implausible(schema, points, scale, size) {
  const names = Object.keys(points).filter((name) => points[name]);
  for (const name of names) {
    const [x, y] = points[name];
    if (x < -0.5 || y < -0.5 || x > size[0] - 0.5 || y > size[1] - 0.5) return `${name} lies outside the picture`;
  }
  for (const [place, name] of names.entries())
    for (const other of names.slice(0, place))
      if (Math.hypot(...minus(points[name], points[other])) < 2) return `${other} and ${name} lie in one place`;
  if (names.length < Object.keys(points).length) return "";
  const point = (name) => scaled(points[name], scale);
  if (schema === "aop") return implausibleAop(point("PS1"), point("PS2"), point("FH1"));
  if (schema === "head") return implausibleAxes(point("OFD1"), point("OFD2"), point("BPD1"), point("BPD2"));
  return "";
}

function implausibleAop(ps1, ps2, fh1) {
  const { turn, beyond } = turnOfProgression(ps1, ps2, fh1);
  const ratio = length(ps1, fh1) / length(ps1, ps2);
  if (beyond) return "FH1 lies above the symphysis: are PS1 and PS2 exchanged, or is the frame turned?";
  if (turn < 50) return `the angle is ${turn.toFixed(0)}°, expected at least 50°: are PS1 and PS2 exchanged?`;
  if (ratio < 0.3) return `FH1 is at ${ratio.toFixed(2)} symphysis lengths from PS1, expected at least 0.3`;
  if (ratio > 3) return `FH1 is at ${ratio.toFixed(1)} symphysis lengths from PS1, expected at most 3`;
  return "";
}

/** As geometry.implausible_axes. */
export function implausibleAxes(ofd1, ofd2, bpd1, bpd2) {
  const ofd = minus(ofd2, ofd1);
  const bpd = minus(bpd2, bpd1);
  const between = minus(bpd1, ofd1);
  const ratio = Math.hypot(...bpd) / Math.hypot(...ofd);
  const crossed = cross(ofd, bpd);
  const angle = degrees(Math.atan2(Math.abs(crossed), Math.abs(dot(ofd, bpd))));
  const places = [cross(between, bpd) / crossed, cross(between, ofd) / crossed];
  if (!Number.isFinite(ratio) || ratio <= 0) return "";
  if (angle < 60) return `OFD and BPD enclose ${angle.toFixed(0)} degrees, expected at least 60`;
  if (!places.every((place) => Math.abs(place - 0.5) <= 0.25)) return "OFD and BPD do not cross in the middle half of each";
  if (ratio > 1) return `BPD is longer than OFD (${ratio.toFixed(3)} times)`;
  if (ratio < 0.5) return `BPD is ${ratio.toFixed(3)} of OFD, expected at least 0.5`;
  return "";
}
