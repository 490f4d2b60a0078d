// Procedural scenes for training: ray-cast primitives and z-buffered meshes, textured, one shadowed light, exact depth.
//
// Every body is a function of explicit indices; the kernels at the end only hand them out. So the same file compiles for the
// host (any C++17 compiler, RECON_HOST defined), which is the CPU twin used in tests: there is no second implementation.
//
// World: y up. Cameras: x right, y down, z forward; pixel (0, 0) is centred at (0.5, 0.5). Depth is z, 0 where there is nothing.

#ifdef RECON_HOST
#include <algorithm>
#include <cmath>
#include <cstring>
#define DEVICE static inline
struct float3 { float x, y, z; };
static inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline unsigned as_bits(float f) { unsigned u; memcpy(&u, &f, 4); return u; }
static inline float from_bits(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
static inline void keep_smallest(unsigned long long* p, unsigned long long v) { if (v < *p) *p = v; }
using std::max;
using std::min;
#else
#define DEVICE __device__ __forceinline__
DEVICE unsigned as_bits(float f) { return __float_as_uint(f); }
DEVICE float from_bits(unsigned u) { return __uint_as_float(u); }
DEVICE void keep_smallest(unsigned long long* p, unsigned long long v) { atomicMin(p, v); }
#endif

typedef unsigned long long Key;  // depth bits << 32 | instance << 20 | triangle: the smallest is the nearest
const Key NOTHING = ~0ull;

// Rows of the tables that models/training/objects.py, places.py and viewpoints.py fill.
enum PrimitiveColumn { KIND = 0, ROTATION = 1, PLACE = 10, HALF_SIZE = 13, TEXTURE = 16, TEXTURE_SCALE = 17, TINT = 18, OFFSET = 21, SPECULAR = 23, PRIMITIVE_COLUMNS = 24 };
enum InstanceColumn { MESH = 0, SIZE = 13, BRIGHTNESS = 14, OVERRIDE = 15, INSTANCE_COLUMNS = 16 };  // rotation and place as above
enum CameraColumn { FOCAL_X = 12, FOCAL_Y = 13, CENTRE_X = 14, CENTRE_Y = 15, CAMERA_COLUMNS = 16 };  // rotation at 0, place at 9
enum LightColumn { AMBIENT = 3, SUN = 4, SKY = 7, FAR = 8, PLAIN = 9, PLAIN_COLOR = 10, LIGHT_COLUMNS = 16 };  // direction at 0
enum Kind { ABSENT = 0, BOX = 1, ELLIPSOID = 2, CYLINDER = 3, ROOM = 4, GROUND = 5, CONE = 6 };

const int TEXTURE_SIDE = 256, MIP_LEVELS = 6;
const long TEXELS = 65536 + 16384 + 4096 + 1024 + 256 + 64;

DEVICE float3 operator+(float3 a, float3 b) { return make_float3(a.x + b.x, a.y + b.y, a.z + b.z); }
DEVICE float3 operator-(float3 a, float3 b) { return make_float3(a.x - b.x, a.y - b.y, a.z - b.z); }
DEVICE float3 operator*(float3 a, float3 b) { return make_float3(a.x * b.x, a.y * b.y, a.z * b.z); }
DEVICE float3 operator/(float3 a, float3 b) { return make_float3(a.x / b.x, a.y / b.y, a.z / b.z); }
DEVICE float3 operator*(float s, float3 a) { return make_float3(s * a.x, s * a.y, s * a.z); }
DEVICE float dot(float3 a, float3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
DEVICE float3 cross(float3 a, float3 b) { return make_float3(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x); }
DEVICE float3 load3(const float* p) { return make_float3(p[0], p[1], p[2]); }
DEVICE float3 rotate(const float* R, float3 v) { return make_float3(dot(load3(R), v), dot(load3(R + 3), v), dot(load3(R + 6), v)); }
DEVICE float3 rotate_back(const float* R, float3 v) { return v.x * load3(R) + (v.y * load3(R + 3) + v.z * load3(R + 6)); }

struct Crossing { float t; float3 normal, point; };  // in the primitive's own unit axes

DEVICE bool cross_slabs(float3 o, float3 d, bool inside, float nearest, float farthest, Crossing& hit) {
  float3 inverse = make_float3(1.0f / d.x, 1.0f / d.y, 1.0f / d.z);
  float3 a = make_float3(-1 - o.x, -1 - o.y, -1 - o.z) * inverse, b = make_float3(1 - o.x, 1 - o.y, 1 - o.z) * inverse;
  float enter = fmaxf(fmaxf(fminf(a.x, b.x), fminf(a.y, b.y)), fminf(a.z, b.z));
  float leave = fminf(fminf(fmaxf(a.x, b.x), fmaxf(a.y, b.y)), fmaxf(a.z, b.z));
  if (enter > leave || leave < nearest) return false;
  hit.t = inside || enter <= nearest ? leave : enter;
  if (hit.t < nearest || hit.t > farthest) return false;
  float3 p = o + hit.t * d;
  float x = fabsf(p.x), y = fabsf(p.y), z = fabsf(p.z);
  hit.point = p;
  hit.normal = x >= y && x >= z ? make_float3(copysignf(1, p.x), 0, 0) : y >= z ? make_float3(0, copysignf(1, p.y), 0) : make_float3(0, 0, copysignf(1, p.z));
  return true;
}

DEVICE bool cross_sphere(float3 o, float3 d, float nearest, float farthest, Crossing& hit) {
  float a = dot(d, d), b = dot(o, d), discriminant = b * b - a * (dot(o, o) - 1);
  if (discriminant < 0) return false;
  float root = sqrtf(discriminant);
  hit.t = (-b - root) / a;
  if (hit.t < nearest) hit.t = (-b + root) / a;
  if (hit.t < nearest || hit.t > farthest) return false;
  hit.point = hit.normal = o + hit.t * d;
  return true;
}

// Along y in [-1, 1]; radius 1 (cylinder) or (1 - y) / 2 (cone).
DEVICE bool cross_round(float3 o, float3 d, bool cone, float nearest, float farthest, Crossing& hit) {
  float radius = cone ? 0.5f * (1 - o.y) : 1.0f, slope = cone ? -0.5f * d.y : 0.0f;
  float a = d.x * d.x + d.z * d.z - slope * slope, b = o.x * d.x + o.z * d.z - radius * slope, c = o.x * o.x + o.z * o.z - radius * radius;
  float discriminant = b * b - a * c;
  hit.t = 1e30f;
  if (discriminant >= 0 && fabsf(a) > 1e-9f) {
    float root = sqrtf(discriminant);
    for (int side = -1; side <= 1; side += 2) {
      float t = (-b + side * root) / a, y = o.y + t * d.y;
      if (t > nearest && t < hit.t && y >= -1 && y <= 1) {
        hit.t = t;
        hit.point = o + t * d;
        hit.normal = make_float3(hit.point.x, cone ? 0.25f * (1 - y) : 0.0f, hit.point.z);
      }
    }
  }
  for (int end = -1; end <= (cone ? -1 : 1); end += 2) {
    float t = (end - o.y) / d.y;
    float3 p = o + t * d;
    if (t > nearest && t < hit.t && p.x * p.x + p.z * p.z <= 1) {
      hit.t = t;
      hit.point = make_float3(p.x, (float)end, p.z);
      hit.normal = make_float3(0, (float)end, 0);
    }
  }
  return hit.t <= farthest && hit.t < 1e29f;
}

DEVICE bool cross_primitive(const float* q, float3 origin, float3 direction, float nearest, float farthest, Crossing& hit) {
  int kind = (int)q[KIND];
  if (kind == ABSENT) return false;
  float3 size = load3(q + HALF_SIZE);
  float3 o = rotate_back(q + ROTATION, origin - load3(q + PLACE)) / size, d = rotate_back(q + ROTATION, direction) / size;
  if (kind == BOX || kind == ROOM) return cross_slabs(o, d, kind == ROOM, nearest, farthest, hit);
  if (kind == ELLIPSOID) return cross_sphere(o, d, nearest, farthest, hit);
  if (kind == CYLINDER || kind == CONE) return cross_round(o, d, kind == CONE, nearest, farthest, hit);
  if (fabsf(d.y) < 1e-8f) return false;  // GROUND
  hit.t = -o.y / d.y;
  if (hit.t < nearest || hit.t > farthest) return false;
  hit.point = make_float3(o.x + hit.t * d.x, 0, o.z + hit.t * d.z);
  hit.normal = make_float3(0, 1, 0);
  return true;
}

DEVICE int mirror(int i, int side) {
  i %= 2 * side;
  if (i < 0) i += 2 * side;
  return i < side ? i : 2 * side - 1 - i;
}

DEVICE float3 texel(const unsigned char* textures, int id, int level, int x, int y) {
  int side = TEXTURE_SIDE >> level;
  long start = 0;
  for (int l = 0; l < level; l++) start += (long)(TEXTURE_SIDE >> l) * (TEXTURE_SIDE >> l);
  const unsigned char* p = textures + ((long)id * TEXELS + start + (long)mirror(y, side) * side + mirror(x, side)) * 3;
  return make_float3(p[0], p[1], p[2]);
}

DEVICE float3 bilinear(const unsigned char* textures, int id, int level, float u, float v) {
  int side = TEXTURE_SIDE >> level;
  float x = u * side - 0.5f, y = v * side - 0.5f, x0 = floorf(x), y0 = floorf(y), a = x - x0, b = y - y0;
  int i = (int)x0, j = (int)y0;
  float3 top = (1 - a) * texel(textures, id, level, i, j) + a * texel(textures, id, level, i + 1, j);
  float3 bottom = (1 - a) * texel(textures, id, level, i, j + 1) + a * texel(textures, id, level, i + 1, j + 1);
  return (1 - b) * top + b * bottom;
}

// Colour 0..1 at (u, v), mirrored outside 0..1; footprint: how much of the texture a pixel covers.
DEVICE float3 sample(const unsigned char* textures, int id, float u, float v, float footprint) {
  float level = fminf(log2f(fmaxf(footprint * TEXTURE_SIDE, 1.0f)), MIP_LEVELS - 1.001f);
  int fine = (int)level;
  float a = level - fine;
  return (1 / 255.0f) * ((1 - a) * bilinear(textures, id, fine, u, v) + a * bilinear(textures, id, fine + 1, u, v));
}

// The coordinates along a surface whose normal is mostly along one axis.
DEVICE void flatten(float3 p, float3 normal, float& u, float& v) {
  float x = fabsf(normal.x), y = fabsf(normal.y), z = fabsf(normal.z);
  bool up = y >= x && y >= z;
  u = !up && x >= z ? p.z : p.x;
  v = up ? p.z : -p.y;
}

struct Triangle { float3 corner[3]; float u[3], v[3]; };

DEVICE float3 placed_vertex(const float* q, const float* vertices, long i) { return rotate(q + ROTATION, q[SIZE] * load3(vertices + i * 3)) + load3(q + PLACE); }

// Writes the triangle of an instance into the depth keys of one view; `lane` of `lanes` workers takes every lanes-th pixel.
DEVICE void draw_triangle(const float* q, const float* camera, const float* vertices, const unsigned short* face, long first_vertex, Key low,
                          Key* keys, int height, int width, int lane, int lanes) {
  float x[3], y[3], w[3];
  for (int k = 0; k < 3; k++) {
    float3 p = rotate_back(camera, placed_vertex(q, vertices, first_vertex + face[k]) - load3(camera + 9));
    if (p.z < 0.05f) return;
    x[k] = camera[FOCAL_X] * p.x / p.z + camera[CENTRE_X];
    y[k] = camera[FOCAL_Y] * p.y / p.z + camera[CENTRE_Y];
    w[k] = 1 / p.z;
  }
  float area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]);
  if (fabsf(area) < 1e-9f) return;
  int left = max(0, (int)floorf(fminf(x[0], fminf(x[1], x[2])) - 0.5f)), right = min(width - 1, (int)ceilf(fmaxf(x[0], fmaxf(x[1], x[2])) - 0.5f));
  int top = max(0, (int)floorf(fminf(y[0], fminf(y[1], y[2])) - 0.5f)), bottom = min(height - 1, (int)ceilf(fmaxf(y[0], fmaxf(y[1], y[2])) - 0.5f));
  int columns = right - left + 1, rows = bottom - top + 1;
  if (columns <= 0 || rows <= 0) return;
  for (int i = lane; i < columns * rows; i += lanes) {
    int c = left + i % columns, r = top + i / columns;
    float px = c + 0.5f, py = r + 0.5f;
    float a = ((x[1] - px) * (y[2] - py) - (x[2] - px) * (y[1] - py)) / area, b = ((x[2] - px) * (y[0] - py) - (x[0] - px) * (y[2] - py)) / area;
    if (a < 0 || b < 0 || a + b > 1) continue;
    float z = 1 / (a * w[0] + b * w[1] + (1 - a - b) * w[2]);
    keep_smallest(keys + (long)r * width + c, ((Key)as_bits(z) << 32) | low);
  }
}

