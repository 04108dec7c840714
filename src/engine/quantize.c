/* Quantising a model to a file: runs a plan.
 *
 *   threads   take chunks of rows in order: read as f32, check, quantise into the chunk's slot
 *   caller    writes the slots in the same order, and what keeps its format straight from the input
 *
 * A ring of slots lets the threads run ahead of the writing by a few chunks. */
#include <pthread.h>
#include <string.h>

#include "base/memory.h"
#include "base/os.h"
#include "engine/model.h"
#include "engine/quantize_plan.h"
#include "format/gguf_writer.h"
#include "format/quant_mix.h"
#include "simd/quantize.h"

#define CHUNK_VALUES 65536 /* as f32 they fit a second-level cache */
#define SLOTS_PER_THREAD 4
#define RELEASE_BYTES ((size_t)16 << 20) /* what was read is given back in pieces of */
#define PIECE_BYTES ((size_t)1 << 20)    /* what is copied is written in pieces of */
#define MAX_THREADS 1024

/* Rows of one tensor. Chunks are numbered over all tensors. */
struct chunk {
    uint64_t number;
    size_t tensor;
    int64_t row_begin, row_end;
};

struct slot {
    void *bytes; /* [slot_bytes] */
    bool is_full;
};

struct job {
    const struct nano_quantize_plan *plan;
    int num_threads; /* that were started */
    size_t num_slots, slot_bytes, chunk_floats;
    struct slot *slots; /* chunk n is in slot n % num_slots */
    float **rows;       /* [num_threads][chunk_floats] */
    pthread_t *ids;

    pthread_mutex_t lock; /* of all that follows and of is_full */
    pthread_cond_t filled, freed;
    struct chunk next; /* to be taken */
    uint64_t num_written;
    bool is_stopped;
    int num_workers;         /* that have taken their number */
    struct nano_error error; /* the first of a thread's */
};

static int64_t num_rows(const struct nano_tensor *tensor)
{
    return tensor->dims[1] * tensor->dims[2] * tensor->dims[3];
}

/* Tensors that are written as they lie in memory go through no chunk. */
static bool is_copied(const struct nano_quantize_plan *plan, size_t i)
{
    return plan->steps[i].from->data && plan->steps[i].from->format == plan->to.tensors[i].format;
}

static int64_t chunk_rows(const struct nano_tensor *tensor)
{
    return tensor->dims[0] < CHUNK_VALUES ? CHUNK_VALUES / tensor->dims[0] : 1;
}

/* Moves to the first chunk at or behind `chunk`'s begin; false: there is none. */
static bool find_chunk(const struct nano_quantize_plan *plan, struct chunk *chunk)
{
    while (chunk->tensor < plan->to.num_tensors) {
        const struct nano_tensor *tensor = &plan->to.tensors[chunk->tensor];
        const int64_t rows = num_rows(tensor);
        if (!is_copied(plan, chunk->tensor) && chunk->row_begin < rows) {
            const int64_t count = chunk_rows(tensor);
            chunk->row_end = rows - chunk->row_begin > count ? chunk->row_begin + count : rows;
            return true;
        }
        chunk->tensor++;
        chunk->row_begin = 0;
    }
    return false;
}

static void advance(struct chunk *chunk)
{
    chunk->number++;
    chunk->row_begin = chunk->row_end;
}

/* ---- The threads --------------------------------------------------------------------------- */

/* The position of the first value that `format` cannot hold; `count`: there is none. */
static int64_t find_unfit(enum nano_format format, const float *values, int64_t count)
{
    if (format == NANO_FORMAT_F32 || format == NANO_FORMAT_BF16)
        return count;
    const uint32_t largest = 0x477FE000; /* 65504, the largest f16: what scales are stored as */
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        uint32_t bits[8], excess = 0;
        memcpy(bits, values + i, sizeof bits);
        for (int k = 0; k < 8; k++)
            excess |=
                largest - (bits[k] & 0x7FFFFFFF); /* wraps above, so that the top bit is set */
        if (excess >> 31)
            break;
    }
    for (; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        if ((bits & 0x7FFFFFFF) > largest)
            break;
    }
    return i;
}

