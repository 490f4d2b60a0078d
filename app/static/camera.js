// The camera: a place, three axes and a lens, in OpenCV's axes and in the scene's units, exactly as the cameras of the photos.
import { add, cross, dot, length, mix, subtract, turn, turnBetween, unit } from './vectors.js';

const STEEPEST = 0.02; // radians that a turn keeps from looking straight along up
const FLIGHT_MS = 450;

export class Camera {
    /** `onMove` is called after every change, with whether a hand did it. */
    constructor(engine, onMove) {
        this.engine = engine;
        this.onMove = onMove;
        this.width = this.height = 1; // of the stage, CSS pixels
        this.up = [0, -1, 0]; // of the scene
        this.reach = 1; // the scene's radius
        this.position = [0, 0, 0];
        this.axes = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]; // right, down, forward
        this.distance = 1; // to what the view turns around
        this.lens = { fx: 1, fy: 1, cx: 0.5, cy: 0.5, width: 1, height: 1 }; // of the photo that fills the stage
        this.view = null; // the photo whose own camera this is
        this.flight = null;
        engine.eye.camera.calculateProjection = (matrix) => this.project(matrix);
    }

    get target() { return add(this.position, this.axes[2], this.distance); }

    /** The lens in pixels of the stage: the whole photo is in the picture, in its middle. */
    stageLens() {
        const { fx, fy, cx, cy, width, height } = this.lens;
        const s = Math.min(this.width / width, this.height / height);
        return { fx: fx * s, fy: fy * s, cx: this.width / 2 + (cx - width / 2) * s, cy: this.height / 2 + (cy - height / 2) * s };
    }

    /** Where the photo lies on the stage: left, top, width, height. */
    frame() {
        const s = Math.min(this.width / this.lens.width, this.height / this.lens.height);
        const [w, h] = [this.lens.width * s, this.lens.height * s];
        return { left: (this.width - w) / 2, top: (this.height - h) / 2, width: w, height: h };
    }

    project(matrix) {
        const { fx, fy, cx, cy } = this.stageLens();
        const near = this.near();
        const sides = [-cx / fx, (this.width - cx) / fx, (cy - this.height) / fy, cy / fy]; // left, right, bottom, top
        matrix.setFrustum(...sides.map((v) => v * near), near, this.far());
    }

    near() { return Math.max(this.distance * 0.005, 1e-6); }

    far() { return this.distance * 100 + this.reach * 10; }

    /** Stage pixels and depth (z) of a place; depth <= 0 is behind. */
    toStage(place) {
        const d = subtract(place, this.position), [x, y, z] = this.axes.map((axis) => dot(axis, d));
        const { fx, fy, cx, cy } = this.stageLens();
        return { x: fx * x / z + cx, y: fy * y / z + cy, z };
    }

    resize(width, height) {
        this.width = width;
        this.height = height;
        this.apply(false);
    }

    /** Gives the engine this camera. */
    apply(byHand) {
        const { pc, eye, draw } = this.engine, [r, d, f] = this.axes, p = this.position;
        const matrix = new pc.Mat4();
        matrix.data.set([...r, 0, -d[0], -d[1], -d[2], 0, -f[0], -f[1], -f[2], 0, ...p, 1]); // the engine looks along -z with y up
        eye.setPosition(...p);
        eye.setRotation(new pc.Quat().setFromMat4(matrix));
        eye.camera.nearClip = this.near();
        eye.camera.farClip = this.far();
        draw();
        this.onMove(byHand);
    }

    moved() {
        this.flight = null;
        this.view = null;
        this.apply(true);
    }

    // --- hands

    /** Turns around the target: by pixels of a drag. */
    orbit(dx, dy) {
        const { target, up } = this;
        const spin = (angle, axis) => { this.axes = this.axes.map((a) => turn(a, axis, angle)); };
        spin(dot(this.axes[1], up) < 0 ? -dx * 0.005 : dx * 0.005, up);
        const height = Math.asin(Math.max(-1, Math.min(1, dot(this.axes[2], up)))), most = Math.PI / 2 - STEEPEST;
        const wanted = Math.max(-most, Math.min(most, height - dy * 0.005));
        const across = cross(this.axes[2], up);
        if (length(across) > 1e-6) spin(wanted - height, unit(across));
        this.tidy();
        this.position = add(target, this.axes[2], -this.distance);
        this.moved();
    }

    /** Moves along the stage: by pixels of a drag. */
    pan(dx, dy) {
        const { fx, fy } = this.stageLens();
        this.position = add(add(this.position, this.axes[0], -dx * this.distance / fx), this.axes[1], -dy * this.distance / fy);
        this.moved();
    }

    /** Goes nearer (below 1) or farther. */
    dolly(factor) {
        const { target } = this;
        this.distance = Math.max(this.distance * factor, this.reach * 1e-4);
        this.position = add(target, this.axes[2], -this.distance);
        this.moved();
    }

    /** Turns around this place from now on, and looks at it. */
    lookAt(place) {
        const forward = unit(subtract(place, this.position));
        const { axis, angle } = shortest(this.axes[2], forward);
        this.flyTo({ position: this.position, axes: this.axes.map((a) => turn(a, axis, angle)), lens: this.lens, distance: length(subtract(place, this.position)) });
    }

    tidy() { // keeps the axes at right angles
        const forward = unit(this.axes[2]), right = unit(cross(this.axes[1], forward));
        this.axes = [right, cross(forward, right), forward];
    }

    // --- places

    /** Goes to a photo's own camera (a view of view.json) with its own lens; false for one without a place. */
    goTo(views, k, animate = true) {
        const { K, cam_to_world: m, width, height, distance } = views[k];
        if (!m || !K) return false;
        const column = (c) => [m[0][c], m[1][c], m[2][c]];
        const lens = { fx: K[0][0], fy: K[1][1], cx: K[0][2], cy: K[1][2], width, height };
        this.flyTo({ position: column(3), axes: [unit(column(0)), unit(column(1)), unit(column(2))], lens, distance, view: k }, animate);
        return true;
    }

    /** Looks at a scene without cameras from in front. */
    overview({ center, radius, up }, animate = true) {
        const down = up.map((v) => -v), side = cross(down, [0, 0, 1]);
        const right = unit(length(side) > 1e-3 ? side : cross(down, [1, 0, 0])), forward = cross(right, down);
        const lens = { fx: 1.2, fy: 1.2, cx: 0.5, cy: 0.5, width: 1, height: 1 };
        this.flyTo({ position: add(center, forward, -2.6 * radius), axes: [right, down, forward], lens, distance: 2.6 * radius }, animate);
    }

    /** Moves smoothly to { position, axes, lens, distance, view }; at once where a person asked for less motion. */
    flyTo(end, animate = true) {
        const calm = !animate || window.matchMedia('(prefers-reduced-motion: reduce)').matches;
        const arrive = () => { Object.assign(this, { flight: null, view: null }, end); this.apply(false); };
        if (calm) { arrive(); return; }
        const start = { position: this.position, axes: this.axes, lens: this.lens, distance: this.distance };
        const { axis, angle } = turnBetween(start.axes, end.axes), began = performance.now();
        const flight = this.flight = {};
        this.view = null;
        const step = () => {
            if (this.flight !== flight) return;
            const share = Math.min(1, (performance.now() - began) / FLIGHT_MS), t = share * share * (3 - 2 * share);
            if (share >= 1) { arrive(); return; }
            this.position = mix(start.position, end.position, t);
            this.axes = start.axes.map((a) => turn(a, axis, angle * t));
            this.distance = start.distance + (end.distance - start.distance) * t;
            this.lens = mixLens(start.lens, end.lens, t);
            this.apply(true);
            requestAnimationFrame(step);
        };
        step();
    }

    /** This camera as recon knows cameras: K in pixels of a stage of width x height, cam_to_world, both row by row. */
    asRecon() {
        const { fx, fy, cx, cy } = this.stageLens(), [r, d, f] = this.axes, p = this.position;
        const rows = [0, 1, 2].map((i) => [r[i], d[i], f[i], p[i]]);
        return { K: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], cam_to_world: [...rows, [0, 0, 0, 1]], width: this.width, height: this.height };
    }
}

function shortest(from, to) {
    const axis = cross(from, to), angle = Math.atan2(length(axis), dot(from, to));
    return { axis: length(axis) > 1e-9 ? unit(axis) : [0, 1, 0], angle };
}

/** Between two lenses: both as parts of the second one's width, sizes in equal ratios. */
function mixLens(a, b, t) {
    const part = (l) => [l.fx / l.width, l.fy / l.width, l.cx / l.width, l.cy / l.width, l.height / l.width];
    const from = part(a), to = part(b);
    const [fx, fy, cx, cy, tall] = from.map((v, i) => (i < 2 ? v * (to[i] / v) ** t : v + (to[i] - v) * t));
    return { fx: fx * b.width, fy: fy * b.width, cx: cx * b.width, cy: cy * b.width, width: b.width, height: tall * b.width };
}
