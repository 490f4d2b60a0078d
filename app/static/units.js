// Lengths for people: "units" until somebody says how long one is.

const METRES = { mm: 0.001, cm: 0.01, m: 1 };

/** A length of the scene in words; `metresPerUnit` is null where nobody knows. */
export function lengthText(units, metresPerUnit) {
    if (!metresPerUnit) return `${digits(units)} units`;
    const metres = rounded(units * metresPerUnit);
    const unit = metres < 0.01 ? 'mm' : metres < 1 ? 'cm' : 'm';
    return `${digits(metres / METRES[unit])} ${unit}`;
}

/** Metres per unit when so many units are `amount` of mm, cm or m; null for what is no length. */
export function scaleFrom(units, amount, unit) {
    const value = Number(String(amount).trim().replace(',', '.'));
    const scale = value * METRES[unit] / units;
    return value > 0 && Number.isFinite(scale) && scale > 0 ? scale : null;
}

const rounded = (value) => (value >= 1000 ? Math.round(value) : Number(value.toPrecision(3)));
const digits = (value) => String(rounded(value));
