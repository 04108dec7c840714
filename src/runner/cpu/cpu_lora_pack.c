/* Matrices of the adapters: which segment of which op has one, and their packing.
 *
 * F32, F16 and BF16 stay what they are; other formats, and different ones side by side, become F32.
 */
#include <string.h>

#include "base/memory.h"
#include "runner/cpu/cpu_lora.h"
#include "runner/cpu/cpu_state.h"

/* One matrix of a pair: the parts' matrices, whose rows follow each other or lie side by side. */
struct stack {
    const struct nano_adapter *adapter;
    const struct nano_op *op;
    int weight;                  /* index in the op */
    bool is_b;                   /* of the parts' matrices, which */
    bool side_by_side;           /* else one below the other */
    size_t first_part, end_part; /* between them lie all of its parts */
    int64_t rows, cols;
    enum nano_format format;
};

static const struct nano_adapter_part *next_part(const struct stack *s, size_t *i)
{
    while (*i < s->end_part) {
        const struct nano_adapter_part *part = &s->adapter->parts[(*i)++];
        if (nano_adapter_part_changes(part, s->op, s->weight))
            return part;
    }
    return NULL;
}

static const struct nano_tensor *matrix_of(const struct stack *s,
                                           const struct nano_adapter_part *part)
{
    return s->is_b ? part->b : part->a;
}

static bool is_float(enum nano_format format)
{
    return format == NANO_FORMAT_F32 || format == NANO_FORMAT_F16 || format == NANO_FORMAT_BF16;
}

/* Without parts the stack has no rows. */
static struct stack stack_of(const struct nano_adapter *adapter, const struct nano_op *op,
                             int weight, bool is_b)
{
    struct stack s = {.adapter = adapter,
                      .op = op,
                      .weight = weight,
                      .is_b = is_b,
                      .end_part = adapter->num_parts,
                      .side_by_side = is_b || op->kind == NANO_OP_EMBED};
    const struct nano_adapter_part *part;
    size_t end = 0;
    for (size_t i = 0; (part = next_part(&s, &i)) != NULL; end = i) {
        const struct nano_tensor *m = matrix_of(&s, part);
        const bool is_first = s.rows == 0;
        s.first_part = is_first ? i - 1 : s.first_part;
        if (is_first)
            s.format = is_float(m->format) ? m->format : NANO_FORMAT_F32;
        else if (s.format != m->format)
            s.format = NANO_FORMAT_F32;
        s.rows = is_first || s.side_by_side ? m->dims[1] : s.rows + m->dims[1];
        s.cols = is_first || !s.side_by_side ? m->dims[0] : s.cols + m->dims[0];
    }
    s.end_part = end;
    return s;
}

/* Row `row` in the stack's format. */
static void read_row(const struct stack *s, int64_t row, unsigned char *dst)
{
    const struct nano_adapter_part *part;
    for (size_t i = s->first_part; (part = next_part(s, &i)) != NULL;) {
        const struct nano_tensor *m = matrix_of(s, part);
        if (!s->side_by_side && row >= m->dims[1]) {
            row -= m->dims[1];
            continue;
        }
        if (m->format == s->format)
            nano_tensor_read_rows(m, row, row + 1, dst);
        else
            nano_tensor_read_rows_f32(m, row, row + 1, (float *)(void *)dst);
        if (!s->side_by_side)
            return;
        dst += nano_format_row_bytes(s->format, m->dims[0]);
    }
}

/* Looked up, not multiplied with. */
static bool is_table(const struct stack *s)
{
    return s->op->kind == NANO_OP_EMBED && !s->is_b;
}

static size_t packed_bytes(const struct nano_cpu_runner *r, const struct stack *s)
{
    const struct nano_linear_kernels *linear = &r->kernels.linear[s->format];
    return nano_mem_round_up(linear->pack && !is_table(s)
                                 ? linear->packed_bytes(s->rows, s->cols)
                                 : (size_t)s->rows * nano_format_row_bytes(s->format, s->cols));
}

