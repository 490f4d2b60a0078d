// recon's viewer. mount(host) fills an element with the view and its tools; everything acts here, in the page.
//
// viewer.load(baseUrl or source)  the scene of a folder that app/view_pack.py wrote; resolves when all of it is there
// viewer.set({mode, confidence, opacity, view, pointSize, cameras, measure}), viewer.goTo(k), viewer.reset(), viewer.destroy()
// await viewer.settled(), viewer.picture()  everything is drawn; a canvas with the picture
import { Camera } from './camera.js';
import { Clock } from './clock.js';
import { createEngine, drawn, picture, settled } from './engine.js';
import { Filters } from './filters.js';
import { listen } from './hands.js';
import { layOut, NO_WEBGL, toggleFullscreen, withStyle } from './layout.js';
import { Measure } from './measure.js';
import { Pace } from './pace.js';
import { PhotoPanel } from './photo_panel.js';
import { servedScene } from './scene_source.js';
import { SceneView } from './scene_view.js';
import { State } from './state.js';
import { Strip } from './strip.js';
import { BACKGROUND, followTheme } from './theme.js';
import { Toolbar } from './toolbar.js';
import { lengthText } from './units.js';
import { warmUp } from './warm.js';
import { Ways } from './ways.js';

class Viewer {
    constructor(host) {
        this.host = host;
        this.state = new State();
        this.scene = null;
        this.busy = 0;
        this.ways = new Ways(this);
        const jump = (k) => (this.camera.view === k ? this.photos.place(this.camera) : this.goTo(k, false)), set = (changes) => this.set(changes);
        this.filters = new Filters(set);
        this.photos = new PhotoPanel(jump, (units) => lengthText(units, this.measure?.metresPerUnit));
        this.strip = new Strip((k) => this.ways.choose(k));
        this.toolbar = new Toolbar({
            mode: (mode) => set({ mode }), filters: () => this.open('filters'), photo: () => this.open('photo'), reset: () => this.reset(),
            measure: () => set({ measure: !this.state.values.measure }), fullscreen: () => toggleFullscreen(host),
        });
    }

    async start() {
        await withStyle();
        const camera = { toStage: (place) => this.camera.toStage(place) };
        this.measure = new Measure(camera, (scale) => this.keepScale(scale));
        const over = [this.photos.overlay, this.measure.overlay, this.toolbar.choice, this.toolbar.tools, this.filters.panel, this.photos.panel, this.measure.bar];
        Object.assign(this, layOut(this.host, { over, strip: this.strip.row }));
        this.toolbar.offer([]);
        this.strip.row.hidden = true;
        this.unfollow = followTheme(this.host, () => this.paint?.());
        try {
            this.engine = await createEngine(this.canvas);
        } catch {
            this.broken = true;
            this.say(NO_WEBGL);
            return this;
        }
        const { engine } = this;
        this.paint = () => { engine.eye.camera.clearColor = new engine.pc.Color(...BACKGROUND[this.host.dataset.theme]); engine.draw(); };
        this.paint();
        this.camera = new Camera(engine, (byHand) => this.moved(byHand));
        this.pace = new Pace(engine);
        this.clock = new Clock(engine, () => this.scene?.splats.store.count && (engine.ready || !this.scene.splats.splats.enabled));
        this.canvas.addEventListener('webglcontextlost', () => this.say('The graphics card dropped the picture; it comes back by itself or after a reload.'));
        this.canvas.addEventListener('webglcontextrestored', () => { this.scene?.splats.resend(); this.say(''); });
        listen(this.canvas, this.camera, this.ways);
        this.state.on((values) => this.update(values));
        this.sizer = new ResizeObserver(() => this.resize());
        this.sizer.observe(this.stage);
        engine.app.on('update', () => { if (!this.host.isConnected) this.destroy(); }); // the page took the element away
        engine.app.start();
        return this;
    }