/* Rows of one matrix or of several, which have importances of their own. */
static void quantize_chunk(const struct nano_quantize_step *step, const struct nano_tensor *to,
                           const struct chunk *chunk, const float *src, char *dst)
{
    const int64_t cols = to->dims[0], rows_each = to->dims[1];
    const size_t row_bytes = nano_format_row_bytes(to->format, cols);
    int64_t row = chunk->row_begin;
    while (row < chunk->row_end) {
        const int64_t matrix = row / rows_each;
        int64_t end = (matrix + 1) * rows_each;
        if (!step->importance || end > chunk->row_end)
            end = chunk->row_end;
        const float *importance =
            step->importance ? step->importance + matrix % to->dims[2] * cols : NULL;
        nano_quantize_rows(to->format, src, dst, end - row, cols, importance);
        src += (end - row) * cols;
        dst += (size_t)(end - row) * row_bytes;
        row = end;
    }
}

static enum nano_status fill(const struct nano_quantize_plan *plan, const struct chunk *chunk,
                             float *rows, void *dst, struct nano_error *err)
{
    const struct nano_quantize_step *step = &plan->steps[chunk->tensor];
    const struct nano_tensor *to = &plan->to.tensors[chunk->tensor];
    const int64_t count = (chunk->row_end - chunk->row_begin) * to->dims[0];
    if (step->from->format == to->format) {
        nano_tensor_read_rows(step->from, chunk->row_begin, chunk->row_end, dst);
        return NANO_OK;
    }
    nano_tensor_read_rows_f32(step->from, chunk->row_begin, chunk->row_end, rows);
    const int64_t unfit = find_unfit(to->format, rows, count);
    if (unfit < count)
        return nano_error_set(
            err, NANO_ERR_FORMAT,
            "%s: tensor '%.200s': row %lld has the value %g, which %s cannot hold",
            nano_weights_label(plan->weights), to->name.bytes,
            (long long)(chunk->row_begin + unfit / to->dims[0]), (double)rows[unfit],
            nano_format_traits(to->format)->name);
    quantize_chunk(step, to, chunk, rows, dst);
    return NANO_OK;
}

/* Waits for a free slot. False: there is nothing more to do. */
static bool take(struct job *job, struct chunk *chunk)
{
    while (!job->is_stopped && find_chunk(job->plan, &job->next) &&
           job->next.number - job->num_written >= job->num_slots)
        pthread_cond_wait(&job->freed, &job->lock);
    if (job->is_stopped || !find_chunk(job->plan, &job->next))
        return false;
    *chunk = job->next;
    advance(&job->next);
    return true;
}

static void *thread_main(void *argument)
{
    struct job *job = argument;
    struct chunk chunk;
    pthread_mutex_lock(&job->lock);
    float *rows = job->rows[job->num_workers++];
    while (take(job, &chunk)) {
        struct slot *slot = &job->slots[chunk.number % job->num_slots];
        struct nano_error error = {0};
        pthread_mutex_unlock(&job->lock);
        const enum nano_status status = fill(job->plan, &chunk, rows, slot->bytes, &error);
        pthread_mutex_lock(&job->lock);
        if (status != NANO_OK) {
            if (job->error.status == NANO_OK)
                job->error = error;
            job->is_stopped = true;
            pthread_cond_broadcast(&job->freed);
        }
        slot->is_full = true;
        pthread_cond_signal(&job->filled);
    }
    pthread_mutex_unlock(&job->lock);
    return NULL;
}

static void stop(struct job *job)
{
    pthread_mutex_lock(&job->lock);
    job->is_stopped = true;
    pthread_cond_broadcast(&job->freed);
    pthread_mutex_unlock(&job->lock);
    for (int i = 0; i < job->num_threads; i++)
        pthread_join(job->ids[i], NULL);
    job->num_threads = 0;
}

static void job_deinit(struct job *job, int num_threads)
{
    stop(job);
    for (size_t i = 0; job->slots && i < job->num_slots; i++)
        nano_mem_free(job->slots[i].bytes);
    for (int i = 0; job->rows && i < num_threads; i++)
        nano_mem_free(job->rows[i]);
    nano_mem_free(job->slots);
    nano_mem_free(job->rows);
    nano_mem_free(job->ids);
    pthread_cond_destroy(&job->freed);
    pthread_cond_destroy(&job->filled);
    pthread_mutex_destroy(&job->lock);
}

/* What the largest chunk needs; *num_chunks as far as it limits the threads. */
static void measure(struct job *job, int *num_threads)
{
    struct chunk chunk = {0};
    int64_t count = 0;
    for (; find_chunk(job->plan, &chunk); chunk.tensor++, chunk.row_begin = 0) {
        const struct nano_tensor *to = &job->plan->to.tensors[chunk.tensor];
        const size_t rows = (size_t)(chunk.row_end - chunk.row_begin);
        const size_t bytes = rows * nano_format_row_bytes(to->format, to->dims[0]);
        const size_t floats = rows * (size_t)to->dims[0];
        job->slot_bytes = bytes > job->slot_bytes ? bytes : job->slot_bytes;
        job->chunk_floats = floats > job->chunk_floats ? floats : job->chunk_floats;
        if (count < MAX_THREADS)
            count += num_rows(to) / chunk_rows(to) + 1;
    }
    if (*num_threads > count)
        *num_threads = (int)count;
}

