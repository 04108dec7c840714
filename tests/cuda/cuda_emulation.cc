/* The emulated device: fibers for threads, ordinary memory for the device's. */
#include "tests/cuda/cuda_emulation.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <deque>
#include <vector>

#include "runner/cuda/cuda_device.h"
#include "runner/cuda/cuda_gemm.h"
#include "runner/cuda/cuda_lang.h"
#include "tests/cuda/fake_device.h"
#include "tests/cuda/fiber.h"

/* ---- the threads of a block ---- */

namespace
{
enum wait { WAIT_NOTHING, WAIT_WARP, WAIT_BLOCK, WAIT_OVER };

struct pending_copy {
    void *shared;
    const void *global;
    size_t bytes;
    bool valid;
};

struct emulated_thread {
    struct nano_emulated_thread visible; /* first */
    struct nano_fiber *fiber;
    enum wait wait;
    bool has_waited; /* for the kernel before */
    std::vector<pending_copy> group;
    std::deque<std::vector<pending_copy>> groups;
};

struct emulated_block {
    const std::function<void()> *kernel;
    std::vector<emulated_thread> threads;
    int num_threads, current;
    bool early; /* the launch is one that may start before the one before it is over */
    struct nano_fiber *scheduler;
    unsigned char lanes[32][2][32][32]; /* [warp][which][lane]: two, so that one can be read while
                                           the next is written */
    int which[32];
};
struct emulated_block &block = *new emulated_block(); /* for good: so are its fibers */
int thread_order;

emulated_thread &self(void)
{
    return block.threads[static_cast<size_t>(block.current)];
}

[[noreturn]] void die(const char *message)
{
    fprintf(stderr, "emulated GPU: %s (thread %d of %d, block %u %u %u)\n", message, block.current,
            block.num_threads, nano_emulated->block.x, nano_emulated->block.y,
            nano_emulated->block.z);
    abort();
}

void pause(enum wait wait)
{
    self().wait = wait;
    nano_fiber_switch(self().fiber, block.scheduler);
}

void thread_main(void *)
{
    for (;;) {
        (*block.kernel)();
        if (!self().group.empty())
            die("a thread ended with copies that were not committed");
        if (block.early && !self().has_waited)
            die("a thread ended that has not waited for the kernel before");
        self().groups.clear();
        pause(WAIT_OVER);
    }
}

bool release(size_t begin, size_t end, enum wait wait)
{
    for (size_t i = begin; i < end; i++)
        if (block.threads[i].wait != wait && block.threads[i].wait != WAIT_OVER)
            return false;
    bool any = false;
    for (size_t i = begin; i < end; i++)
        if (block.threads[i].wait == wait) {
            block.threads[i].wait = WAIT_NOTHING;
            any = true;
        }
    return any;
}

void resume(size_t index)
{
    block.current = static_cast<int>(index);
    nano_emulated = &block.threads[index].visible;
    nano_fiber_switch(block.scheduler, block.threads[index].fiber);
}

/* Runs a warp until all of it is over or waits for the block. */
void run_warp(size_t begin, size_t end)
{
    do {
        for (size_t n = end - begin, i = 0; i < n; i++) {
            const size_t index = thread_order == 1   ? end - 1 - i
                                 : thread_order == 2 ? begin + (i * 13 + 7) % n
                                                     : begin + i;
            if (block.threads[index].wait == WAIT_NOTHING)
                resume(index);
        }
        bool warp = false, whole = true;
        for (size_t i = begin; i < end; i++) {
            warp |= block.threads[i].wait == WAIT_WARP;
            whole &= block.threads[i].wait == WAIT_WARP || block.threads[i].wait == WAIT_OVER;
        }
        if (warp && !whole)
            die("some lanes of a warp wait for all of it, others wait for the block");
    } while (release(begin, end, WAIT_WARP));
}

void run_block(void)
{
    const size_t count = static_cast<size_t>(block.num_threads), num_warps = (count + 31) / 32;
    for (size_t i = 0; i < count; i++)
        block.threads[i].wait = WAIT_NOTHING, block.threads[i].has_waited = false;
    do {
        for (size_t w = 0; w < num_warps; w++) {
            const size_t warp = thread_order == 1 ? num_warps - 1 - w : w;
            run_warp(warp * 32, (warp + 1) * 32 < count ? (warp + 1) * 32 : count);
        }
    } while (release(0, count, WAIT_BLOCK));
}
} // namespace