struct Meshes {
  const float *vertices, *uvs;
  const unsigned short *faces, *face_material;
  const short* materials;
  const int *vertex_range, *face_range, *material_range;  // [meshes, 2]
};

struct Surface { float3 color, point, normal; float specular; };

DEVICE Surface mesh_surface(const float* q, const Meshes& m, int triangle, float3 o, float3 d, float z, float focal, const unsigned char* textures, int mesh_textures) {
  int id = (int)q[MESH];
  long face = (long)m.face_range[id * 2] + triangle, first = m.vertex_range[id * 2];
  Triangle t;
  for (int k = 0; k < 3; k++) {
    long i = first + m.faces[face * 3 + k];
    t.corner[k] = placed_vertex(q, m.vertices, i);
    t.u[k] = m.uvs[i * 2];
    t.v[k] = 1 - m.uvs[i * 2 + 1];
  }
  float3 e1 = t.corner[1] - t.corner[0], e2 = t.corner[2] - t.corner[0], n = cross(e1, e2);
  float square = dot(n, n) + 1e-20f, length = sqrtf(dot(d, d));
  Surface s;
  s.point = o + z * d;
  float3 r = s.point - t.corner[0];
  float b = dot(cross(r, e2), n) / square, c = dot(cross(e1, r), n) / square, a = 1 - b - c;
  s.normal = rsqrtf(square) * n;
  float facing = fmaxf(fabsf(dot(s.normal, d)) / length, 0.15f), pixel = z * length / focal / facing;
  const short* material = m.materials + ((long)m.material_range[id * 2] + m.face_material[face]) * 4;
  s.color = (1 / 255.0f) * make_float3(material[1], material[2], material[3]);
  if (material[0] >= 0) {
    float area = fabsf((t.u[1] - t.u[0]) * (t.v[2] - t.v[0]) - (t.u[2] - t.u[0]) * (t.v[1] - t.v[0]));
    s.color = sample(textures, mesh_textures + material[0], a * t.u[0] + b * t.u[1] + c * t.u[2], a * t.v[0] + b * t.v[1] + c * t.v[2], pixel * sqrtf(area * rsqrtf(square)));
  } else if (q[OVERRIDE] >= 0) {
    float u, v;
    flatten(s.point, s.normal, u, v);
    s.color = 0.4f * s.color + 0.6f * sample(textures, (int)q[OVERRIDE], u, v, pixel);
  }
  s.color = q[BRIGHTNESS] * s.color;
  s.specular = 0;
  return s;
}

