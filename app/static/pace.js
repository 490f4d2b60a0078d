// Keeps a moving view fluent: while it moves and frames are slow, an even sample of the splats, somewhat larger, stands for all of them.

const SLOW_MS = 70, FAST_MS = 25, REST_MS = 250, LEAST = 20000, SOFTWARE_START = 40000;

export class Pace {
    constructor(engine) {
        this.engine = engine;
        this.budget = engine.software ? SOFTWARE_START : Infinity; // no graphics card: begin small
        this.timer = 0;
        this.last = 0;
        engine.app.on('postrender', () => this.measure());
    }

    measure() {
        const now = performance.now(), took = now - this.last;
        this.last = now;
        if (!this.timer || !this.splats) return;
        if (took > SLOW_MS) this.budget = Math.max(LEAST, Math.min(this.budget, this.splats.store.count) * Math.max(0.1, 45 / took));
        else if (took < FAST_MS) this.budget *= 1.3;
    }

    /** A hand moves the view now. */
    moving() {
        if (!this.splats) return;
        if (!this.timer) this.last = performance.now(); // the pause before does not count
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.rest(), REST_MS);
        this.splats.thin(Math.min(this.splats.store.count, Math.round(this.budget)));
    }

    rest() {
        clearTimeout(this.timer);
        this.timer = 0;
        this.splats?.thin(this.splats.store.count);
        this.engine.draw();
    }

    /** Whether a sample stands for the scene just now. */
    get thinned() { return this.timer !== 0; }

    stop() { clearTimeout(this.timer); this.timer = 0; this.splats = null; }
}
