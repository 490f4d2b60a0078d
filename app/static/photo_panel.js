// One photo: its pictures (photo, depth, confidence, normals), what the report says of it, and the photo laid over the view.
import { element } from './dom.js';

const PICTURES = { photo: 'Photo', depth: 'Depth', confidence_picture: 'Confidence', normals: 'Normals' };

export class PhotoPanel {
    /** `goTo(k)` jumps to a photo when its picture shall lie over the view; `lengthText(units)` is a length in words. */
    constructor(goTo, lengthText) {
        Object.assign(this, { goTo, lengthText });
        this.k = 0;
        this.kind = 'photo';
        this.title = element('h3');
        this.tabs = Object.fromEntries(Object.entries(PICTURES).map(([kind, text]) => [kind, element('button', {
            type: 'button', text, 'aria-pressed': 'false', on: { click: () => { this.kind = kind; this.show(this.k); } },
        })]));
        this.picture = element('img', { class: 'recon-picture', alt: '' });
        this.caption = element('p', { class: 'recon-small' });
        this.words = element('ul', { class: 'recon-words' });
        this.over = element('input', { type: 'range', min: 0, max: 1, step: 0.01, value: 0, 'aria-label': 'Photo over the view', on: { input: () => this.lay() } });
        this.overRow = element('label', { class: 'recon-row' }, element('span', { text: 'Photo over the view' }), this.over);
        this.overlay = element('img', { class: 'recon-photo-over', alt: '', hidden: true });
        this.panel = element('div', { class: 'recon-panel recon-photo', hidden: true, role: 'group', 'aria-label': 'Photo' },
            this.title, this.overRow, element('div', { class: 'recon-tabs' }, ...Object.values(this.tabs)), this.picture, this.caption, this.words);
    }

    fill(head, source) {
        Object.assign(this, { head, source, k: 0, kind: 'photo' });
        this.over.value = 0;
        this.overlay.hidden = true;
        this.overlay.removeAttribute('src');
        this.picture.removeAttribute('src');
    }

    /** Shows photo k; pictures are fetched only when the panel is open. */
    show(k) {
        const view = this.head?.views[k];
        if (!view) return;
        this.k = k;
        if (this.panel.hidden) return;
        const kinds = Object.keys(PICTURES).filter((kind) => view[kind]);
        if (!kinds.includes(this.kind)) [this.kind] = [...kinds, 'photo'];
        this.title.textContent = view.name;
        for (const [kind, tab] of Object.entries(this.tabs)) {
            tab.hidden = !view[kind];
            tab.setAttribute('aria-pressed', String(kind === this.kind));
        }
        this.picture.hidden = !kinds.length;
        this.picture.style.aspectRatio = `${view.width} / ${view.height}`;
        if (kinds.length) this.picture.src = this.source.address(view[this.kind]);
        this.picture.alt = kinds.length ? `${PICTURES[this.kind]} of ${view.name}` : '';
        this.caption.textContent = caption(view, this.kind, this.lengthText);
        this.words.replaceChildren(...view.words.map((text) => element('li', { text, class: text.startsWith('Warning') ? 'recon-warning' : null })));
        this.overRow.hidden = !view.photo || !view.cam_to_world;
    }

    /** Lays the photo over the view as far as the slider says; the view goes to that photo first. */
    lay() {
        const view = this.head?.views[this.k], share = Number(this.over.value);
        if (!view?.photo || !view.cam_to_world) return;
        if (share > 0) {
            this.overlay.src ||= this.source.address(view.photo);
            this.overlay.hidden = false;
            this.goTo(this.k);
        }
        this.overlay.style.opacity = share;
        this.overlay.hidden = share === 0;
    }

    /** Follows the camera: the photo lies where it would be, and goes away when the view is another. */
    place(camera) {
        if (this.overlay.hidden) return;
        if (camera.view !== this.k) {
            this.over.value = 0;
            this.overlay.hidden = true;
            this.overlay.removeAttribute('src');
            return;
        }
        const { left, top, width, height } = camera.frame();
        Object.assign(this.overlay.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    }
}

function caption(view, kind, lengthText) {
    if (kind === 'depth') return `bright: near, ${lengthText(view.depth_range[0])}; dark: far, ${lengthText(view.depth_range[1])}`;
    if (kind === 'confidence_picture') return `bright: expected error ${percent(view.confidence_range[1])} of the depth; dark: ${percent(view.confidence_range[0])}`;
    if (kind === 'normals') return 'red: to the right, green: up, blue: towards the camera';
    return `${view.width} × ${view.height} pixels`;
}

/** Confidence is 0.2 / (expected relative error). */
const percent = (confidence) => `${Number((20 / confidence).toPrecision(2))} %`;
