// Draws a made-up scene once, unseen, before there is a real one: by then shaders are compiled, buffers made and the sorting worker was started.
import { drawn } from './engine.js';
import { SceneView } from './scene_view.js';
import { DEFAULTS } from './state.js';

const LONGEST_MS = 1000; // pages in the background draw nothing
const COUNT = 1024, BYTES = 24; // splats, and bytes of one: all of them zero, and so is the opacity
const AHEAD = { name: '', width: 1, height: 1, K: [[1, 0, 0], [0, 1, 0], [0, 0, 1]], cam_to_world: [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]] };
const HEAD = {
    count: COUNT, chunk: COUNT, scale_log_range: [-7, 0], box: [[-1, -1, -1], [1, 1, 1]], modes: ['splats'], mesh: null,
    radius: 0, views: [AHEAD], // so that the camera's lines have no length
};

/** Warms a viewer that has just been mounted, unless it is given a scene at once; resolves when nothing of it is left. */
export async function warmUp(viewer) {
    await new Promise((done) => { setTimeout(done); });
    if (viewer.broken || viewer.request || viewer.destroyed) return;
    const source = { async* chunks() { yield new Uint8Array(COUNT * BYTES); } };
    const scene = new SceneView(viewer.engine, source, HEAD, () => {});
    await scene.fetchSplats(() => scene.show(DEFAULTS, [0, 0, 0]));
    await drawn(viewer.engine, LONGEST_MS);
    if (!viewer.destroyed) scene.destroy();
}
