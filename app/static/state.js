// What the view shows: one object, changed only through set(), which tells everybody.

export const DEFAULTS = {
    mode: 'splats', // splats, points, mesh, or frusta: nothing but the cameras
    confidence: 0, // so large a share of the splats, the least sure, is hidden
    opacity: 1,
    view: -1, // only what this photo gave; -1 for all
    pointSize: 2, // CSS pixels
    cameras: true, // also in the other modes
    measure: false,
};
const RANGES = { confidence: [0, 1], opacity: [0, 1], pointSize: [1, 12] };
const MODES = ['splats', 'points', 'mesh', 'frusta'];

export class State {
    constructor() {
        this.values = { ...DEFAULTS };
        this.listeners = [];
    }

    on(listener) { this.listeners.push(listener); }

    /** Takes what is allowed, in its range; other keys and values are left out. */
    set(changes) {
        const next = { ...this.values };
        for (const [key, value] of Object.entries(changes)) {
            if (RANGES[key] && Number.isFinite(Number(value))) next[key] = Math.max(RANGES[key][0], Math.min(RANGES[key][1], Number(value)));
            else if (key === 'mode' && MODES.includes(value)) next.mode = value;
            else if (key === 'view') next.view = Number.isInteger(value) && value >= 0 ? value : -1;
            else if (key === 'cameras' || key === 'measure') next[key] = Boolean(value);
        }
        this.values = next;
        for (const listener of this.listeners) listener(next);
    }
}