struct nano_emulated_thread *nano_emulated;

void nano_emulated_sync_block(void)
{
    pause(WAIT_BLOCK);
}

void nano_emulated_sync_warp(void)
{
    pause(WAIT_WARP);
}

void nano_wait_for_earlier(void)
{
    self().has_waited = true;
}

const unsigned char (*nano_emulated_exchange(const void *bytes, size_t num_bytes))[32]
{
    const int warp = block.current / 32, lane = block.current % 32;
    if (block.num_threads % 32)
        die("a warp that is not whole does something together");
    const int which = block.which[warp];
    memcpy(block.lanes[warp][which][lane], bytes, num_bytes);
    pause(WAIT_WARP);
    block.which[warp] = !which; /* every lane writes the same */
    return block.lanes[warp][which];
}

void nano_emulated_set_order(int order)
{
    thread_order = order;
}

namespace
{
void launch_now(dim3 grid, dim3 size, size_t shared_bytes, bool early,
                const std::function<void()> &kernel)
{
    const unsigned count = size.x * size.y * size.z;
    if (count < 1 || count > 1024 || shared_bytes > NANO_MAX_SHARED_BYTES || grid.y > 65535 ||
        grid.z > 65535) {
        fprintf(stderr, "emulated GPU: launch of %u threads, %zu bytes of shared memory\n", count,
                shared_bytes);
        abort();
    }
    if (!block.scheduler)
        block.scheduler = nano_fiber_main();
    while (block.threads.size() < count) {
        block.threads.emplace_back();
        block.threads.back().fiber = nano_fiber_create(thread_main);
    }
    unsigned char *shared =
        static_cast<unsigned char *>(aligned_alloc(128, (shared_bytes + 128) / 128 * 128));
    block.kernel = &kernel;
    block.early = early;
    block.num_threads = static_cast<int>(count);
    for (unsigned i = 0; i < count; i++)
        block.threads[i].visible = {dim3(i % size.x, i / size.x % size.y, i / size.x / size.y),
                                    dim3(0, 0, 0), size, grid, shared};
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                memset(shared, 0xff, shared_bytes);
                for (unsigned i = 0; i < count; i++)
                    block.threads[i].visible.block = dim3(x, y, z);
                run_block();
            }
    free(shared);
}
} // namespace

/* ---- instructions ---- */

uint16_t nano_emulated_f16_from_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return static_cast<uint16_t>(sign | 0x7e00);
    if (magnitude >= 0x47800000) /* 65536 */
        return static_cast<uint16_t>(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: a multiple of 2^-24 */
        float small;
        memcpy(&small, &magnitude, sizeof small);
        return static_cast<uint16_t>(sign | static_cast<uint32_t>(lrintf(small * 16777216.0f)));
    }
    const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return static_cast<uint16_t>(sign | ((rounded >> 13) - (112 << 10)));
}

float nano_emulated_f32_from_f16(uint16_t half)
{
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, exponent = half >> 10 & 31,
                   mantissa = half & 1023;
    uint32_t bits = sign | (exponent + 112) << 23 | mantissa << 13;
    if (exponent == 31)
        bits = sign | 0x7f800000 | mantissa << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    if (exponent == 0) {
        value = static_cast<float>(mantissa) / 16777216.0f;
        return sign ? -value : value;
    }
    return value;
}

uint16_t nano_emulated_bf16_from_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return 0x7fff;
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

namespace
{
float f32_from_bf16(uint16_t half)
{
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

template <float (*Convert)(uint16_t)> void mma(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const unsigned char(*all)[32] = nano_emulated_exchange(mine, sizeof mine);
    const int g = nano_emulated_lane() / 4, t = nano_emulated_lane() % 4;
    float rows[2][16], columns[2][16];
    for (int part = 0; part < 4; part++) { /* elements 2 * part, + 1, + 8, + 9 */
        uint32_t words[3][6];
        memcpy(words[0], all[g * 4 + part], sizeof words[0]);
        memcpy(words[1], all[2 * t * 4 + part], sizeof words[1]);
        memcpy(words[2], all[(2 * t + 1) * 4 + part], sizeof words[2]);
        for (int i = 0; i < 8; i++) {
            const int which = i & 1, k = 2 * part + (i >> 1 & 1) + (i >> 2) * 8,
                      shift = (i >> 1 & 1) * 16;
            rows[which][k] =
                Convert(static_cast<uint16_t>(words[0][which + (i >> 2) * 2] >> shift));
            columns[which][k] =
                Convert(static_cast<uint16_t>(words[1 + which][4 + (i >> 2)] >> shift));
        }
    }
    for (int i = 0; i < 4; i++) {
        float sum = 0;
        for (int k = 0; k < 16; k++)
            sum += rows[i / 2][k] * columns[i % 2][k];
        d[i] += sum;
    }
}
} // namespace

void nano_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    mma<f32_from_bf16>(d, a, b);
}

