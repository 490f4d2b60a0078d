// The panel of sliders. They act in the page: the values are uniforms of the shaders.
import { element } from './dom.js';

export class Filters {
    /** `set` takes changes of the state. */
    constructor(set) {
        this.set = set;
        this.sliders = {
            confidence: slider('Hide the least sure', 0, 0.99, 0.01, (v) => `${Math.round(v * 100)} %`),
            opacity: slider('Opacity', 0, 1, 0.01, (v) => `${Math.round(v * 100)} %`),
            pointSize: slider('Size of points', 1, 12, 0.5, (v) => `${v} px`),
        };
        for (const [key, one] of Object.entries(this.sliders)) one.input.addEventListener('input', () => set({ [key]: Number(one.input.value) }));
        this.origin = element('select', { on: { change: () => set({ view: Number(this.origin.value) }) } });
        this.originRow = element('label', { class: 'recon-row' }, element('span', { text: 'Only what this photo gave' }), this.origin);
        this.cameras = element('input', { type: 'checkbox', on: { change: () => set({ cameras: this.cameras.checked }) } });
        this.camerasRow = element('label', { class: 'recon-row recon-check' }, this.cameras, element('span', { text: 'Show the cameras (c)' }));
        this.note = element('p', { class: 'recon-small', hidden: true });
        this.panel = element('div', { class: 'recon-panel recon-filters', hidden: true, role: 'group', 'aria-label': 'Filters' },
            ...Object.values(this.sliders).map((one) => one.row), this.originRow, this.camerasRow, this.note);
    }

    /** Offers what this scene can be filtered by; `limit`: so many of its splats are shown here. */
    offer(head, limit) {
        const options = [element('option', { value: -1, text: 'all photos' })];
        head.views.forEach((view, k) => { if (view.cam_to_world) options.push(element('option', { value: k, text: view.name })); });
        this.origin.replaceChildren(...options);
        this.originRow.hidden = !head.has_origin || options.length < 3;
        this.sliders.confidence.row.hidden = !head.has_confidence;
        this.sliders.pointSize.row.hidden = !head.modes.includes('points');
        this.camerasRow.hidden = !head.views.some((view) => view.cam_to_world);
        const notes = [
            head.sh_degree ? 'Colours of this scene change with the direction; here each splat has its mean colour.' : '',
            limit < head.count ? `This small device shows ${limit.toLocaleString('en')} of ${head.count.toLocaleString('en')} splats.` : '',
        ].filter(Boolean);
        this.note.textContent = notes.length ? `${notes.join(' ')} The files keep all.` : '';
        this.note.hidden = !notes.length;
    }

    update(values) {
        for (const [key, { input, show }] of Object.entries(this.sliders)) {
            input.value = values[key];
            show(values[key]);
        }
        this.origin.value = values.view;
        this.cameras.checked = values.cameras;
    }
}

function slider(text, min, max, step, words) {
    const input = element('input', { type: 'range', min, max, step, 'aria-label': text });
    const told = element('output', { class: 'recon-value' });
    const row = element('label', { class: 'recon-row' }, element('span', { text }), input, told);
    const show = (value) => { told.textContent = words(value); input.setAttribute('aria-valuetext', words(value)); };
    return { input, row, show };
}
