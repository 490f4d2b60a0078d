// The mesh of a scene: a GLB, fetched when it is first asked for. glTF has y up, so it hangs turned by half a turn around x.
import { element } from './dom.js';

export class SceneMesh {
    /** `say(text, button)` shows a line over the view. */
    constructor(engine, source, name, say) {
        Object.assign(this, { engine, source, name, say, entity: null, asset: null, loading: null, gone: false });
    }

    /** Shows or hides it; resolves when it is there. What failed or was stopped can be asked for again. */
    async show(on) {
        this.wanted = on;
        if (on && !this.loading) {
            const { stopMaking } = this.source;
            const stop = stopMaking && element('button', { type: 'button', class: 'recon-note-button', text: 'Stop', on: { click: () => stopMaking() } });
            this.say(stopMaking ? 'The mesh is on its way: the first time it is made, which takes a while…' : 'Loading the mesh…', stop);
            this.loading = this.load();
            try {
                await this.loading;
                this.say('');
                document.dispatchEvent(new CustomEvent('recon-made'));
            } catch (error) {
                this.loading = null;
                throw error;
            }
        }
        if (on) await this.loading;
        if (this.entity) this.entity.enabled = this.wanted;
        this.engine.draw();
    }

    async load() {
        const { pc, app } = this.engine;
        const contents = await this.source.bytes(this.name);
        if (this.gone) return;
        this.asset = new pc.Asset('mesh', 'container', { url: 'mesh.glb', filename: 'mesh.glb', contents });
        app.assets.add(this.asset);
        await new Promise((done, failed) => {
            this.asset.ready(done);
            this.asset.once('error', (text) => failed(new Error(`the mesh cannot be read: ${text}`)));
            app.assets.load(this.asset);
        });
        if (this.gone) return;
        for (const material of new Set(this.asset.resource.materials.map((a) => a.resource))) unlit(material, pc);
        this.entity = this.asset.resource.instantiateRenderEntity();
        this.entity.setLocalEulerAngles(180, 0, 0);
        app.root.addChild(this.entity);
    }

    destroy() {
        this.gone = true;
        this.entity?.destroy();
        if (this.asset) {
            this.asset.unload();
            this.engine.app.assets.remove(this.asset);
        }
    }
}

/** Colours as they are, without lamps, from both sides. */
function unlit(material, pc) {
    material.cull = pc.CULLFACE_NONE;
    if (material.useLighting !== false) {
        material.emissive.copy(material.diffuse);
        material.emissiveMap = material.diffuseMap;
        material.emissiveVertexColor = material.diffuseVertexColor;
        material.useLighting = false;
        material.useSkybox = false;
        material.diffuse.set(0, 0, 0);
        material.diffuseMap = null;
        material.diffuseVertexColor = false;
    }
    material.update();
}
