// What clicks and keys on the view do: fly to photos, turn around a place, mark what is measured, switch things on and off.
import { toggleFullscreen } from './layout.js';
import { pick } from './pick.js';

export class Ways {
    constructor(viewer) { this.viewer = viewer; }

    get scene() { return this.viewer.scene; }

    /** Flies to the camera of photo k; false for one without a place. */
    goTo(k, animate = true) {
        const views = this.scene?.head.views ?? [];
        return k < views.length && this.viewer.camera.goTo(views, k, animate);
    }

    /** A photo was asked for, by thumbnail, key or pyramid. */
    choose(k) {
        const { photos, say } = this.viewer;
        photos.show(k);
        say(this.goTo(k) ? '' : `${this.scene.head.views[k].name} could not be placed.`);
    }

    /** The first photo's own camera; a scene without cameras from in front. */
    reset(animate = true) {
        if (!this.scene) return;
        const first = this.scene.head.views.findIndex((view) => view.cam_to_world);
        if (first >= 0) this.goTo(first, animate);
        else this.viewer.camera.overview(this.scene.head, animate);
    }

    /** The place [x, y, z] under a pixel of the stage, or null. */
    pick(x, y) {
        const { camera, state } = this.viewer;
        return this.scene ? pick(this.scene.splats.store, camera, state.values, x, y) : null;
    }

    // --- what listen() asks for

    moving() { this.viewer.pace.moving(); }

    click(x, y) {
        if (!this.scene) return;
        const { state, measure, camera } = this.viewer;
        if (state.values.measure) { measure.mark(this.pick(x, y)); return; }
        const k = this.scene.frusta.under(camera, x, y);
        if (k >= 0) this.choose(k);
    }

    double(x, y) {
        const { state, camera } = this.viewer, place = state.values.measure ? null : this.pick(x, y);
        if (place) camera.lookAt(place);
    }

    key({ key }) {
        const { viewer } = this, { values } = viewer.state;
        const does = {
            0: () => this.reset(), Home: () => this.reset(), m: () => viewer.set({ measure: !values.measure }), p: () => viewer.open('photo'),
            f: () => toggleFullscreen(viewer.host), c: () => viewer.set({ cameras: !values.cameras }), Escape: () => viewer.set({ measure: false }),
        }[key];
        const step = { ']': 1, '[': -1 }[key], photo = step ? viewer.photos.k + step : /^[1-9]$/.test(key) ? Number(key) - 1 : -1;
        if (does) does();
        else if (this.scene?.head.views[photo]) this.choose(photo);
        else return false;
        return true;
    }
}
