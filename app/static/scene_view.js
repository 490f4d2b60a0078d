// One loaded scene: splats, points, mesh and cameras in one frame of axes, and its loading.
import { drawn } from './engine.js';
import { Frusta } from './frusta.js';
import { SceneMesh } from './mesh.js';
import { Splats } from './splats.js';

const FIRST_MS = 500; // the first picture gets so long before the rest is taken
const MOST_ON_PHONES = 1e6; // large scenes end a phone's browser

export class SceneView {
    constructor(engine, source, head, say) {
        Object.assign(this, { engine, source, head, gone: false });
        this.splats = new Splats(engine, head, matchMedia('(pointer: coarse)').matches ? MOST_ON_PHONES : Infinity);
        this.frusta = new Frusta(engine, head);
        this.mesh = head.mesh ? new SceneMesh(engine, source, head.mesh, say) : null;
    }

    /** What can be chosen in the toolbar. */
    get modes() { return [...this.head.modes, ...(this.head.views.some((view) => view.cam_to_world) ? ['frusta'] : [])]; }

    /**
     * Fetches the splats; `onPart(share)` after each part that is shown: an even sample that grows to the whole, twice as large each time;
     * `onFirst()` once the first is drawn, or when there is nothing to draw.
     * Without a graphics card only the first part and the whole are drawn: each picture costs as much as some of the loading.
     */
    async fetchSplats(onPart, onFirst = () => {}) {
        const { store } = this.splats;
        const growth = this.engine.software ? Infinity : 2;
        let shown = 0;
        if (store.limit === 0 || this.head.count === 0) return onFirst();
        for await (const bytes of this.source.chunks()) {
            if (this.gone) return;
            const more = store.take(bytes);
            if (store.count > shown && (shown === 0 || store.count >= growth * shown || !more)) {
                this.splats.upload();
                onPart(store.count / store.limit);
                if (shown === 0) await drawn(this.engine, FIRST_MS);
                if (this.gone) return;
                if (shown === 0) onFirst();
                shown = store.count;
            }
            if (!more) return;
        }
        if (store.count < store.limit) throw new Error('the scene came only in part');
    }

    /** Shows what the state says; resolves when a mesh that is wanted is there. */
    async show(values, eye) {
        this.splats.filter(values);
        this.aim(values, eye);
        await this.mesh?.show(values.mode === 'mesh');
    }

    aim({ mode, cameras }, eye) { this.frusta.show(cameras || mode === 'frusta', eye); }

    destroy() {
        this.gone = true;
        for (const part of [this.splats, this.frusta, this.mesh]) part?.destroy();
    }
}
