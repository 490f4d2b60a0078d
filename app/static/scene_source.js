// Where a scene's files come from: a server's folder. (An offline page brings a source of its own with the same four functions.)

/** The source of the scene under `baseUrl`: head() -> view.json, chunks() yields pieces of view.bin, bytes(name), address(name) for pictures. */
export function servedScene(baseUrl) {
    const base = new URL(baseUrl.endsWith('/') ? baseUrl : `${baseUrl}/`, document.baseURI);
    const address = (name) => new URL(name, base).href;
    const get = async (name) => {
        const answer = await fetch(address(name), { credentials: 'same-origin' });
        if (!answer.ok) {
            const { detail } = await answer.json().catch(() => ({}));
            throw new Error(answer.status === 404 ? 'it is no longer on the server' : detail ?? `the server says ${answer.status}`);
        }
        return answer;
    };
    return {
        address,
        head: async () => (await get('view.json')).json(),
        bytes: async (name) => (await get(name)).arrayBuffer(),
        async* chunks() {
            const reader = (await get('view.bin')).body.getReader();
            try {
                for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
            } finally {
                reader.cancel().catch(() => {});
            }
        },
        /** Ends what the server is making of the scene: the request that waits for it fails with "stopped". */
        stopMaking: () => fetch(address('stop'), { method: 'POST', credentials: 'same-origin' }).catch(() => {}),
        /** Tells the server how many metres a unit has; whether it took that for the downloads. */
        async setScale(metresPerUnit) {
            const body = JSON.stringify({ metres_per_unit: metresPerUnit });
            const options = { method: 'POST', headers: { 'Content-Type': 'application/json' }, credentials: 'same-origin', body };
            return (await fetch(address('scale'), options)).ok;
        },
    };
}
