// The buttons inside the view: what is shown on the left, what can be done on the right.
import { element, icon } from './dom.js';

const MODE_NAMES = { splats: 'Splats', points: 'Points', mesh: 'Mesh', frusta: 'Cameras' };
const ICONS = {
    filters: 'M4 6h10m4 0h2M14 4v4M4 12h4m4 0h8M8 10v4M4 18h11m4 0h1M15 16v4',
    measure: 'M3 15 15 3l6 6L9 21zM7 11l2 2M10 8l3 3M13 5l2 2',
    photo: 'M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01',
    reset: 'M4 12 12 4l8 8M6 10v10h12V10',
    fullscreen: 'M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5',
};
const TOOLS = [
    ['filters', 'Filters: confidence, opacity, point size'],
    ['measure', 'Measure a length (m)'],
    ['photo', 'The photo and what is known of it (p)'],
    ['reset', 'Back to the first view (0)'],
    ['fullscreen', 'Full screen (f)'],
];

export class Toolbar {
    /** `does[name]()` for each tool, and does.mode(name). */
    constructor(does) {
        this.modes = Object.fromEntries(Object.entries(MODE_NAMES).map(([mode, text]) => [mode, element('button', {
            type: 'button', text, role: 'radio', 'aria-checked': 'false', on: { click: () => does.mode(mode) },
        })]));
        this.choice = element('div', { class: 'recon-modes', role: 'radiogroup', 'aria-label': 'Show' }, ...Object.values(this.modes));
        this.choice.addEventListener('keydown', (event) => this.next(event));
        this.buttons = Object.fromEntries(TOOLS.map(([name, title]) => [name, element('button', {
            type: 'button', title, 'aria-label': title, 'aria-pressed': ['reset', 'fullscreen'].includes(name) ? null : 'false', on: { click: does[name] },
        }, icon(ICONS[name]))]));
        this.tools = element('div', { class: 'recon-tools', role: 'toolbar', 'aria-label': 'Tools of the view' }, ...Object.values(this.buttons));
    }

    next(event) { // arrow keys go through the choice, as in every radio group
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!step) return;
        const there = Object.values(this.modes).filter((b) => !b.hidden);
        const to = there[(there.indexOf(event.target) + step + there.length) % there.length];
        event.preventDefault();
        to.focus();
        to.click();
    }

    /** Only what the scene has can be chosen. */
    offer(modes) {
        for (const [mode, button] of Object.entries(this.modes)) button.hidden = !modes.includes(mode);
        this.tools.hidden = this.choice.hidden = !modes.length;
    }

    press(name, on) { this.buttons[name].setAttribute('aria-pressed', String(on)); }

    update({ mode, measure }) {
        for (const [name, button] of Object.entries(this.modes)) {
            button.setAttribute('aria-checked', String(name === mode));
            button.tabIndex = name === mode ? 0 : -1;
        }
        this.press('measure', measure);
    }
}
