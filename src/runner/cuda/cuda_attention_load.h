/* K and V on their way to shared memory, chunk by chunk: for attention with tensor cores. */
#ifndef NANO_RUNNER_CUDA_CUDA_ATTENTION_LOAD_H
#define NANO_RUNNER_CUDA_CUDA_ATTENTION_LOAD_H

#include "runner/cuda/cuda_attention_rows.h"
#include "runner/cuda/cuda_kv.h"

/* The keys of a thread, one in each chunk. Neighbouring threads have the same one, and load their
 * shares of 16 bytes of it. */
template <typename Shape> struct nano_attention_keys {
    static constexpr int THREADS = Shape::THREADS / Shape::CHUNK; /* of a key */
    static constexpr int CHUNK_STEPS = Shape::V_IN_K ? 1 : 2;
    const struct nano_attention_params *p;
    const struct nano_cuda_attention_item *item;
    const int32_t *table;
    int kv_head, num_steps;
    int position;         /* of the key in the next chunk */
    int32_t next_block;   /* where it is; read a chunk ahead */
    int32_t block, token; /* of the chunk that is being loaded */
    bool valid;

    static __device__ int index(void) /* of the key in a chunk */
    {
        return static_cast<int>(threadIdx.x) / THREADS;
    }
    static __device__ int share(void)
    {
        return static_cast<int>(threadIdx.x) % THREADS;
    }

    __device__ void look_up(void)
    {
        if (position >= item->begin && position < item->end)
            next_block = table[position / p->args.block_size];
    }

    __device__ void begin(int first_chunk)
    {
        num_steps = CHUNK_STEPS * ((item->end - first_chunk + Shape::CHUNK - 1) / Shape::CHUNK);
        position = first_chunk + index();
        next_block = block = token = 0;
        valid = false;
        look_up();
    }

    __device__ void next_chunk(void)
    {
        const int block_size = p->args.block_size;
        valid = position >= item->begin && position < item->end;
        block = valid ? next_block : 0;
        token = valid ? kv_head * block_size + position % block_size : 0;
        position += Shape::CHUNK;
        look_up();
    }
};

/* Begins to load what step `step` is about: K or V of a chunk. */
template <typename Shape, typename Loader>
static __device__ inline void nano_attention_load(Loader &loader, int step)
{
    struct nano_attention_keys<Shape> &keys = loader.keys;
    if (step < keys.num_steps) {
        if (step % keys.CHUNK_STEPS == 0) {
            keys.next_chunk();
            loader.template copy<Shape::K_DIM>(keys.p->k, step);
        } else {
            loader.template copy<Shape::V_DIM>(keys.p->v, step);
        }
    }
    nano_cp_async_commit();
}

/* Fills slots, step after step. `begin` begins with an item's keys; `next` gives the slot of the
 * next step, after which nobody looks at the one of the step before any more. */
template <typename Shape, bool IsBytes> struct nano_attention_loader;

/* Halves go straight to their slots. */
template <typename Shape> struct nano_attention_loader<Shape, false> {
    struct nano_attention_keys<Shape> keys;
    uint8_t *shared;
    int step; /* the next */

    __device__ uint16_t *slot(int step) const
    {
        return reinterpret_cast<uint16_t *>(shared) + step % Shape::SLOTS * Shape::SLOT_HALVES;
    }

    template <int Dim> __device__ void copy(const struct nano_kv_pool &pool, int step) const
    {
        const uint8_t *from = nano_kv_values(pool, keys.block, keys.token);
        uint16_t *to = slot(step) + keys.index() * Shape::STRIDE;
#pragma unroll
        for (int i = 0; i < Dim / 8; i += keys.THREADS) {
            const int unit = i + keys.share();
            if (Dim / 8 % keys.THREADS == 0 || unit < Dim / 8)
                nano_cp_async16(to + 8 * unit, from + 16 * unit, keys.valid);
        }
    }

    __device__ void begin(int first_chunk)
    {
        keys.begin(first_chunk);
        step = 0;
#pragma unroll
        for (int i = 0; i < Shape::SLOTS - 1; i++)
            nano_attention_load<Shape>(*this, i);
    }

    __device__ const uint16_t *next(void)
    {
        nano_cp_async_wait<Shape::SLOTS - 2>();
        __syncthreads();
        nano_attention_load<Shape>(*this, step + Shape::SLOTS - 1);
        return slot(step++);
    }
};

