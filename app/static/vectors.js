// Arithmetic on places and directions, arrays of three numbers.

export const add = (a, b, k = 1) => [a[0] + b[0] * k, a[1] + b[1] * k, a[2] + b[2] * k];
export const subtract = (a, b) => add(a, b, -1);
export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
export const length = (a) => Math.hypot(a[0], a[1], a[2]);
export const unit = (a) => { const n = length(a) || 1; return [a[0] / n, a[1] / n, a[2] / n]; };
export const mix = (a, b, t) => add(a, subtract(b, a), t);

/** `a` turned around the unit axis `k` by `angle` (Rodrigues). */
export function turn(a, k, angle) {
    const c = Math.cos(angle), s = Math.sin(angle), across = cross(k, a), along = dot(k, a) * (1 - c);
    return [0, 1, 2].map((i) => a[i] * c + across[i] * s + k[i] * along);
}

/** Axis and angle of the rotation that takes the axes [right, down, forward] `from` to `to`. */
export function turnBetween(from, to) {
    const m = [0, 1, 2].map((r) => [0, 1, 2].map((c) => from.reduce((sum, axis, i) => sum + to[i][r] * axis[c], 0)));
    const angle = Math.acos(Math.max(-1, Math.min(1, (m[0][0] + m[1][1] + m[2][2] - 1) / 2)));
    const axis = [m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]];
    if (length(axis) > 1e-6) return { axis: unit(axis), angle };
    if (angle < 1) return { axis: [0, 1, 0], angle: 0 };
    const k = [0, 1, 2].reduce((best, i) => (m[i][i] > m[best][best] ? i : best), 0); // half a turn: a column of (m + 1) / 2
    return { axis: unit([0, 1, 2].map((r) => m[r][k] + (r === k ? 1 : 0))), angle };
}
