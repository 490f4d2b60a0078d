// The photos in a row below the view: a click or the keys 1 to 9 fly to a photo's own camera.
import { element } from './dom.js';
import { colourOf } from './frusta.js';

export class Strip {
    /** `goTo(k)` flies to a photo. */
    constructor(goTo) {
        this.goTo = goTo;
        this.buttons = [];
        this.marked = null;
        this.row = element('div', { class: 'recon-strip', role: 'group', 'aria-label': 'Photos' });
    }

    /** The room of the photos to come: to draw them takes as long as to draw the scene, which comes first. */
    clear(head) {
        this.buttons = [];
        this.row.replaceChildren();
        this.row.hidden = !head.views.length;
    }

    fill(head, source) {
        this.buttons = head.views.map((view, k) => {
            const label = `${view.name}${view.cam_to_world ? '' : ' (not placed)'}`;
            const picture = view.photo ? element('img', { src: source.address(view.photo), alt: '', loading: 'lazy', decoding: 'async' })
                : element('span', { class: 'recon-thumb-name', text: view.name });
            const button = element('button', {
                type: 'button', title: k < 9 ? `${label} (key ${k + 1})` : label, 'aria-label': `Photo ${k + 1}: ${label}`, class: 'recon-thumb',
                on: { click: () => this.goTo(k) },
            }, picture, element('span', { class: 'recon-thumb-number', text: String(k + 1) }));
            const [r, g, b] = colourOf(k).map((v) => Math.round(v * 255));
            button.style.setProperty('--recon-view', `rgb(${r}, ${g}, ${b})`);
            if (!view.cam_to_world) button.classList.add('recon-unplaced');
            return button;
        });
        this.row.replaceChildren(...this.buttons);
        this.mark(this.marked);
    }

    /** Marks the photo whose camera the view has, or none (null). */
    mark(k) {
        this.marked = k;
        this.buttons.forEach((button, i) => {
            if (i === k) button.setAttribute('aria-current', 'true');
            else button.removeAttribute('aria-current');
        });
        const there = this.buttons[k];
        if (!there) return;
        const { row } = this, left = there.offsetLeft, right = left + there.offsetWidth;
        if (left < row.scrollLeft) row.scrollLeft = left; // scrollIntoView would move the whole page
        else if (right > row.scrollLeft + row.clientWidth) row.scrollLeft = right - row.clientWidth;
    }
}