/* Bytes take two hops: they come to raw slots as ever, some steps ahead, and are converted from
 * there to slots of halves, each by the thread that loaded it and so without a barrier between. By
 * all threads together a chunk is converted once, also where each warp has a tile of its own, and
 * products find the halves that they would find with a pool of halves. With two slots the next step
 * is converted while other warps still compute, behind the one barrier that a step has anyway; with
 * one slot, where shared memory has no room for two, a second barrier follows. */
template <typename Shape> struct nano_attention_loader<Shape, true> {
    static_assert(Shape::SLOTS == 1 || Shape::SLOTS == 2, "one is computed, one converted");
    static constexpr int AHEAD = Shape::SLOTS - 1;
    struct nano_attention_keys<Shape> keys;
    uint8_t *shared;
    int step; /* the next */

    __device__ uint16_t *slot(int step) const
    {
        return reinterpret_cast<uint16_t *>(shared) + step % Shape::SLOTS * Shape::SLOT_HALVES;
    }

    /* Where the thread keeps its 16 bytes number i of a key: beside its neighbours'. */
    template <int Dim> __device__ uint8_t *raw(int step, int i) const
    {
        const int units = Dim / 16, rest = units % keys.THREADS;
        const int own = (i + 1) * keys.THREADS <= units ? static_cast<int>(threadIdx.x)
                                                        : keys.index() * rest + keys.share();
        return shared + Shape::RAW_AT + step % Shape::RAW_SLOTS * Shape::RAW_BYTES +
               16 * (i * Shape::THREADS + own);
    }

    __device__ float *scale(int step) const
    {
        return reinterpret_cast<float *>(shared + Shape::SCALES_AT) +
               step % Shape::RAW_SLOTS * Shape::THREADS + threadIdx.x;
    }

    template <int Dim> __device__ void copy(const struct nano_kv_pool &pool, int step) const
    {
        const uint8_t *from = nano_kv_values(pool, keys.block, keys.token);
#pragma unroll
        for (int i = 0; i * keys.THREADS < Dim / 16; i++) {
            const int unit = i * keys.THREADS + keys.share();
            if (Dim / 16 % keys.THREADS == 0 || unit < Dim / 16)
                nano_cp_async16(raw<Dim>(step, i), from + 16 * unit, keys.valid);
        }
        if (Shape::HAS_SCALES)
            nano_cp_async4(scale(step), nano_kv_scale(pool, keys.block, keys.token), keys.valid);
    }

    static __device__ uint2 to_halves(uint32_t codes, float scale)
    {
        return Shape::HAS_SCALES ? nano_f16x4_from_q8_0(codes, scale) : nano_f16x4_from_e4m3(codes);
    }

    template <int Dim> __device__ void convert(int step) const
    {
        const float factor = Shape::HAS_SCALES ? *scale(step) : 1;
        uint16_t *to = slot(step) + keys.index() * Shape::STRIDE;
#pragma unroll
        for (int i = 0; i * keys.THREADS < Dim / 16; i++) {
            const int unit = i * keys.THREADS + keys.share();
            if (Dim / 16 % keys.THREADS != 0 && unit >= Dim / 16)
                continue;
            const uint4 codes = *reinterpret_cast<const uint4 *>(raw<Dim>(step, i));
            const uint2 a = to_halves(codes.x, factor), b = to_halves(codes.y, factor),
                        c = to_halves(codes.z, factor), d = to_halves(codes.w, factor);
            uint4 *out = reinterpret_cast<uint4 *>(to + 16 * unit);
            out[0] = make_uint4(a.x, a.y, b.x, b.y);
            out[1] = make_uint4(c.x, c.y, d.x, d.y);
        }
    }

    /* To halves; and the raw slot is filled again. */
    __device__ void hand_on(int step)
    {
        if (step < keys.num_steps) {
            if (Shape::K_DIM == Shape::V_DIM || step % keys.CHUNK_STEPS == 0)
                convert<Shape::K_DIM>(step);
            else
                convert<Shape::V_DIM>(step);
        }
        nano_attention_load<Shape>(*this, step + Shape::RAW_SLOTS);
    }

    __device__ void begin(int first_chunk)
    {
        keys.begin(first_chunk);
        step = 0;
#pragma unroll
        for (int i = 0; i < Shape::RAW_SLOTS; i++)
            nano_attention_load<Shape>(*this, i);
        if (AHEAD) {
            nano_cp_async_wait<Shape::RAW_SLOTS - 1>();
            hand_on(0);
        }
    }

    __device__ const uint16_t *next(void)
    {
        nano_cp_async_wait<Shape::RAW_SLOTS - 1>();
        __syncthreads();
        hand_on(step + AHEAD);
        if (!AHEAD)
            __syncthreads();
        return slot(step++);
    }
};

#endif
