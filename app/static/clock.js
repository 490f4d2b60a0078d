// How long loading took, in milliseconds from its start: `first` picture drawn, `loaded` all splats here, `all` of them drawn.

export class Clock {
    /** `shown()`: whether the engine's last frame shows a sorted picture of what has come. */
    constructor(engine, shown) {
        this.times = {};
        engine.app.on('postrender', () => {
            if (!shown()) return;
            this.tell('first');
            if (this.times.loaded) this.tell('all');
        });
    }

    start() {
        this.began = performance.now();
        this.times = {};
    }

    tell(what) { this.times[what] ??= performance.now() - this.began; }
}