/* `scratch` has room for NANO_CPU_LORA_ROWS rows of f32. */
static void pack(const struct nano_cpu_runner *r, const struct stack *s, unsigned char *dst,
                 unsigned char *scratch)
{
    const struct nano_linear_kernels *linear = &r->kernels.linear[s->format];
    const size_t row_bytes = nano_format_row_bytes(s->format, s->cols);
    for (int64_t row = 0; row < s->rows; row += NANO_CPU_LORA_ROWS) {
        const int64_t left = s->rows - row;
        const int64_t n = left < NANO_CPU_LORA_ROWS ? left : NANO_CPU_LORA_ROWS;
        const bool in_panels = linear->pack && !is_table(s);
        unsigned char *rows = in_panels ? scratch : dst + (size_t)row * row_bytes;
        for (int64_t i = 0; i < n; i++)
            read_row(s, row + i, rows + (size_t)i * row_bytes);
        if (in_panels)
            linear->pack(dst + linear->packed_bytes(row, s->cols), scratch, n, s->cols, 0, n);
    }
    const struct nano_adapter_part *part;
    for (size_t i = s->first_part; (part = next_part(s, &i)) != NULL;)
        nano_weights_release(part->stored, matrix_of(s, part));
}

/* ---- the tables ---- */

static bool is_changed(const struct nano_cpu_runner *r, const struct nano_op *op)
{
    for (int a = 0; a < r->config.num_adapters; a++)
        for (size_t i = 0; i < r->config.adapters[a].num_parts; i++)
            for (int k = 0; k < nano_op_num_weights(op); k++)
                if (nano_adapter_part_changes(&r->config.adapters[a].parts[i], op, k))
                    return true;
    return false;
}

static struct nano_cpu_lora_pair *pair_at(const struct nano_cpu_lora *lora, int op, int weight,
                                          int adapter)
{
    return &lora->pairs[(lora->first_segment[op] + weight) * lora->num_adapters + adapter];
}

static enum nano_status make_tables(struct nano_cpu_runner *r, struct nano_error *err)
{
    const struct nano_program *p = r->program;
    struct nano_cpu_lora *lora = &r->lora;
    int num_segments = 0;
    lora->num_adapters = r->config.num_adapters;
    lora->first_segment = nano_mem_alloc((size_t)p->num_ops, sizeof *lora->first_segment);
    for (int i = 0; i < p->num_ops && lora->first_segment; i++) {
        const bool changed = is_changed(r, &p->ops[i]);
        lora->first_segment[i] = changed ? num_segments : -1;
        num_segments += changed ? nano_op_num_weights(&p->ops[i]) : 0;
    }
    lora->num_pairs = num_segments * lora->num_adapters;
    lora->pairs = nano_mem_calloc((size_t)lora->num_pairs, sizeof *lora->pairs);
    if (!lora->first_segment || !lora->pairs)
        return nano_error_no_memory(err, "the table of adapters", nano_cpu_lora_table_bytes(r));
    return NANO_OK;
}

/* Adds the bytes of a pair, and with memory fills it. */
static void place(struct nano_cpu_runner *r, int op, int weight, int adapter, size_t *used,
                  unsigned char *scratch)
{
    struct nano_cpu_lora_pair *pair = pair_at(&r->lora, op, weight, adapter);
    const struct nano_adapter *from = &r->config.adapters[adapter];
    const struct stack a = stack_of(from, &r->program->ops[op], weight, false),
                       b = stack_of(from, &r->program->ops[op], weight, true);
    if (a.rows == 0)
        return;
    pair->rank = (int)b.cols;
    pair->a_format = a.format;
    pair->b_format = b.format;
    unsigned char *memory = r->lora.memory ? r->lora.memory + *used : NULL;
    const size_t a_bytes = packed_bytes(r, &a), b_bytes = packed_bytes(r, &b);
    *used += a_bytes + b_bytes + nano_mem_round_up((size_t)pair->rank * sizeof *pair->scales);
    if (!memory)
        return;
    float *scales = (float *)(void *)(memory + a_bytes + b_bytes);
    const struct nano_adapter_part *part;
    int row = 0;
    for (size_t i = a.first_part; (part = next_part(&a, &i)) != NULL;)
        for (int64_t k = 0; k < part->b->dims[0]; k++)
            scales[row++] = part->scale;
    pair->a = memory;
    pair->b = memory + a_bytes;
    pair->scales = scales;
    pack(r, &a, memory, scratch);
    pack(r, &b, memory + a_bytes, scratch);
}