DEVICE Surface primitive_surface(const float* q, const Crossing& hit, float3 o, float3 d, float focal, const unsigned char* textures) {
  float3 size = load3(q + HALF_SIZE), n = rotate(q + ROTATION, hit.normal / size);
  float length = sqrtf(dot(d, d)), u, v, scale = q[TEXTURE_SCALE];
  Surface s;
  s.normal = rsqrtf(dot(n, n) + 1e-20f) * n;
  s.point = o + hit.t * d;
  flatten(hit.point * size, hit.normal, u, v);
  float facing = fmaxf(fabsf(dot(s.normal, d)) / length, 0.1f);
  s.color = sample(textures, (int)q[TEXTURE], u * scale + q[OFFSET], v * scale + q[OFFSET + 1], hit.t * length / focal * scale / facing) * load3(q + TINT);
  s.specular = q[SPECULAR];
  return s;
}

// Colour, depth and normal of one pixel of one view of one scene; the tables are the scene's own rows.
DEVICE void shade_pixel(const float* primitives, int primitive_count, const float* instances, const float* camera, const float* light, const Meshes& meshes,
                        const unsigned char* textures, int mesh_textures, Key key, int x, int y, float* color, float* depth, float* normal) {
  float3 d = rotate(camera, make_float3((x + 0.5f - camera[CENTRE_X]) / camera[FOCAL_X], (y + 0.5f - camera[CENTRE_Y]) / camera[FOCAL_Y], 1)), o = load3(camera + 9);
  float length = sqrtf(dot(d, d));
  Crossing best, hit;
  best.t = light[FAR];
  int nearest = -1;
  for (int k = 0; k < primitive_count; k++)
    if (cross_primitive(primitives + k * PRIMITIVE_COLUMNS, o, d, 1e-3f, best.t, hit)) { best = hit; nearest = k; }
  float mesh_z = from_bits((unsigned)(key >> 32));
  Surface s;
  if (key != NOTHING && mesh_z < best.t) {
    s = mesh_surface(instances + ((unsigned)key >> 20) * INSTANCE_COLUMNS, meshes, (int)((unsigned)key & 0xfffff), o, d, mesh_z, camera[FOCAL_X], textures, mesh_textures);
    *depth = mesh_z;
  } else if (nearest >= 0) {
    s = primitive_surface(primitives + nearest * PRIMITIVE_COLUMNS, best, o, d, camera[FOCAL_X], textures);
    *depth = best.t;
  } else {
    float3 sky = light[PLAIN] > 0.5f ? load3(light + PLAIN_COLOR) : sample(textures, (int)light[SKY], atan2f(d.x, d.z) * 0.3183f, d.y / length * 0.7f + 0.5f, 0.01f);
    color[0] = sky.x; color[1] = sky.y; color[2] = sky.z;
    normal[0] = normal[1] = normal[2] = *depth = 0;
    return;
  }
  float facing = -dot(s.normal, d) / length;
  if (facing < 0) { s.normal = -1.0f * s.normal; facing = -facing; }
  float3 sun = load3(light);
  float lit = fmaxf(dot(s.normal, sun), 0.0f);
  if (lit > 0) {  // primitives cast shadows, meshes do not: a ray against every triangle would cost more than the picture
    float3 lifted = s.point + 2e-3f * *depth * s.normal;
    for (int k = 0; k < primitive_count; k++) {
      const float* q = primitives + k * PRIMITIVE_COLUMNS;
      if ((int)q[KIND] == ROOM || (int)q[KIND] == GROUND) continue;
      if (cross_primitive(q, lifted, sun, 1e-3f, 30.0f, hit)) { lit = 0; break; }
    }
  }
  float3 half = sun - (1 / length) * d;
  float shine = lit > 0 ? s.specular * powf(fmaxf(dot(s.normal, half) * rsqrtf(dot(half, half) + 1e-12f), 0.0f), 24.0f) : 0.0f;
  float ambient = light[AMBIENT] * (0.75f + 0.25f * s.normal.y) * (0.5f + 0.5f * facing);
  float3 out = s.color * (make_float3(ambient, ambient, ambient) + lit * load3(light + SUN));
  color[0] = fminf(out.x + shine, 1.0f); color[1] = fminf(out.y + shine, 1.0f); color[2] = fminf(out.z + shine, 1.0f);
  normal[0] = s.normal.x; normal[1] = s.normal.y; normal[2] = s.normal.z;
}

