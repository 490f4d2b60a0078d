// The parts of the page around the 3D view. Everything that comes from a user's files goes in as text, never as HTML.

const scene = { base: null, about: null, listeners: new Set() };

/** Called by the viewer's part when another scene is shown: `base` is its address, or '' for none. */
export async function announce(base) {
    scene.base = base || null; scene.about = null;
    if (base) {
        const answer = await fetch(base + 'about.json');
        if (scene.base !== base) return;
        scene.about = answer.ok ? await answer.json() : null;
    }
    for (const tell of scene.listeners) tell();
}

// While files are on their way the work cannot begin: what was chosen is not there yet.
let uploads = 0;
const plainFetch = window.fetch;
window.fetch = async (...request) => {
    const upload = /\/upload(\?|$)/.test(request[0]?.url ?? String(request[0]));
    const hold = (change) => { uploads += change; for (const id of ['recon-run', 'recon-example']) document.getElementById(id)?.toggleAttribute('inert', uploads > 0); };
    if (!upload) return plainFetch(...request);
    hold(1);
    try { return await plainFetch(...request); } finally { hold(-1); }
};

function follow(show) { scene.listeners.add(show); show(); }

function make(name, attributes = {}, ...content) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
        if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
        else if (value !== false && value != null) element.setAttribute(key, value === true ? '' : value);
    }
    element.append(...content.filter((part) => part != null));
    return element;
}

const size = (bytes) => bytes >= 1e6 ? `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} KB`;
const minutes = (seconds) => seconds >= 90 ? `${Math.round(seconds / 60)} minutes` : `${Math.max(0, Math.round(seconds))} seconds`;
const empty = (text) => make('p', { class: 'page-hint' }, text);

// --- before the work: thumbnails with remove and order, and what is wrong with the photos

export function before(element, { value, watch, tell }) {
    const show = () => {
        if (!value()) {
            element.replaceChildren(empty('Two or more photos of one place or thing, taken from different places. Photos, a zip of them or a video.'));
            return;
        }
        const told = JSON.parse(value());
        const files = new Map();
        for (const photo of told.photos) files.set(photo.file, [...(files.get(photo.file) ?? []), photo]);
        const last = Math.max(...files.keys(), 0);
        const strip = make('ol', { class: 'page-strip' });
        for (const photo of told.photos) strip.append(thumbnail(photo, last, tell));
        const lines = told.lines.map((line) => make('p', { class: `page-line-${line.kind}` }, line.text,
            line.kind === 'smaller' ? make('button', { type: 'button', onclick: () => tell({ action: 'smaller', resolution: line.resolution }) }, 'Take it') : null));
        element.replaceChildren(...(told.photos.length ? [strip] : []), ...lines);
    };
    watch(show); show();
}

function thumbnail(photo, last, tell) {
    const button = (sign, label, action, off) => make('button', { type: 'button', 'aria-label': `${label}: ${photo.name}`, title: label, disabled: off,
        onclick: () => tell({ action, file: photo.file }) }, sign);
    const picture = photo.picture ? make('img', { src: photo.picture, alt: '' }) : make('span', { class: 'page-film' }, '🎞');
    const buttons = photo.whole ? make('span', { class: 'page-strip-buttons' }, button('‹', 'Earlier', 'earlier', photo.file === 0),
        button('×', 'Remove', 'remove'), button('›', 'Later', 'later', photo.file === last)) : null;
    return make('li', { title: photo.name }, picture, make('span', { class: 'page-strip-name' }, photo.name), buttons);
}

// --- take it home

export function home(element) {
    follow(() => {
        const { base, about } = scene;
        if (!about) { element.replaceChildren(empty('Files for Blender, Unity, Unreal, SuperSplat, three.js, COLMAP and nerfstudio appear here.')); return; }
        const unit = make('p', { class: 'page-unit' }, unitWords(about));
        const rows = about.downloads.map((offer) => row(base, offer));
        const end = make('p', { class: 'page-end' }, `This result is deleted in ${minutes(about.seconds_left)}. `,
            make('button', { type: 'button', class: 'page-delete', onclick: (event) => remove(event.target, base) }, 'Delete now'));
        element.replaceChildren(unit, make('ul', { class: 'page-offers' }, ...rows), end);
    });
}

function unitWords(about) {
    if (about.metres_per_unit) return `Files are in metres, by the length that you measured (1 unit was ${Number(about.metres_per_unit.toPrecision(4))} m).`;
    if (about.report.metric) return 'Files are in metres.';
    return 'Files are in units of their own, as photos alone have no scale: measure a length that you know in the view, and they are in metres.';
}

