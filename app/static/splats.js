// Splats and points on the GPU: the same two textures drawn in two ways, filtered by uniforms.
import { LINE_FRAGMENT, LINE_VERTEX, MODIFY_SPLAT, POINT_FRAGMENT, POINT_VERTEX, READ_SPLAT } from './shaders.js';
import { SplatStore } from './splat_store.js';

export class Splats {
    /** Room for the splats that `head` tells of, at most `most`. */
    constructor(engine, head, most) {
        const { pc, device, app } = engine;
        this.engine = engine;
        const limit = Math.max(1, Math.min(head.count, most));
        const streams = [{ name: 'dataA', format: pc.PIXELFORMAT_RGBA32U }, { name: 'dataB', format: pc.PIXELFORMAT_RG32U }];
        const format = new pc.GSplatFormat(device, streams, { readGLSL: READ_SPLAT, readWGSL: READ_SPLAT });
        this.container = new pc.GSplatContainer(device, limit, format);
        this.textures = [this.container.getTexture('dataA'), this.container.getTexture('dataB')];
        const [{ width, height }] = this.textures;
        this.store = new SplatStore(head, Math.min(head.count, limit), width * height);
        const box = head.box ?? [[-1, -1, -1], [1, 1, 1]];
        this.container.aabb.setMinMax(new pc.Vec3(box[0]), new pc.Vec3(box[1])); // of all centres, or splats go missing
        this.container.centers = this.store.centers;
        this.container.update(0);
        this.splats = new pc.Entity('splats');
        app.root.addChild(this.splats);
        this.splats.addComponent('gsplat', { resource: this.container });
        this.splats.gsplat.setWorkBufferModifier({ glsl: MODIFY_SPLAT });
        this.splats.gsplat.setParameter('uScaleLog', head.scale_log_range);
        this.makePoints(width);
        this.drawn = this.sent = 0;
    }

    makePoints(width) {
        const { pc, device, app } = this.engine;
        this.material = new pc.ShaderMaterial({ uniqueName: 'reconPoints', vertexGLSL: POINT_VERTEX, fragmentGLSL: POINT_FRAGMENT, attributes: {} });
        this.material.setParameter('dataA', this.textures[0]);
        this.material.setParameter('dataB', this.textures[1]);
        this.material.setParameter('uWidth', width);
        this.material.update();
        this.mesh = new pc.Mesh(device);
        this.mesh.primitive[0] = { type: pc.PRIMITIVE_POINTS, base: 0, count: 0, indexed: false };
        this.mesh.aabb = this.container.aabb;
        const instance = new pc.MeshInstance(this.mesh, this.material);
        instance.cull = false;
        this.points = new pc.Entity('points');
        this.points.addComponent('render', { meshInstances: [instance] });
        app.root.addChild(this.points);
    }

    /** Sends what has come since the last time to the GPU, in whole rows of the textures, and shows it. */
    upload() {
        const { store, textures, container } = this, { width } = textures[0], from = Math.floor(this.sent / width), to = Math.ceil(store.count / width);
        [[store.a, 4], [store.b, 2]].forEach(([words, each], i) => {
            const rows = words.subarray(from * width * each, to * width * each);
            textures[i].write(0, from, width, to - from, rows).catch(() => {}); // rejects where the GPU goes away, of which the viewer speaks
        });
        this.sent = store.count;
        container.centers = store.count < store.limit ? store.centers.slice(0, store.count * 3) : store.centers; // the sorting worker gets a copy of all
        container.update(store.count);
        this.mesh.primitive[0].count = store.count;
        this.drawn = store.count;
        this.engine.ready = false;
    }

    /** Sends all of it again to a GPU that has lost it. */
    resend() {
        this.sent = 0;
        if (this.store.count) this.upload();
        this.refresh();
    }

    /** Draws a prefix, an even sample, of all splats, somewhat larger so that it stands for all. */
    thin(count) {
        if (this.drawn === count) return;
        this.drawn = count;
        this.container.update(count, false);
        this.mesh.primitive[0].count = count;
        this.splats.gsplat.setParameter('uSize', Math.min(4, Math.sqrt(this.store.count / Math.max(count, 1))));
        this.refresh();
    }

    /** The sliders' values as uniforms: nothing is asked of a server. */
    filter({ mode, confidence, opacity, view, pointSize }) {
        const { pc, draw } = this.engine;
        this.splats.enabled = mode === 'splats' && this.store.count > 0;
        this.points.enabled = mode === 'points';
        for (const part of [this.splats.gsplat, this.material]) {
            part.setParameter('uLeastRank', confidence);
            part.setParameter('uOpacity', opacity);
            part.setParameter('uOnlyView', view);
        }
        this.splats.gsplat.setParameter('uSize', Math.min(4, Math.sqrt(this.store.count / Math.max(this.drawn, 1))));
        this.material.setParameter('uPointSize', pointSize * Math.min(window.devicePixelRatio || 1, 2));
        this.refresh(pc);
        draw();
    }

    refresh() { this.splats.gsplat.workBufferUpdate = this.engine.pc.WORKBUFFER_UPDATE_ONCE; }

    destroy() {
        this.splats.destroy();
        this.points.destroy();
        this.container.destroy();
        this.mesh.destroy();
    }
}

/** An entity of line segments: `places` are pairs of [x, y, z], `color` is 0..1. */
export function lines({ pc, device }, name, places, color) {
    const mesh = new pc.Mesh(device);
    mesh.setPositions(new Float32Array(places.flat()));
    mesh.update(pc.PRIMITIVE_LINES);
    const attributes = { vertex_position: pc.SEMANTIC_POSITION };
    const material = new pc.ShaderMaterial({ uniqueName: 'reconLines', vertexGLSL: LINE_VERTEX, fragmentGLSL: LINE_FRAGMENT, attributes });
    material.setParameter('uLineColor', color);
    material.update();
    const entity = new pc.Entity(name);
    entity.addComponent('render', { meshInstances: [new pc.MeshInstance(mesh, material)] });
    return entity;
}
