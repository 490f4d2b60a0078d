// Runs CUDA C++ on the host, for tests: every CUDA thread is a coroutine; barriers, votes and shuffles really wait for the other threads, blocks of
// one launch run mixed (four at a time, in random order), so that barriers, races between warps and waiting for other blocks are all exercised.
#pragma once
#define HOST_CUDA
#include <algorithm>
#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <tuple>
#include <ucontext.h>
#include <utility>
#include <vector>
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
using std::max;
using std::min;
struct float2 { float x, y; };
struct float3 { float x, y, z; };
struct float4 { float x, y, z, w; };
struct uint2 { unsigned x, y; };
struct uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
struct Dim { unsigned x = 1, y = 1, z = 1; };

namespace host {
constexpr int STACK = 1 << 16, CONCURRENT = 4;
struct Group {  // threads that meet: a warp or a block
    unsigned size = 0, arrived = 0, generation = 0;
    std::vector<uint64_t> values[2];
    void resize(unsigned n) { size = n, values[0].resize(n), values[1].resize(n); }
};
struct BlockState {
    unsigned number = 0, running = 0;
    std::vector<char> shared = std::vector<char>(1 << 17);
    Group all;
    std::vector<Group> warps;
};
struct Thread {
    jmp_buf at;
    ucontext_t start;
    std::vector<char> stack = std::vector<char>(STACK);
    BlockState* block = nullptr;
    Dim index;
    bool done = true, begun = false;
};
inline Thread* current;
inline jmp_buf scheduler;
inline Dim grid, block;
inline void (*body)(void*);
inline void* body_argument;
inline void yield() { if (!_setjmp(current->at)) _longjmp(scheduler, 1); }
inline void entry() { body(body_argument); current->done = true; current->block->running--; _longjmp(scheduler, 1); }
inline const std::vector<uint64_t>& meet(Group& g, unsigned rank, uint64_t value) {
    unsigned mine = g.generation;
    g.values[mine & 1][rank] = value;
    if (++g.arrived == g.size) g.arrived = 0, g.generation++;
    else while (g.generation == mine) yield();
    return g.values[mine & 1];
}
inline void run() {
    static std::mt19937 random(1);
    std::vector<std::unique_ptr<BlockState>> blocks;
    std::vector<std::unique_ptr<Thread>> threads;
    unsigned next = 0, per = block.x, lanes = min(32u, per), many = min<unsigned>(CONCURRENT, grid.x);
    for (unsigned i = 0; i < many * per; i++) threads.push_back(std::make_unique<Thread>());
    for (unsigned i = 0; i < many; i++) {
        blocks.push_back(std::make_unique<BlockState>());
        blocks[i]->all.resize(per);
        blocks[i]->warps.resize((per + 31) / 32);
        for (auto& w : blocks[i]->warps) w.resize(lanes);
    }
    std::vector<unsigned> order(many);
    for (;;) {
        bool any = false;
        for (unsigned i = 0; i < many; i++) order[i] = i;
        std::shuffle(order.begin(), order.end(), random);
        for (unsigned o : order) {
            BlockState& b = *blocks[o];
            if (!b.running && next < grid.x) {
                b.number = next++, b.running = per;
                std::fill(b.shared.begin(), b.shared.end(), (char)0xa5);  // what was there before means nothing
                for (unsigned t = 0; t < per; t++) { Thread& k = *threads[o * per + t]; k.done = k.begun = false, k.block = &b, k.index.x = t; }
            }
            if (!b.running) continue;
            any = true;
            unsigned offset = random() % per;
            for (unsigned t = 0; t < per; t++) {
                Thread& k = *threads[o * per + (t + offset) % per];
                if (k.done) continue;
                current = &k;
                if (_setjmp(scheduler)) continue;
                if (k.begun) _longjmp(k.at, 1);
                k.begun = true;
                getcontext(&k.start);
                k.start.uc_stack.ss_sp = k.stack.data(), k.start.uc_stack.ss_size = STACK, k.start.uc_link = nullptr;
                makecontext(&k.start, entry, 0);
                setcontext(&k.start);
            }
        }
        if (!any) return;
    }
}
inline uint64_t bits_of(double) = delete;
template <class T> uint64_t to_bits(T v) { uint64_t b = 0; memcpy(&b, &v, sizeof v); return b; }
template <class T> T from_bits(uint64_t b) { T v; memcpy(&v, &b, sizeof v); return v; }
inline Group& warp() { return current->block->warps[current->index.x / 32]; }
inline unsigned lane() { return current->index.x % 32; }
template <class T> T shuffle(T v, unsigned from) { auto& all = meet(warp(), lane(), to_bits(v)); return from < 32 ? from_bits<T>(all[from]) : v; }
template <class... A> void launch(void (*kernel)(A...), unsigned blocks, unsigned threads, void** values) {
    using Values = std::tuple<std::decay_t<A>...>;
    struct Call { void (*kernel)(A...); Values values; } call{kernel, {}};
    size_t i = 0;
    std::apply([&](auto&... v) { ((memcpy(&v, values[i++], sizeof v)), ...); }, call.values);
    grid.x = blocks, block.x = threads, body_argument = &call;
    body = [](void* c) { auto& k = *(Call*)c; std::apply(k.kernel, k.values); };
    run();
}
}  // namespace host

