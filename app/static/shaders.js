// The GPU's side of view.bin: how a splat or point is read from the two textures (layout: app/view_splats.py) and filtered.

const FIELDS = `
#ifndef RECON_FIELDS
#define RECON_FIELDS
float reconRank(uvec2 b) { return float((b.y >> 24) & 127u) / 127.0; }
int reconView(uvec2 b) { return int((b.x >> 24) | ((b.y >> 31) << 8)); }
vec4 reconColor(uint c) { return vec4(float(c & 255u), float((c >> 8) & 255u), float((c >> 16) & 255u), float(c >> 24)) / 255.0; }
#endif
`;
const FILTER = `
uniform float uLeastRank; uniform int uOnlyView;
bool reconHidden(uvec2 b) {
    int view = reconView(b);
    return reconRank(b) < uLeastRank || (uOnlyView >= 0 && view != uOnlyView && view != 511);
}
`;

/** Centre, colour, scale and rotation of a splat, for the engine's GSplatFormat with the textures dataA and dataB. */
export const READ_SPLAT = `${FIELDS}
uniform vec2 uScaleLog;
vec3 getCenter() { return uintBitsToFloat(loadDataA().xyz); }
vec4 getColor() { return reconColor(loadDataA().w); }
vec3 getScale() {
    uint s = loadDataB().x;
    vec3 level = vec3(float(s & 255u), float((s >> 8) & 255u), float((s >> 16) & 255u)) / 255.0;
    return exp(uScaleLog.x + level * (uScaleLog.y - uScaleLog.x));
}
vec4 getRotation() {
    int q = int(loadDataB().y);
    vec3 v = vec3(float((q << 24) >> 24), float((q << 16) >> 24), float((q << 8) >> 24)) * (0.70710678 / 127.0);
    return vec4(sqrt(max(0.0, 1.0 - dot(v, v))), v);
}
`;

/** The sliders, for setWorkBufferModifier. */
export const MODIFY_SPLAT = `${FIELDS}${FILTER}
uniform float uOpacity; uniform float uSize;
void modifySplatCenter(inout vec3 center) {}
void modifySplatRotationScale(vec3 originalCenter, vec3 modifiedCenter, inout vec4 rotation, inout vec3 scale) { scale *= uSize; }
void modifySplatColor(vec3 center, inout vec4 color) { color.a = reconHidden(loadDataB().xy) ? 0.0 : color.a * uOpacity; }
`;

export const POINT_VERTEX = `
uniform highp usampler2D dataA; uniform highp usampler2D dataB;
uniform mat4 matrix_model; uniform mat4 matrix_viewProjection;
uniform float uPointSize; uniform int uWidth;
${FIELDS}${FILTER}
varying vec4 vColor;
void main(void) {
    ivec2 at = ivec2(gl_VertexID % uWidth, gl_VertexID / uWidth);
    uvec4 a = texelFetch(dataA, at, 0);
    bool hidden = reconHidden(texelFetch(dataB, at, 0).xy);
    vColor = reconColor(a.w);
    gl_Position = hidden ? vec4(0.0, 0.0, 2.0, 1.0) : matrix_viewProjection * matrix_model * vec4(uintBitsToFloat(a.xyz), 1.0);
    gl_PointSize = uPointSize;
}`;
export const POINT_FRAGMENT = `
varying vec4 vColor;
uniform float uOpacity;
void main(void) {
    if (uOpacity < fract(52.9829189 * fract(dot(gl_FragCoord.xy, vec2(0.06711056, 0.00583715))))) discard;
    gl_FragColor = vec4(vColor.rgb, 1.0);
}`;

export const LINE_VERTEX = `
attribute vec3 vertex_position;
uniform mat4 matrix_model; uniform mat4 matrix_viewProjection;
void main(void) { gl_Position = matrix_viewProjection * matrix_model * vec4(vertex_position, 1.0); }`;
export const LINE_FRAGMENT = 'uniform vec3 uLineColor; void main(void) { gl_FragColor = vec4(uLineColor, 1.0); }';
