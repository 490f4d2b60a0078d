// The viewer's own element: a stage with the canvas and what lies over it, and the row of photos below.
import { element } from './dom.js';

const STYLE = 'viewer.css';

export const NO_WEBGL = 'This browser shows no 3D: WebGL 2 is off or missing. Everything can still be downloaded; for the view, switch on hardware '
    + 'acceleration or try another browser.';

/** Fills the host; returns { stage, canvas, note, say(text, button) }. `parts`: elements over the canvas in order, `strip` below it. */
export function layOut(host, { over, strip }) {
    host.classList.add('recon-viewer');
    const canvas = element('canvas', {
        tabindex: 0, role: 'application', 'aria-label': 'The scene in 3D. Arrow keys turn, shift and arrow keys move, plus and minus go nearer and '
            + 'farther, 1 to 9 and square brackets fly to the photos, 0 is the first view.',
    });
    const note = element('div', { class: 'recon-note', role: 'status', hidden: true });
    const stage = element('div', { class: 'recon-stage' }, canvas, ...over, note);
    host.replaceChildren(stage, strip);
    const say = (text, button = null) => { note.replaceChildren(text, ...(button ? [button] : [])); note.hidden = !text; };
    return { stage, canvas, note, say };
}

/** The style sheet beside this module, once for the document; resolves when it holds. An offline page brings it itself. */
export function withStyle() {
    if (document.querySelector('[data-recon-style]')) return Promise.resolve();
    const link = element('link', { rel: 'stylesheet', href: new URL(STYLE, import.meta.url).href, 'data-recon-style': true });
    return new Promise((done) => {
        link.addEventListener('load', done);
        link.addEventListener('error', done);
        document.head.append(link);
    });
}

/** The whole screen and back; where a browser gives elements no full screen (iPhones), the whole window. */
export async function toggleFullscreen(host) {
    if (document.fullscreenElement === host) { await document.exitFullscreen(); return; }
    if (host.classList.contains('recon-full')) { host.classList.remove('recon-full'); return; }
    try {
        await host.requestFullscreen();
    } catch {
        host.classList.add('recon-full');
    }
}