static enum nano_status allocate(struct job *job, int num_threads, struct nano_error *err)
{
    const size_t count = (size_t)num_threads;
    job->num_slots = count * SLOTS_PER_THREAD;
    job->slots = nano_mem_calloc(job->num_slots, sizeof *job->slots);
    job->rows = nano_mem_calloc(count, sizeof *job->rows);
    job->ids = nano_mem_calloc(count, sizeof *job->ids);
    bool failed = !job->slots || !job->rows || !job->ids;
    for (size_t i = 0; i < job->num_slots && !failed; i++)
        failed = !(job->slots[i].bytes = nano_mem_alloc(job->slot_bytes, 1));
    for (size_t i = 0; i < count && !failed; i++)
        failed = !(job->rows[i] = nano_mem_alloc(job->chunk_floats, sizeof *job->rows[i]));
    return failed ? nano_error_no_memory(err, "rows of tensors",
                                         job->num_slots * job->slot_bytes +
                                             count * job->chunk_floats * sizeof(float))
                  : NANO_OK;
}

static enum nano_status start(struct job *job, int num_threads, struct nano_error *err)
{
    for (; job->num_threads < num_threads; job->num_threads++) {
        if (pthread_create(&job->ids[job->num_threads], NULL, thread_main, job) != 0)
            return nano_error_set(err, NANO_ERR_NO_MEMORY, "thread %d of %d cannot be started",
                                  job->num_threads + 1, num_threads);
    }
    return NANO_OK;
}

/* ---- The caller ---------------------------------------------------------------------------- */

struct output {
    struct job *job;
    struct nano_gguf_writer writer;
    const struct nano_quantize_params *params;
    uint64_t done_bytes;
    size_t released; /* bytes of the tensor at hand that were given back */
};

/* Gives back what was read of a tensor, so that a large one does not fill the memory. */
static void release(struct output *out, size_t i, size_t done)
{
    struct nano_tensor part = *out->job->plan->steps[i].from;
    if (!part.data || (done < part.num_bytes && done - out->released < RELEASE_BYTES))
        return;
    part.data = (const char *)part.data + out->released;
    part.num_bytes = done - out->released;
    nano_weights_release(out->job->plan->weights, &part);
    out->released = done;
}

static enum nano_status report(struct output *out, const struct nano_quantize_plan *plan, size_t i,
                               uint64_t done_of_tensor, struct nano_error *err)
{
    const struct nano_tensor *from = plan->steps[i].from, *to = &plan->to.tensors[i];
    const struct nano_quantize_progress progress = {
        .index = i,
        .num_tensors = plan->to.num_tensors,
        .name = to->name.bytes,
        .from = nano_format_traits(from->format)->name,
        .to = nano_format_traits(to->format)->name,
        .num_dims = to->num_dims,
        .dims = {to->dims[0], to->dims[1], to->dims[2], to->dims[3]},
        .from_bytes = from->num_bytes,
        .to_bytes = to->num_bytes,
        .done_bytes = out->done_bytes + done_of_tensor,
        .total_bytes = plan->result.from_bytes,
        .is_fallback = plan->steps[i].is_fallback,
        .is_done = done_of_tensor == from->num_bytes,
    };
    if (out->params->on_progress && !out->params->on_progress(&progress, out->params->user_data))
        return nano_error_set(err, NANO_ERR_CANCELLED, "%s: quantising was cancelled",
                              nano_weights_label(plan->weights));
    return NANO_OK;
}

static enum nano_status copy_tensor(struct output *out, size_t i, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    const struct nano_tensor *from = out->job->plan->steps[i].from;
    for (size_t done = 0; done < from->num_bytes;) {
        const size_t left = from->num_bytes - done;
        const size_t piece = left < PIECE_BYTES ? left : PIECE_BYTES;
        NANO_TRY(
            nano_gguf_writer_append(&out->writer, (const char *)from->data + done, piece, err));
        done += piece;
        release(out, i, done);
        NANO_TRY(report(out, out->job->plan, i, done, err));
    }
fail:
    return status;
}