#define threadIdx (host::current->index)
#define blockIdx (Dim{host::current->block->number, 0, 0})
#define blockDim (host::block)
#define gridDim (host::grid)
#define SHARED(TYPE, NAME) static_assert(sizeof(TYPE) < (1 << 17)); TYPE& NAME = *(TYPE*)host::current->block->shared.data()
inline void __syncthreads() { host::meet(host::current->block->all, threadIdx.x, 0); }
inline int __syncthreads_count(int v) {
    auto& all = host::meet(host::current->block->all, threadIdx.x, v != 0);
    int sum = 0;
    for (auto x : all) sum += (int)x;
    return sum;
}
inline void __syncwarp() { host::meet(host::warp(), host::lane(), 0); }
inline unsigned __ballot_sync(unsigned, int v) {
    auto& all = host::meet(host::warp(), host::lane(), v != 0);
    unsigned bits = 0;
    for (unsigned i = 0; i < 32; i++) bits |= (unsigned)all[i] << i;
    return bits;
}
inline int __any_sync(unsigned m, int v) { return __ballot_sync(m, v) != 0; }
template <class T> T __shfl_sync(unsigned, T v, int from) { return host::shuffle(v, from & 31); }
template <class T> T __shfl_up_sync(unsigned, T v, int by) { unsigned l = host::lane(); return host::shuffle(v, (int)l >= by ? l - by : l); }
template <class T> T __shfl_down_sync(unsigned, T v, int by) { unsigned l = host::lane(); return host::shuffle(v, l + by < 32 ? l + by : l); }
template <class T> T __shfl_xor_sync(unsigned, T v, int by) { return host::shuffle(v, host::lane() ^ by); }
template <class T> T atomicAdd(T* p, T v) { T old = *p; *p += v; return old; }
template <class T> T atomicMax(T* p, T v) { T old = *p; *p = max(old, v); return old; }
template <class T> T atomicOr(T* p, T v) { T old = *p; *p |= v; return old; }
inline int __clz(unsigned v) { return v ? __builtin_clz(v) : 32; }
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
template <class T> T __ldg(const T* p) { return *p; }
inline unsigned __float_as_uint(float v) { unsigned b; memcpy(&b, &v, 4); return b; }
inline float __uint_as_float(unsigned v) { float b; memcpy(&b, &v, 4); return b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float root(float a) { return sqrtf(a); }
inline float inverse(float a) { return 1.f / a; }
inline float rsqrtf(float a) { return 1.f / sqrtf(a); }
inline unsigned short half_bits(float v) { _Float16 h = (_Float16)v; unsigned short b; memcpy(&b, &h, 2); return b; }
inline float half_value(unsigned bits) { unsigned short b = (unsigned short)bits; _Float16 h; memcpy(&h, &b, 2); return (float)h; }
inline float power_of_two(float x) { return exp2f(x); }
inline float4 load_once(const float4* p) { return *p; }
template <class T> void publish(T* p, T word) { *p = word; host::yield(); }
template <class T> T await(T* p) { while (!*(volatile T*)p) host::yield(); return *p; }