void nano_mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    mma<nano_emulated_f32_from_f16>(d, a, b);
}

namespace
{
const unsigned char (*exchange_rows(const void *row))[32]
{
    if (reinterpret_cast<uintptr_t>(row) % 16)
        die("a row of a matrix is not aligned");
    return nano_emulated_exchange(row, 16);
}
} // namespace

void nano_ldmatrix4(uint32_t out[4], const void *row)
{
    const unsigned char(*rows)[32] = exchange_rows(row);
    const int g = nano_emulated_lane() / 4, t = nano_emulated_lane() % 4;
    for (int i = 0; i < 4; i++)
        memcpy(&out[i], rows[i * 8 + g] + 4 * t, sizeof out[i]);
}

void nano_ldmatrix4_transposed(uint32_t out[4], const void *row)
{
    const unsigned char(*rows)[32] = exchange_rows(row);
    const int g = nano_emulated_lane() / 4, t = nano_emulated_lane() % 4;
    for (int i = 0; i < 4; i++)
        for (int half = 0; half < 2; half++)
            memcpy(reinterpret_cast<unsigned char *>(&out[i]) + 2 * half,
                   rows[i * 8 + 2 * t + half] + 2 * g, 2);
}

void nano_emulated_check_aligned(const void *p, size_t alignment)
{
    if (reinterpret_cast<uintptr_t>(p) % alignment)
        die("a load is not aligned");
}

static void copy_async(void *shared, const void *global, size_t bytes, bool valid)
{
    if (reinterpret_cast<uintptr_t>(shared) % bytes ||
        (valid && reinterpret_cast<uintptr_t>(global) % bytes))
        die("an asynchronous copy is not aligned");
    self().group.push_back({shared, global, bytes, valid});
}

void nano_cp_async16(void *shared, const void *global, bool valid)
{
    copy_async(shared, global, 16, valid);
}

void nano_cp_async4(void *shared, const void *global, bool valid)
{
    copy_async(shared, global, 4, valid);
}

void nano_cp_async_commit(void)
{
    self().groups.push_back(std::move(self().group));
    self().group.clear();
}

void nano_emulated_cp_async_wait(int pending)
{
    while (self().groups.size() > static_cast<size_t>(pending)) {
        for (const pending_copy &copy : self().groups.front()) {
            if (copy.valid)
                memcpy(copy.shared, copy.global, copy.bytes);
            else
                memset(copy.shared, 0, copy.bytes);
        }
        self().groups.pop_front();
    }
}

/* ---- the device ---- */

enum { MULTIPROCESSORS = 4 };

struct nano_cuda_graph {
    std::vector<std::function<void()>> work;
};

struct nano_cuda_device {
    struct nano_cuda_graph *recording;
    std::deque<std::function<void()>> late;      /* work that nobody has waited for */
    uint64_t num_done, events[NANO_CUDA_EVENTS]; /* of such work: how much was, or is to be, done */
    uint64_t used_bytes;
    bool failed;
    std::vector<uint64_t> marks;
};

struct fake_device fake_device = {false, false, 0, 0, 1ull << 32, 0, 0, 0, 0, 0, false};

