// The engine (PlayCanvas) set up for recon: draws when asked, in OpenCV's axes, as recon.render draws.
import * as pc from './vendor/playcanvas.min.js';

const QUIET_MS = 100;

/** The engine on a canvas. Throws where there is no WebGL 2. */
export async function createEngine(canvas) {
    const device = await pc.createGraphicsDevice(canvas, { deviceTypes: ['webgl2'], antialias: false, powerPreference: 'high-performance' });
    if (device.isNull || !device.isWebGL2) throw new Error('WebGL 2 is off'); // the engine falls back to a device that draws nothing
    const options = new pc.AppOptions();
    options.graphicsDevice = device;
    options.componentSystems = [pc.CameraComponentSystem, pc.RenderComponentSystem, pc.GSplatComponentSystem];
    options.resourceHandlers = [pc.ContainerHandler, pc.TextureHandler, pc.RenderHandler];
    const app = new pc.AppBase(canvas);
    app.init(options);
    app.setCanvasFillMode(pc.FILLMODE_NONE);
    app.setCanvasResolution(pc.RESOLUTION_FIXED, 16, 16);
    app.autoRender = false; // a picture is drawn when something changed, not 60 times a second
    Object.assign(app.scene.gsplat, { minPixelSize: 0, dataFormat: pc.GSPLATDATA_LARGE, alphaClipForward: 1 / 255 });
    widenAsRecon(app, device);
    const eye = new pc.Entity('eye');
    eye.addComponent('camera', { nearClip: 0.01, farClip: 1000, toneMapping: pc.TONEMAP_NONE });
    app.root.addChild(eye);
    const draw = () => { app.renderNextFrame = true; };
    const engine = { pc, app, device, eye, draw, frames: 0, requests: 0, ready: false, software: isSoftware(device) };
    app.systems.gsplat.on('frame:request', () => { engine.requests++; draw(); });
    app.systems.gsplat.on('frame:ready', (camera, layer, ready) => { engine.ready = ready; });
    app.on('postrender', () => { engine.frames++; });
    engine.destroy = () => {
        const gl = device.gl;
        app.destroy();
        gl?.getExtension('WEBGL_lose_context')?.loseContext(); // otherwise browsers warn of too many after some remounts
    };
    return engine;
}

/** The engine widens a splat by 0.3 in units of half pixels; the published renderers (and recon.render) by 0.3 pixels, 4 times as much. */
function widenAsRecon(app, device) {
    const { pcChunk, name } = { pcChunk: pc.ShaderChunks.get(device, pc.SHADERLANGUAGE_GLSL), name: 'gsplatCornerVS' };
    app.scene.gsplat.material.shaderChunks.glsl.set(name, pcChunk.get(name).replaceAll('+ 0.3', '+ 1.2'));
    app.scene.gsplat.material.update();
}

/** Whether pictures are drawn without a graphics card. */
function isSoftware(device) {
    return /swiftshader|llvmpipe|software|basic render/i.test(device.unmaskedRenderer ?? '');
}

/** Waits until a frame was drawn that is `good`, by default a sorted one, but not for long: pages in the background draw nothing. */
export function drawn(engine, mostMs, good = () => engine.ready) {
    return new Promise((done) => {
        const look = () => { if (good()) end(); }, timer = setTimeout(() => end(), mostMs);
        const end = () => { clearTimeout(timer); engine.app.off('postrender', look); done(); };
        engine.app.on('postrender', look);
        engine.draw();
    });
}

/**
 * Waits until everything is sorted and drawn; `busy` tells of what else must end first. The engine's "ready" does not know of a sort that a worker
 * still does after a move, which asks for a frame when it comes: so there must be two ready frames, and then no such request for a while.
 */
export async function settled(engine, showsSplats, busy) {
    const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });
    for (let good = 0; good < 2;) {
        while (busy()) await pause(15);
        const { frames, requests } = engine;
        engine.ready = !showsSplats();
        engine.draw();
        while (engine.frames === frames) await pause(15);
        good = engine.ready ? good + 1 : 0;
        if (good === 2) await pause(QUIET_MS);
        if (good === 2 && showsSplats() && engine.requests !== requests) good = 0;
    }
}

/** A canvas with what is drawn now. */
export function picture({ app }, canvas) {
    app.render();
    const copy = document.createElement('canvas');
    Object.assign(copy, { width: canvas.width, height: canvas.height });
    copy.getContext('2d').drawImage(canvas, 0, 0);
    return copy;
}
