// Makes elements. Text always goes in as text, never as HTML: names of photos come from strangers.

/** An element: `options` are attributes, except `text`, `on` (event -> handler) and properties that start with a dot. */
export function element(tag, options = {}, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(options)) {
        if (key === 'text') made.textContent = value;
        else if (key === 'on') for (const [event, handler] of Object.entries(value)) made.addEventListener(event, handler);
        else if (key.startsWith('.')) made[key.slice(1)] = value;
        else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? '' : value);
    }
    made.append(...children.filter(Boolean));
    return made;
}

const SVG = 'http://www.w3.org/2000/svg';

/** An SVG element with attributes and, maybe, text. */
export function svg(tag, attributes = {}, text = '') {
    const made = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
}

/** A line drawing of 24 x 24 from an SVG path of ours. */
export function icon(path) {
    const picture = svg('svg', { viewBox: '0 0 24 24', 'aria-hidden': 'true', class: 'recon-icon' });
    picture.append(svg('path', { d: path }));
    return picture;
}
