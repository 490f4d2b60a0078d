// The photos' cameras as pyramids of lines, and which of them lies under a pixel.
import { add, length, subtract } from './vectors.js';
import { lines } from './splats.js';

const COLOURS = [[0.95, 0.45, 0.1], [0.2, 0.6, 1], [0.3, 0.8, 0.35], [0.85, 0.35, 0.85], [0.95, 0.8, 0.2], [0.2, 0.8, 0.8]];

export const colourOf = (k) => COLOURS[k % COLOURS.length];

export class Frusta {
    constructor(engine, head) {
        this.engine = engine;
        this.parent = new engine.pc.Entity('cameras');
        engine.app.root.addChild(this.parent);
        const size = this.size(head);
        this.shapes = head.views.map((view, k) => (view.cam_to_world ? this.shape(view, k, size) : null));
    }

    /** How deep a pyramid is: small beside the scene, and beside the way between the cameras. */
    size(head) {
        const centers = head.views.filter((v) => v.cam_to_world).map((v) => v.cam_to_world.slice(0, 3).map((row) => row[3]));
        let gap = Infinity;
        centers.forEach((a, i) => centers.slice(i + 1).forEach((b) => { const d = length(subtract(a, b)); if (d > 0) gap = Math.min(gap, d); }));
        return Math.max(Math.min(head.radius * 0.15, gap * 0.6), head.radius * 0.02);
    }

    shape(view, k, size) {
        const m = view.cam_to_world, K = view.K;
        const world = (x, y, z) => [0, 1, 2].map((r) => m[r][0] * x + m[r][1] * y + m[r][2] * z + m[r][3]);
        const wide = Math.max(view.width / K[0][0], view.height / K[1][1]), z = Math.min(size / wide, 2 * size); // long lenses give no needles
        const corner = (u, v) => world((u - K[0][2]) / K[0][0] * z, (v - K[1][2]) / K[1][1] * z, z);
        const apex = world(0, 0, 0), { width: w, height: h } = view;
        const corners = [corner(0, 0), corner(w, 0), corner(w, h), corner(0, h)];
        const roof = [corner(w * 0.4, 0), corner(w * 0.5, -h * 0.15), corner(w * 0.6, 0)]; // shows where up is
        const pairs = [...corners.flatMap((c) => [apex, c]), ...corners.flatMap((c, i) => [c, corners[(i + 1) % 4]]), roof[0], roof[1], roof[1], roof[2]];
        const entity = lines(this.engine, view.name, pairs, colourOf(k));
        this.parent.addChild(entity);
        return { apex, corners, entity, size };
    }

    /** Shows them all but the one that the eye is in. */
    show(on, eye) {
        this.parent.enabled = on;
        for (const shape of this.shapes) if (shape) shape.entity.enabled = length(subtract(shape.apex, eye)) > shape.size * 0.5;
    }

    /** The number of the pyramid under the stage's pixel (x, y), the nearest one; -1 for none. */
    under(camera, x, y, reach = 9) {
        let best = -1, nearest = Infinity;
        this.shapes.forEach((shape, k) => {
            if (!shape?.entity.enabled || !this.parent.enabled) return;
            const at = [shape.apex, ...shape.corners].map((p) => camera.toStage(p));
            if (at.some((p) => p.z <= 0)) return;
            const middle = camera.toStage(shape.corners.reduce((sum, c) => add(sum, c, 0.25), [0, 0, 0]));
            const edges = [...at.slice(1).map((p) => [at[0], p]), ...at.slice(1).map((p, i) => [p, at[1 + (i + 1) % 4]])];
            const hit = edges.some(([a, b]) => gap(x, y, a, b) < reach) || Math.hypot(middle.x - x, middle.y - y) < reach;
            if (hit && at[0].z < nearest) { nearest = at[0].z; best = k; }
        });
        return best;
    }

    destroy() { this.parent.destroy(); }
}

/** Distance of (x, y) to the segment from a to b. */
function gap(x, y, a, b) {
    const dx = b.x - a.x, dy = b.y - a.y;
    const t = Math.max(0, Math.min(1, ((x - a.x) * dx + (y - a.y) * dy) / (dx * dx + dy * dy || 1)));
    return Math.hypot(a.x + t * dx - x, a.y + t * dy - y);
}
