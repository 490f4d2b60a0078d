// Brings the viewer and the page together: shows the scene that the server names, and tells the page of a measured length.
import { announce } from './page.js';

export async function startViewer(host, root, value, watch) {
    const { mount } = await import('./viewer.js');
    const { servedScene } = await import('./scene_source.js');
    let viewer = null;
    const show = () => {
        const base = value() ? root + value() : '';
        announce(base);
        if (!base || !viewer) return;
        const source = servedScene(base);
        const setScale = async (metresPerUnit) => {
            const kept = await source.setScale(metresPerUnit);
            if (kept) announce(base); // the downloads are in metres now, and say so
            return kept;
        };
        if (matchMedia('(max-width: 760px)').matches) host.scrollIntoView({ behavior: 'smooth', block: 'start' });
        viewer.load({ ...source, setScale }).catch(() => {}); // the viewer itself says what was wrong
    };
    watch(show);
    try {
        viewer = await mount(host);
    } finally {
        show(); // without a 3D view the files are there all the same
    }
}