    /** The scene of a folder (an address) or of a source; an earlier one goes away. Resolves when all of it is there, throws what was wrong. */
    async load(from) {
        if (this.broken) return;
        const mine = this.request = {}, current = () => this.request === mine, gone = this.scene && drawn(this.engine, 500, () => true);
        this.busy++;
        this.close();
        this.clock.start();
        this.say('Loading…');
        try {
            // until a frame without the last scene was drawn, the engine draws as many splats as that had
            const source = typeof from === 'string' ? servedScene(from) : from, [head] = await Promise.all([source.head(), this.warm, gone]);
            if (!current()) return;
            this.show(source, head);
            await this.scene.fetchSplats((share) => {
                this.say(share < 1 ? `Loading… ${Math.round(share * 100)} %` : '');
                this.update(this.state.values);
            }, () => this.strip.fill(head, source));
            if (current()) { this.clock.tell('loaded'); this.say(''); }
        } catch (error) {
            if (!current()) return;
            this.say(`The scene could not be shown: ${error.message}`);
            throw error;
        } finally { this.busy--; }
    }

    show(source, head) {
        this.scene = new SceneView(this.engine, source, head, (text, button) => this.say(text, button));
        this.pace.splats = this.scene.splats;
        Object.assign(this.camera, { up: head.up, reach: head.radius });
        this.measure.clear(head.metres_per_unit ?? (head.metric ? 1 : null));
        this.toolbar.offer(this.scene.modes);
        this.filters.offer(head, this.scene.splats.store.limit);
        this.strip.clear(head);
        this.photos.fill(head, source);
        this.resize();
        this.set({ mode: this.scene.modes[0], view: -1, confidence: 0, measure: false });
        this.reset(false);
    }

    close() {
        this.pace?.stop();
        this.scene?.destroy();
        this.scene = null;
    }

    set(changes) { this.state.set(changes); }
    update(values) {
        this.toolbar.update(values);
        this.filters.update(values);
        if (this.measure.bar.hidden === values.measure) this.measure.show(values.measure);
        if (!this.scene) return;
        this.busy++;
        const { scene } = this, failed = (error) => { if (this.scene === scene) this.withoutMesh(error); };
        scene.show(values, this.camera.position).catch(failed).finally(() => { this.busy--; });
    }

    /** The mesh was stopped or could not be made: shows the first that there is. */
    withoutMesh({ message }) {
        if (this.state.values.mode === 'mesh') this.set({ mode: this.scene.modes.find((mode) => mode !== 'mesh') });
        this.say(message === 'stopped' ? '' : message);
    }

    open(name) {
        const panels = { filters: this.filters.panel, photo: this.photos.panel };
        for (const [key, panel] of Object.entries(panels)) {
            panel.hidden = key !== name || !panel.hidden;
            this.toolbar.press(key, !panel.hidden);
        }
        this.photos.show(this.camera?.view ?? this.photos.k);
    }

    get times() { return this.clock.times; }
    goTo(k, animate = true) { return this.ways.goTo(k, animate); }
    reset(animate = true) { this.ways.reset(animate); }

    moved(byHand) {
        if (byHand) this.pace.moving();
        this.strip.mark(this.camera.view);
        if (this.camera.view !== null) this.photos.show(this.camera.view);
        this.photos.place(this.camera);
        this.measure.place();
        this.scene?.aim(this.state.values, this.camera.position);
    }

    async keepScale(metresPerUnit) {
        this.photos.show(this.photos.k);
        const kept = await (this.scene.source.setScale?.(metresPerUnit).catch(() => false) ?? false);
        return kept ? 'Downloads have this scale too.' : 'Only this view has this scale.';
    }

    resize() {
        const { clientWidth: width, clientHeight: height } = this.stage, ratio = Math.min(window.devicePixelRatio || 1, 2);
        if (!width || !height) return;
        this.engine.app.setCanvasResolution(this.engine.pc.RESOLUTION_FIXED, Math.round(width * ratio), Math.round(height * ratio));
        Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
        this.camera.resize(width, height);
    }

    async settled() {
        if (this.broken) return true;
        this.pace.rest();
        await settled(this.engine, () => this.scene?.splats.splats.enabled ?? false, () => this.busy > 0 || this.camera.flight !== null || this.pace.thinned);
        return true;
    }

    picture() { return picture(this.engine, this.canvas); }

    destroy() {
        if (this.destroyed) return;
        Object.assign(this, { destroyed: true, request: null });
        this.sizer?.disconnect();
        this.unfollow?.();
        this.close();
        this.engine?.destroy();
        this.host.replaceChildren();
    }
}

/** Fills `host`, an element with a height, with a viewer; also at window.reconViewer, for tests. */
export async function mount(host) {
    const viewer = await new Viewer(host).start();
    window.reconViewer = viewer;
    viewer.warm = warmUp(viewer);
    return viewer;
}
