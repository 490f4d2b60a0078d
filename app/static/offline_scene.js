// The scene of an offline page, opened from a disk: browsers let such a page fetch nothing, but scripts and pictures beside it load.
// app/offline.py writes each file's bytes as scripts scene/NAME-000.js, ... that call reconPart(base64).

/** The source (see scene_source.js) of the scene beside the page; `head` is view.json with `parts`: name -> number of scripts. */
export function offlineScene(head) {
    const address = (name) => new URL(name, document.baseURI).href;
    async function* parts(name) {
        for (let i = 0; i < (head.parts[name] ?? 0); i++) yield bytesOf(await part(address(`scene/${name}-${String(i).padStart(3, '0')}.js`)));
    }
    return {
        address,
        head: async () => head,
        chunks: () => parts('view.bin'),
        async bytes(name) {
            const all = [];
            for await (const bytes of parts(name)) all.push(bytes);
            return new Blob(all).arrayBuffer();
        },
    };
}

/** What the script at this address hands to reconPart. */
function part(address) {
    return new Promise((done, failed) => {
        const script = document.createElement('script');
        window.reconPart = (text) => done(text);
        script.src = address;
        script.onload = () => { script.remove(); failed(new Error(`${address} holds nothing`)); };
        script.onerror = () => failed(new Error(`${address} is missing: all files of the folder belong together`));
        document.head.append(script);
    });
}

function bytesOf(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes;
}
