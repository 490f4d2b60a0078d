// Light or dark: inside a Gradio page as the page is, elsewhere as the person's system is.

export const BACKGROUND = { dark: [0.11, 0.12, 0.14], light: [0.93, 0.935, 0.945] };

/** Keeps data-theme of the element right, and tells each change; returns what ends that. */
export function followTheme(host, onChange) {
    const system = window.matchMedia('(prefers-color-scheme: dark)');
    const gradio = host.closest('.gradio-container') !== null;
    const look = () => {
        const theme = (gradio ? host.closest('.dark') !== null : system.matches) ? 'dark' : 'light';
        if (host.dataset.theme === theme) return;
        host.dataset.theme = theme;
        onChange(theme);
    };
    const watcher = new MutationObserver(look);
    for (const one of [document.documentElement, document.body]) watcher.observe(one, { attributes: true, attributeFilter: ['class'] });
    system.addEventListener('change', look);
    look();
    return () => { watcher.disconnect(); system.removeEventListener('change', look); };
}