// All of one triangle's views, and one pixel, by flat index: what a worker of the kernels below does.
DEVICE void draw(const float* instances, const float* cameras, const Meshes& m, Key* keys, int scene, int instance, int triangle, int instance_count, int views,
                 int height, int width, int lane, int lanes) {
  const float* q = instances + ((long)scene * instance_count + instance) * INSTANCE_COLUMNS;
  int id = (int)q[MESH];
  if (id < 0 || triangle >= m.face_range[id * 2 + 1] - m.face_range[id * 2]) return;
  const unsigned short* face = m.faces + ((long)m.face_range[id * 2] + triangle) * 3;
  for (int v = 0; v < views; v++) {
    long view = (long)scene * views + v;
    draw_triangle(q, cameras + view * CAMERA_COLUMNS, m.vertices, face, m.vertex_range[id * 2], ((Key)instance << 20) | (Key)triangle,
                  keys + view * height * width, height, width, lane, lanes);
  }
}

DEVICE void shade(const float* primitives, const float* instances, const float* cameras, const float* lights, const Meshes& m, const unsigned char* textures,
                  const Key* keys, float* color, float* depth, float* normal, int scene, int index, int primitive_count, int instance_count, int mesh_textures, int views, int height, int width) {
  int v = index / (height * width), pixel = index % (height * width);
  long view = (long)scene * views + v, i = view * height * width + pixel;
  shade_pixel(primitives, primitive_count, instances + (long)scene * instance_count * INSTANCE_COLUMNS, cameras + view * CAMERA_COLUMNS, lights + (long)scene * LIGHT_COLUMNS,
              m, textures, mesh_textures, keys[i], pixel % width, pixel / width, color + i * 3, depth + i, normal + i * 3);
}