/* The slot of the next chunk, once it is full. */
static enum nano_status wait_for(struct job *job, struct slot **out, struct nano_error *err)
{
    struct slot *slot = &job->slots[job->num_written % job->num_slots];
    pthread_mutex_lock(&job->lock);
    while (!slot->is_full && !job->is_stopped)
        pthread_cond_wait(&job->filled, &job->lock);
    const struct nano_error error = job->error;
    pthread_mutex_unlock(&job->lock);
    *out = slot;
    return error.status == NANO_OK ? NANO_OK
                                   : nano_error_set(err, error.status, "%s", error.message);
}

static enum nano_status write_chunks(struct output *out, size_t i, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    struct job *job = out->job;
    const struct nano_tensor *from = job->plan->steps[i].from, *to = &job->plan->to.tensors[i];
    const size_t to_row = nano_format_row_bytes(to->format, to->dims[0]);
    const size_t from_row = nano_format_row_bytes(from->format, from->dims[0]);
    struct chunk chunk = {.tensor = i};
    while (find_chunk(job->plan, &chunk) && chunk.tensor == i) {
        struct slot *slot;
        NANO_TRY(wait_for(job, &slot, err));
        NANO_TRY(nano_gguf_writer_append(&out->writer, slot->bytes,
                                         (size_t)(chunk.row_end - chunk.row_begin) * to_row, err));
        pthread_mutex_lock(&job->lock);
        slot->is_full = false;
        job->num_written++;
        pthread_cond_broadcast(&job->freed);
        pthread_mutex_unlock(&job->lock);
        release(out, i, (size_t)chunk.row_end * from_row);
        NANO_TRY(report(out, job->plan, i, (uint64_t)chunk.row_end * from_row, err));
        advance(&chunk);
    }
fail:
    return status;
}

static enum nano_status run(const struct nano_quantize_plan *plan, const char *path,
                            const struct nano_quantize_params *params, struct nano_error *err)
{
    enum nano_status status;
    const int num_cpus = nano_os_num_cpus();
    int num_threads = params->num_threads > 0 ? params->num_threads : num_cpus;
    struct job job = {.plan = plan};
    struct output out = {.job = &job, .params = params};
    num_threads = num_threads < MAX_THREADS ? num_threads : MAX_THREADS;
    pthread_mutex_init(&job.lock, NULL);
    pthread_cond_init(&job.filled, NULL);
    pthread_cond_init(&job.freed, NULL);
    measure(&job, &num_threads);
    NANO_TRY(allocate(&job, num_threads, err));
    NANO_TRY(nano_gguf_writer_open(&out.writer, path, plan->to.metadata, plan->to.num_metadata,
                                   plan->to.tensors, plan->to.num_tensors, err));
    NANO_TRY(start(&job, num_threads, err));
    for (size_t i = 0; i < plan->to.num_tensors; i++) {
        const struct nano_tensor *from = plan->steps[i].from;
        if (i + 1 < plan->to.num_tensors)
            nano_weights_will_read(plan->weights, plan->steps[i + 1].from);
        NANO_TRY(is_copied(plan, i) ? copy_tensor(&out, i, err) : write_chunks(&out, i, err));
        out.released = 0;
        out.done_bytes += from->num_bytes;
    }
    NANO_TRY(nano_gguf_writer_finish(&out.writer, err));
fail:
    nano_gguf_writer_discard(&out.writer);
    job_deinit(&job, num_threads);
    return status;
}

static enum nano_status dry_run(const struct nano_quantize_plan *plan,
                                const struct nano_quantize_params *params, struct nano_error *err)
{
    enum nano_status status = NANO_OK;
    struct output out = {.params = params};
    for (size_t i = 0; i < plan->to.num_tensors; i++) {
        NANO_TRY(report(&out, plan, i, plan->steps[i].from->num_bytes, err));
        out.done_bytes += plan->steps[i].from->num_bytes;
    }
fail:
    return status;
}

struct nano_quantize_params nano_quantize_params_default(void)
{
    return (struct nano_quantize_params){0};
}

const char *nano_quantize_type_name(size_t index)
{
    return index < NANO_NUM_MIXES ? nano_quant_mix((enum nano_mix_id)index)->name : NULL;
}

enum nano_status nano_model_quantize(const nano_model *model, const char *path,
                                     const struct nano_quantize_params *params,
                                     struct nano_quantize_result *out, struct nano_error *err)
{
    struct nano_quantize_plan plan;
    enum nano_status status = nano_quantize_plan_create(&plan, &model->weights, params, err);
    if (status != NANO_OK)
        return status;
    status = params->dry_run ? dry_run(&plan, params, err) : run(&plan, path, params, err);
    if (status == NANO_OK && out)
        *out = plan.result;
    nano_quantize_plan_destroy(&plan);
    return status;
}