namespace
{
/* True when this is the call that is to fail. */
bool fails(int *countdown)
{
    return *countdown > 0 && --*countdown == 0;
}

void do_work(struct nano_cuda_device *device, const std::function<void()> &work)
{
    if (fails(&fake_device.fail_work))
        device->failed = true;
    if (!device->failed)
        work();
}

void start(struct nano_cuda_device *device, const std::function<void()> &work)
{
    if (device->recording)
        device->recording->work.push_back(work);
    else if (fake_device.is_late)
        device->late.push_back(work);
    else
        do_work(device, work);
}

/* Late work up to a count, by default all. */
void catch_up(struct nano_cuda_device *device, uint64_t count = UINT64_MAX)
{
    for (; device->num_done < count && !device->late.empty(); device->num_done++) {
        do_work(device, device->late.front());
        device->late.pop_front();
    }
}

enum nano_status status_of(const struct nano_cuda_device *device, struct nano_error *err)
{
    if (device->failed)
        return nano_error_set(err, NANO_ERR_INTERNAL, "the GPU failed: emulated error");
    return NANO_OK;
}

/* Its size is before it. */
void *take(struct nano_cuda_device *device, uint64_t num_bytes)
{
    unsigned char *memory =
        static_cast<unsigned char *>(aligned_alloc(256, (num_bytes + 256 + 255) / 256 * 256));
    if (!memory)
        return NULL;
    memcpy(memory, &num_bytes, sizeof num_bytes);
    memset(memory + 256, 0xff, num_bytes);
    if (device)
        device->used_bytes += num_bytes;
    return memory + 256;
}

uint64_t give_back(void *memory)
{
    if (!memory)
        return 0;
    uint64_t num_bytes;
    unsigned char *begin = static_cast<unsigned char *>(memory) - 256;
    memcpy(&num_bytes, begin, sizeof num_bytes);
    fake_device.live_allocations--;
    free(begin);
    return num_bytes;
}
} // namespace

void nano_emulated_launch(struct nano_cuda_device *device, dim3 grid, dim3 size,
                          size_t shared_bytes, bool early, const std::function<void()> &kernel)
{
    start(device, [=] {
        fake_device.num_launches++;
        fake_device.num_early_launches += early;
        launch_now(grid, size, shared_bytes, early, kernel);
    });
}

extern "C" {

enum nano_status nano_cuda_device_query(struct nano_cuda_device_info *out, int ordinal,
                                        struct nano_error *err)
{
    *out = nano_cuda_device_info();
    if (fake_device.is_missing || ordinal != 0)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED, "no CUDA device %d", ordinal);
    snprintf(out->name, sizeof out->name, "emulated GPU");
    out->compute_major = 9;
    out->num_multiprocessors = MULTIPROCESSORS;
    out->total_bytes = out->free_bytes = fake_device.total_bytes;
    return NANO_OK;
}

enum nano_status nano_cuda_device_open(struct nano_cuda_device **out, int ordinal,
                                       struct nano_error *err)
{
    struct nano_cuda_device_info info;
    *out = NULL;
    enum nano_status status = nano_cuda_device_query(&info, ordinal, err);
    if (status != NANO_OK)
        return status;
    *out = new nano_cuda_device();
    (*out)->marks.resize(NANO_CUDA_MARKS);
    fake_device.live_allocations++;
    return NANO_OK;
}

void nano_cuda_device_close(struct nano_cuda_device *device)
{
    fake_device.live_allocations -= device != NULL;
    delete device;
}

enum nano_status nano_cuda_device_alloc(struct nano_cuda_device *device, void **out,
                                        uint64_t num_bytes, const char *what,
                                        struct nano_error *err)
{
    *out = NULL;
    if (!fails(&fake_device.fail_alloc) &&
        device->used_bytes + num_bytes <= fake_device.total_bytes)
        *out = take(device, num_bytes);
    if (!*out)
        return nano_error_set(err, NANO_ERR_NO_MEMORY, "%s: no %llu bytes of device memory", what,
                              (unsigned long long)num_bytes);
    fake_device.live_allocations++;
    return NANO_OK;
}

void nano_cuda_device_free(struct nano_cuda_device *device, void *memory)
{
    catch_up(device);
    device->used_bytes -= give_back(memory);
}

enum nano_status nano_cuda_host_alloc(struct nano_cuda_device *, void **out, uint64_t num_bytes,
                                      const char *what, struct nano_error *err)
{
    *out = fails(&fake_device.fail_alloc) ? NULL : take(NULL, num_bytes);
    if (!*out)
        return nano_error_set(err, NANO_ERR_NO_MEMORY, "%s: no %llu bytes of host memory", what,
                              (unsigned long long)num_bytes);
    fake_device.live_allocations++;
    return NANO_OK;
}

void nano_cuda_host_free(struct nano_cuda_device *device, void *memory)
{
    catch_up(device);
    give_back(memory);
}

void nano_cuda_copy_in(struct nano_cuda_device *device, void *to, const void *from_host,
                       size_t num_bytes)
{
    start(device, [=] { memcpy(to, from_host, num_bytes); });
}