#define MESH_ARGUMENTS const float *vertices, const float *uvs, const unsigned short *faces, const unsigned short *face_material, const short *materials, \
                       const int *vertex_range, const int *face_range, const int *material_range
#define MESHES {vertices, uvs, faces, face_material, materials, vertex_range, face_range, material_range}

#ifdef RECON_HOST
extern "C" void draw_meshes(const float* instances, const float* cameras, MESH_ARGUMENTS, Key* keys, int scenes, int instance_count, int triangles, int views, int height, int width) {
  Meshes m = MESHES;
  for (int s = 0; s < scenes; s++)
    for (int i = 0; i < instance_count; i++)
      for (int t = 0; t < triangles; t++) draw(instances, cameras, m, keys, s, i, t, instance_count, views, height, width, 0, 1);
}
extern "C" void shade_scenes(const float* primitives, const float* instances, const float* cameras, const float* lights, MESH_ARGUMENTS, const unsigned char* textures, const Key* keys,
                             float* color, float* depth, float* normal, int scenes, int primitive_count, int instance_count, int mesh_textures, int views, int height, int width) {
  Meshes m = MESHES;
  for (int s = 0; s < scenes; s++)
    for (int i = 0; i < views * height * width; i++)
      shade(primitives + (long)s * primitive_count * PRIMITIVE_COLUMNS, instances, cameras, lights, m, textures, keys, color, depth, normal, s, i, primitive_count, instance_count, mesh_textures, views, height, width);
}
#else
// grid (warps of triangles, scenes * instances): a warp a triangle.
extern "C" __global__ void draw_meshes(const float* instances, const float* cameras, MESH_ARGUMENTS, Key* keys, int scenes, int instance_count, int triangles, int views, int height, int width) {
  Meshes m = MESHES;
  int triangle = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (triangle < triangles)
    draw(instances, cameras, m, keys, blockIdx.y / instance_count, blockIdx.y % instance_count, triangle, instance_count, views, height, width, threadIdx.x % 32, 32);
}
// grid (pixels of all views of a scene, scenes): a thread a pixel; the scene's primitives lie in shared memory.
extern "C" __global__ void shade_scenes(const float* primitives, const float* instances, const float* cameras, const float* lights, MESH_ARGUMENTS, const unsigned char* textures, const Key* keys,
                                        float* color, float* depth, float* normal, int scenes, int primitive_count, int instance_count, int mesh_textures, int views, int height, int width) {
  extern __shared__ float own[];
  Meshes m = MESHES;
  int scene = blockIdx.y, index = blockIdx.x * blockDim.x + threadIdx.x, n = primitive_count * PRIMITIVE_COLUMNS;
  for (int k = threadIdx.x; k < n; k += blockDim.x) own[k] = primitives[(long)scene * n + k];
  __syncthreads();
  if (index < views * height * width)
    shade(own, instances, cameras, lights, m, textures, keys, color, depth, normal, scene, index, primitive_count, instance_count, mesh_textures, views, height, width);
}
#endif
