// Hands on the canvas. One finger or the left button turns, two fingers or the right button move, pinching or the wheel goes nearer.

const CLICK_PX = 6; // a press that moves no farther is a click

/** Listens on the canvas; `does` has moving(), click(x, y), double(x, y) and key(event) -> whether it was used. */
export function listen(canvas, camera, does) {
    const fingers = new Map();
    let travelled = 0, several = false;
    canvas.addEventListener('pointerdown', (event) => {
        canvas.setPointerCapture(event.pointerId);
        canvas.focus({ preventScroll: true });
        if (!fingers.size) travelled = 0;
        several = fingers.size > 0;
        fingers.set(event.pointerId, { x: event.clientX, y: event.clientY, button: event.button });
    });
    canvas.addEventListener('pointermove', (event) => {
        const before = fingers.get(event.pointerId);
        if (!before) return;
        const dx = event.clientX - before.x, dy = event.clientY - before.y;
        travelled += Math.abs(dx) + Math.abs(dy);
        if (travelled < CLICK_PX && fingers.size === 1) return;
        does.moving();
        if (fingers.size === 2) twoFingers(event, before, dx, dy);
        else if (before.button === 2 || before.button === 1 || event.shiftKey) camera.pan(dx, dy);
        else camera.orbit(dx, dy);
        Object.assign(before, { x: event.clientX, y: event.clientY });
    });
    const twoFingers = (event, before, dx, dy) => {
        const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
        const span = (x, y) => Math.max(Math.hypot(x - other.x, y - other.y), 1);
        camera.dolly(span(before.x, before.y) / span(event.clientX, event.clientY));
        camera.pan(dx / 2, dy / 2);
    };
    const lift = (event) => {
        const was = fingers.get(event.pointerId);
        fingers.delete(event.pointerId);
        if (was && !several && travelled < CLICK_PX && event.type === 'pointerup' && was.button === 0) does.click(event.offsetX, event.offsetY);
    };
    canvas.addEventListener('pointerup', lift);
    canvas.addEventListener('pointercancel', lift);
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('dblclick', (event) => does.double(event.offsetX, event.offsetY));
    canvas.addEventListener('wheel', (event) => {
        event.preventDefault();
        does.moving();
        camera.dolly(Math.exp(Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) * 0.0015));
    }, { passive: false });
    canvas.addEventListener('keydown', (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (moveByKey(event, camera, does) || does.key(event)) event.preventDefault();
    });
}

const STEP = 30; // pixels of a drag that a press of an arrow key stands for

function moveByKey(event, camera, does) {
    const way = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const factor = { '+': 0.9, '=': 0.9, '-': 1 / 0.9 }[event.key];
    if (!way && !factor) return false;
    does.moving();
    if (factor) camera.dolly(factor);
    else if (event.shiftKey) camera.pan(way[0] * STEP, way[1] * STEP);
    else camera.orbit(way[0] * STEP, way[1] * STEP);
    return true;
}
