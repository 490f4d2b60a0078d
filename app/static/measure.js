// Measuring: two clicks give a length; "this length is ... cm" says how long a unit is.
import { element, svg } from './dom.js';
import { length, subtract } from './vectors.js';
import { lengthText, scaleFrom } from './units.js';

export class Measure {
    /** `onScale(metresPerUnit)` is asked to keep a scale that a person gave, and returns a sentence on the downloads. */
    constructor(camera, onScale) {
        this.camera = camera;
        this.onScale = onScale;
        this.marks = [];
        this.metresPerUnit = null;
        this.overlay = svg('svg', { class: 'recon-overlay', 'aria-hidden': 'true' });
        this.words = element('span', { class: 'recon-measure-words', role: 'status' });
        this.amount = element('input', { type: 'text', inputmode: 'decimal', size: 5, 'aria-label': 'Length of the line' });
        const units = ['cm', 'm', 'mm'].map((unit) => element('option', { value: unit, text: unit }));
        this.unit = element('select', { 'aria-label': 'Unit of the length' }, ...units);
        this.form = element('form', { class: 'recon-measure-form', on: { submit: (event) => { event.preventDefault(); this.keep(); } } },
            element('span', { text: 'This length is' }), this.amount, this.unit, element('button', { type: 'submit', text: 'Set' }));
        this.bar = element('div', { class: 'recon-measure', hidden: true }, this.words, this.form);
    }

    get units() { return this.marks.length === 2 ? length(subtract(this.marks[0], this.marks[1])) : null; }

    get text() { return this.units === null ? '' : lengthText(this.units, this.metresPerUnit); }

    show(on) {
        this.bar.hidden = !on;
        if (!on) this.marks = [];
        this.draw();
    }

    /** A click on a place of the scene; null for a click on nothing. */
    mark(place) {
        if (!place) { this.say('There is nothing at that place.'); return; }
        this.marks = this.marks.length === 2 ? [place] : [...this.marks, place];
        this.draw();
    }

    clear(metresPerUnit) {
        this.metresPerUnit = metresPerUnit;
        this.marks = [];
        this.draw();
    }

    say(text) { this.words.textContent = text; }

    async keep() {
        const scale = scaleFrom(this.units, this.amount.value, this.unit.value);
        if (!scale) { this.say('Give the length as a number, for example 21.5.'); this.amount.focus(); return; }
        this.metresPerUnit = scale;
        this.draw();
        const told = await this.onScale(scale);
        this.say(`${this.text}. ${told}`);
    }

    /** Draws the marks where the camera sees them now. */
    draw() {
        const done = this.marks.length === 2;
        this.form.hidden = !done;
        this.say(done ? this.text : this.marks.length ? 'Click the second place.' : 'Click two places of the scene.');
        this.place();
    }

    place() {
        const at = this.marks.map((p) => this.camera.toStage(p)).filter((p) => p.z > 0);
        const parts = at.map((p) => svg('circle', { cx: p.x, cy: p.y, r: 5, class: 'recon-dot' }));
        if (at.length === 2) {
            const [a, b] = at;
            parts.unshift(svg('line', { x1: a.x, y1: a.y, x2: b.x, y2: b.y, class: 'recon-line' }));
            parts.push(svg('text', { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 - 10, class: 'recon-label' }, this.text));
        }
        this.overlay.replaceChildren(...parts);
    }
}
