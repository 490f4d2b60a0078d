// What lies under a pixel: the nearest splat that is shown there, on the centres that are in memory anyway.
import { UNKNOWN_VIEW } from './splat_store.js';

const SOLID = 0.25; // fainter splats are not picked
const THICK = 1.02; // of two places in one direction the nearer to the pixel wins, unless it is this much farther

/** [x, y, z] on the ray through the stage's pixel (x, y), as deep as the splat that is seen there, or null; of what the state shows. */
export function pick(store, camera, { confidence, view }, x, y, radius = 7) {
    const [r, d, f] = camera.axes, p = camera.position, { fx, fy, cx, cy } = camera.stageLens();
    const { centers } = store, near = camera.near();
    let nearest = Infinity;
    const found = [];
    for (let i = 0, at = 0; i < store.count; i++, at += 3) {
        const X = centers[at] - p[0], Y = centers[at + 1] - p[1], Z = centers[at + 2] - p[2];
        const z = f[0] * X + f[1] * Y + f[2] * Z;
        if (z <= near || z > nearest * THICK) continue;
        const dx = fx * (r[0] * X + r[1] * Y + r[2] * Z) / z + cx - x;
        if (dx > radius || dx < -radius) continue;
        const dy = fy * (d[0] * X + d[1] * Y + d[2] * Z) / z + cy - y;
        if (dy > radius || dy < -radius) continue;
        if (store.rank(i) < confidence || store.opacity(i) < SOLID) continue;
        if (view >= 0 && store.view(i) !== view && store.view(i) !== UNKNOWN_VIEW) continue;
        if (z < nearest) nearest = z;
        found.push([dx * dx + dy * dy, z, i]);
    }
    let best = null;
    for (const one of found) if (one[1] <= nearest * THICK && (!best || one[0] < best[0])) best = one;
    if (!best) return null;
    const [a, b, z] = [(x - cx) / fx, (y - cy) / fy, best[1]];
    return [0, 1, 2].map((i) => p[i] + z * (a * r[i] + b * d[i] + f[i]));
}