static size_t place_all(struct nano_cpu_runner *r, unsigned char *scratch)
{
    size_t used = 0;
    for (int i = 0; i < r->program->num_ops; i++)
        for (int k = 0;
             r->lora.first_segment[i] >= 0 && k < nano_op_num_weights(&r->program->ops[i]); k++)
            for (int a = 0; a < r->lora.num_adapters; a++)
                place(r, i, k, a, &used, scratch);
    return used;
}

/* Where each segment's part of t begins, and how wide t and x get. */
static void lay_out_scratch(struct nano_cpu_runner *r)
{
    struct nano_cpu_lora *lora = &r->lora;
    for (int i = 0; i < r->program->num_ops; i++) {
        const struct nano_op *op = &r->program->ops[i];
        if (lora->first_segment[i] < 0 || op->kind != NANO_OP_LINEAR)
            continue;
        for (int a = 0; a < lora->num_adapters; a++) {
            int first = 0;
            for (int k = 0; k < nano_op_num_weights(op); k++) {
                struct nano_cpu_lora_pair *pair = pair_at(lora, i, k, a);
                pair->first = first;
                first +=
                    (pair->rank + NANO_CPU_LORA_ROWS - 1) / NANO_CPU_LORA_ROWS * NANO_CPU_LORA_ROWS;
            }
            lora->t_stride = first > lora->t_stride ? first : lora->t_stride;
        }
        const int64_t rows =
            i < r->program->gather_op ? r->config.max_num_batched_tokens : r->max_outputs;
        const int64_t floats = rows * op->in[0].width;
        lora->max_x_floats = floats > lora->max_x_floats ? floats : lora->max_x_floats;
    }
}

enum nano_status nano_cpu_lora_collect(struct nano_cpu_runner *r, struct nano_error *err)
{
    if (r->config.num_adapters == 0)
        return NANO_OK;
    enum nano_status status = make_tables(r, err);
    if (status != NANO_OK)
        return status;
    r->lora.packed_bytes = place_all(r, NULL);
    lay_out_scratch(r);
    for (int i = 0; i < r->lora.num_pairs; i++)
        if (r->lora.pairs[i].rank > NANO_CPU_TILE_FLOATS)
            return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                                  "adapters side by side have rank %d, expected at most %d",
                                  r->lora.pairs[i].rank, NANO_CPU_TILE_FLOATS);
    return NANO_OK;
}

enum nano_status nano_cpu_lora_pack(struct nano_cpu_runner *r, struct nano_error *err)
{
    struct nano_cpu_lora *lora = &r->lora;
    int64_t max_cols = 0;
    if (lora->packed_bytes == 0)
        return NANO_OK;
    for (int a = 0; a < lora->num_adapters; a++) {
        for (size_t i = 0; i < r->config.adapters[a].num_parts; i++) {
            const int64_t cols = r->config.adapters[a].parts[i].a->dims[0];
            max_cols = cols > max_cols ? cols : max_cols;
        }
    }
    max_cols = max_cols > NANO_CPU_TILE_FLOATS ? max_cols : NANO_CPU_TILE_FLOATS;
    unsigned char *scratch = nano_mem_alloc((size_t)max_cols * NANO_CPU_LORA_ROWS, sizeof(float));
    lora->memory = nano_mem_alloc_aligned(lora->packed_bytes);
    const bool fine = lora->memory && scratch;
    if (fine)
        place_all(r, scratch);
    nano_mem_free(scratch);
    return fine ? NANO_OK : nano_error_no_memory(err, "adapters", lora->packed_bytes);
}

void nano_cpu_lora_deinit(struct nano_cpu_lora *lora)
{
    nano_mem_free_aligned(lora->memory, lora->packed_bytes);
    nano_mem_free(lora->pairs);
    nano_mem_free(lora->first_segment);
    *lora = (struct nano_cpu_lora){0};
}

size_t nano_cpu_lora_table_bytes(const struct nano_cpu_runner *r)
{
    return (r->lora.num_adapters ? (size_t)r->program->num_ops * sizeof *r->lora.first_segment
                                 : 0) +
           (size_t)r->lora.num_pairs * sizeof *r->lora.pairs;
}
