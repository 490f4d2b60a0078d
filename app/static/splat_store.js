// The splats of view.bin in memory: the words of both textures, and the centres for sorting and picking (layout: app/view_splats.py).

const WORDS = 6; // of 4 bytes, a splat

export const UNKNOWN_VIEW = 511;

export class SplatStore {
    /** Room for `head.count` splats (at most `most`) in textures of `rowsA` and `rowsB` texels. */
    constructor(head, limit, texels) {
        this.head = head;
        this.limit = limit;
        this.a = new Uint32Array(texels * 4);
        this.b = new Uint32Array(texels * 2);
        this.centers = new Float32Array(limit * 3);
        this.count = 0; // so many are here
        this.part = new Uint8Array(Math.max(head.chunk, 1) * WORDS * 4);
        this.filled = 0;
    }

    /** Takes bytes as they come; whole chunks become splats. Returns whether there are more to come. */
    take(bytes) {
        for (let at = 0; at < bytes.length && this.count < this.limit;) {
            const rows = Math.min(this.head.chunk, this.head.count - this.count);
            const n = Math.min(rows * WORDS * 4 - this.filled, bytes.length - at);
            this.part.set(bytes.subarray(at, at + n), this.filled);
            this.filled += n;
            at += n;
            if (this.filled === rows * WORDS * 4) this.unpack(rows);
        }
        return this.count < this.limit;
    }

    unpack(rows) {
        const n = Math.min(rows, this.limit - this.count);
        const words = new Uint32Array(this.part.buffer, 0, rows * WORDS);
        const floats = new Float32Array(this.part.buffer, 0, rows * 4);
        this.a.set(words.subarray(0, n * 4), this.count * 4);
        this.b.set(words.subarray(rows * 4, rows * 4 + n * 2), this.count * 2);
        for (let i = 0, to = this.count * 3; i < n; i++) {
            this.centers[to++] = floats[i * 4];
            this.centers[to++] = floats[i * 4 + 1];
            this.centers[to++] = floats[i * 4 + 2];
        }
        this.count += n;
        this.filled = 0;
    }

    rank(i) { return ((this.b[i * 2 + 1] >>> 24) & 127) / 127; }

    view(i) { return (this.b[i * 2] >>> 24) | ((this.b[i * 2 + 1] >>> 31) << 8); }

    opacity(i) { return (this.a[i * 4 + 3] >>> 24) / 255; }
}