void nano_cuda_copy_out(struct nano_cuda_device *device, void *to_host, const void *from,
                        size_t num_bytes)
{
    memset(to_host, 0xff, num_bytes);
    start(device, [=] { memcpy(to_host, from, num_bytes); });
}

void nano_cuda_copy(struct nano_cuda_device *device, void *to, const void *from, size_t num_bytes)
{
    start(device, [=] { memcpy(to, from, num_bytes); });
}

void nano_cuda_fill(struct nano_cuda_device *device, void *to, int byte, size_t num_bytes)
{
    start(device, [=] { memset(to, byte, num_bytes); });
}

enum nano_status nano_cuda_device_synchronize(struct nano_cuda_device *device,
                                              struct nano_error *err)
{
    catch_up(device);
    return status_of(device, err);
}

void nano_cuda_event_record(struct nano_cuda_device *device, int index)
{
    device->events[index] = device->num_done + device->late.size();
}

enum nano_status nano_cuda_event_wait(struct nano_cuda_device *device, int index,
                                      struct nano_error *err)
{
    catch_up(device, device->events[index]);
    return status_of(device, err);
}

void nano_cuda_device_fail(struct nano_cuda_device *device, const char *)
{
    device->failed = true;
}

enum nano_status nano_cuda_graph_begin(struct nano_cuda_device *device, struct nano_error *err)
{
    if (fails(&fake_device.fail_alloc))
        return nano_error_set(err, NANO_ERR_NO_MEMORY, "no graph");
    device->recording = new nano_cuda_graph();
    return NANO_OK;
}

enum nano_status nano_cuda_graph_end(struct nano_cuda_device *device, struct nano_cuda_graph **out,
                                     struct nano_error *)
{
    *out = device->recording;
    device->recording = NULL;
    fake_device.live_allocations++;
    return NANO_OK;
}

void nano_cuda_graph_launch(struct nano_cuda_device *device, struct nano_cuda_graph *graph)
{
    fake_device.num_graph_launches++;
    for (const std::function<void()> &work : graph->work)
        start(device, work);
}

void nano_cuda_graph_destroy(struct nano_cuda_graph *graph)
{
    fake_device.live_allocations -= graph != NULL;
    delete graph;
}

int nano_cuda_device_multiprocessors(const struct nano_cuda_device *)
{
    return MULTIPROCESSORS;
}

void *nano_cuda_device_stream(struct nano_cuda_device *)
{
    return NULL;
}

bool nano_cuda_device_overlaps(const struct nano_cuda_device *)
{
    return true;
}

void nano_cuda_mark(struct nano_cuda_device *device, int index)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    device->marks[static_cast<size_t>(index)] =
        static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

uint64_t nano_cuda_marked_ns(struct nano_cuda_device *device, int first, int last)
{
    return device->marks[static_cast<size_t>(last)] - device->marks[static_cast<size_t>(first)];
}

/* In place of cuBLASLt. */
struct nano_cuda_gemm {
    int unused;
};

enum nano_status nano_cuda_gemm_open(struct nano_cuda_gemm **out, struct nano_error *err)
{
    *out = NULL;
    if (fake_device.is_without_gemm)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED, "no cuBLASLt");
    *out = new nano_cuda_gemm();
    fake_device.live_allocations++;
    return NANO_OK;
}

void nano_cuda_gemm_close(struct nano_cuda_gemm *gemm)
{
    fake_device.live_allocations -= gemm != NULL;
    delete gemm;
}

void nano_cuda_gemm_run(struct nano_cuda_gemm *, struct nano_cuda_device *device,
                        const struct nano_cuda_gemm_args *args)
{
    const struct nano_cuda_gemm_args a = *args;
    float (*convert)(uint16_t) = a.bf16 ? f32_from_bf16 : nano_emulated_f32_from_f16;
    fake_device.num_gemms++;
    start(device, [=] {
        for (int t = 0; t < a.inputs; t++)
            for (int r = 0; r < a.rows; r++) {
                const uint16_t *weight =
                    static_cast<const uint16_t *>(a.weight) + r * a.weight_stride;
                float sum = 0;
                for (int64_t k = 0; k < a.cols; k++)
                    sum += convert(weight[k]) * convert(a.input[t * a.input_stride + k]);
                a.out.data[t * a.out.stride + r] = sum;
            }
    });
}
}