function row(base, offer) {
    const state = make('span', { class: 'page-size' }, `about ${size(offer.about_bytes)}`);
    const button = make('button', { type: 'button', 'data-key': offer.key, 'aria-label': `Download: ${offer.title}`,
        onclick: () => fetchFile(base, offer, line, button, state) }, 'Download');
    const line = make('li', {}, make('strong', {}, offer.title), make('span', { class: 'page-opens' }, `opens in: ${offer.opens_in}`), state, button);
    return line;
}

async function fetchFile(base, offer, row, button, state) {
    const address = `${base}download/${offer.key}`;
    if (button.textContent === 'Stop') { await fetch(`${base}stop`, { method: 'POST' }).catch(() => {}); return; }
    const before = state.textContent;
    state.textContent = 'making it …'; button.textContent = 'Stop'; button.setAttribute('aria-label', `Stop: ${offer.title}`);
    try {
        const answer = await fetch(address, { method: 'HEAD' });
        if (!answer.ok) throw new Error(answer.status === 404 ? 'this result is no longer kept' : decodeURIComponent(answer.headers.get('x-recon-why') ?? `the server answered ${answer.status}`));
        state.textContent = size(Number(answer.headers.get('content-length')));
        const notes = decodeURIComponent(answer.headers.get('x-recon-notes') ?? '');
        row.querySelector('.page-line-warning')?.remove();
        if (notes) row.append(make('p', { class: 'page-line-warning' }, notes));
        make('a', { href: address, download: '' }).click();
        if (['mesh', 'usdz'].includes(offer.key)) document.dispatchEvent(new CustomEvent('recon-made'));
    } catch (error) {
        state.textContent = error.message === 'stopped' ? before : `not made: ${error.message}`;
    } finally {
        button.textContent = 'Download'; button.setAttribute('aria-label', `Download: ${offer.title}`);
    }
}

async function remove(button, base) {
    button.disabled = true;
    const answer = await fetch(base.replace(/\/$/, ''), { method: 'DELETE' });
    document.dispatchEvent(new CustomEvent('recon-gone'));
    const note = answer.ok ? 'Deleted. What the view shows is gone with this page.' : 'It was no longer there.';
    scene.about = null;
    for (const tell of scene.listeners) tell();
    for (const panel of document.querySelectorAll('.page-home')) panel.replaceChildren(empty(note));
}

// --- what the report says of each photo

export function photos_told(element) {
    follow(() => {
        const { about } = scene;
        if (!about) { element.replaceChildren(empty('How each photo was placed, and how sure that is, appears here.')); return; }
        const named = new Set(about.photos.flatMap((photo) => photo.warnings));
        const general = about.report.warnings.filter((text) => !named.has(text));
        const items = about.photos.map((photo, k) => make('li', { class: `page-by-${photo.placed_by}` },
            make('button', { type: 'button', class: 'page-fly', title: 'Look from here', onclick: () => window.reconViewer?.goTo?.(k) }, photo.name),
            make('span', {}, photo.words), make('span', { class: 'page-lens' }, photo.lens),
            ...photo.warnings.map((text) => make('span', { class: 'page-line-warning' }, text))));
        element.replaceChildren(make('p', {}, about.headline), ...general.map((text) => make('p', { class: 'page-line-warning' }, text)),
            make('ol', { class: 'page-told' }, ...items));
    });
}

// --- reproduce

const LINES = { shell: 'Command', python: 'Python', mesh_shell: 'The mesh: command', mesh_python: 'The mesh: Python' };

export function reproduce(element) {
    const show = () => {
        const { about } = scene;
        if (!about) { element.replaceChildren(empty('The lines of Python and the command that give the same result appear here.')); return; }
        element.replaceChildren(make('p', { class: 'page-hint' }, 'Run beside your photos, these give this very result (before any measured scale).'),
            ...Object.entries(LINES).filter(([kind]) => about.reproduce[kind] && (about.mesh_made || !kind.startsWith('mesh')))
                .flatMap(([kind, title]) => [make('h3', {}, title), code(about.reproduce[kind], kind)]));
    };
    follow(show);
    document.addEventListener('recon-made', () => { if (scene.about) scene.about.mesh_made = true; show(); }); // a mesh
}

function code(text, kind) {
    const button = make('button', { type: 'button', onclick: async () => {
        await navigator.clipboard?.writeText(text); button.textContent = 'Copied';
        setTimeout(() => { button.textContent = 'Copy'; }, 1500);
    } }, 'Copy');
    return make('div', { class: 'page-code' }, make('pre', { tabindex: 0, 'data-kind': kind }, text), button);
}
