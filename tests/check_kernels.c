/* The kernel checker's tools: counting, random inputs, guarded memory. */
#define _DEFAULT_SOURCE
#include "check_kernels.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARD_BYTES = 256, FILL_BYTE = 0xA5 };

static struct {
    char name[128];
    bool failed;
    int num_passed, num_failed;
    uint64_t seed, random_state;
} state = {.seed = 1};

void check_begin(const struct tiers *tiers, const char *slot, const char *format)
{
    snprintf(state.name, sizeof state.name, "%s %s %s", tiers->test->name, slot, format);
    state.failed = false;
    state.random_state = state.seed;
}

bool check_that(bool condition, const char *message, ...)
{
    if (condition || state.failed)
        return condition;
    state.failed = true;
    va_list args;
    va_start(args, message);
    printf("FAIL %s: ", state.name);
    vprintf(message, args);
    printf(" (--seed %llu)\n", (unsigned long long)state.seed);
    va_end(args);
    return false;
}

void check_end(void)
{
    state.failed ? state.num_failed++ : state.num_passed++;
}

/* Which kernel read or wrote where nothing is mapped. */
static void die_with_name(int signal_number)
{
    static const char message[] = "FAIL (crash) ";
    ssize_t ignored = write(STDERR_FILENO, message, sizeof message - 1);
    ignored += write(STDERR_FILENO, state.name, strlen(state.name));
    ignored += write(STDERR_FILENO, "\n", 1);
    (void)ignored;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void check_start(uint64_t seed)
{
    state.seed = seed;
    signal(SIGSEGV, die_with_name);
}

bool check_wants(enum nano_cpu_tier tier)
{
    return nano_cpu_supports(tier) && (!getenv("NANOVLLM_CPU") || nano_cpu_detect() == tier);
}

int check_finish(void)
{
    printf("%d passed, %d failed\n", state.num_passed, state.num_failed);
    return state.num_failed > 0;
}

/* splitmix64 */
uint64_t random_u64(void)
{
    uint64_t z = state.random_state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

int random_below(int n)
{
    return (int)(random_u64() % (uint64_t)n);
}

float random_float(void)
{
    return (float)((double)(random_u64() >> 11) * 0x1p-52 - 1);
}

const char *pattern_name(enum pattern pattern)
{
    static const char *const names[] = {"random", "maximum", "alternating", "equal",
                                        "zero",   "tiny",    "huge"};
    return names[pattern];
}

void fill_floats(float *x, int64_t n, enum pattern pattern)
{
    for (int64_t i = 0; i < n; i++) {
        switch (pattern) {
        case PATTERN_RANDOM:
            x[i] = random_float() * (float)(1 << random_below(4));
            break;
        case PATTERN_MAXIMUM:
            x[i] = i % 256 == 255 ? -127 : 127;
            break;
        case PATTERN_ALTERNATING:
            x[i] = i % 2 ? -100.25f : 100.25f;
            break;
        case PATTERN_EQUAL:
            x[i] = 0.375f;
            break;
        case PATTERN_TINY:
            x[i] = random_float() * 1e-39f;
            break;
        case PATTERN_HUGE:
            x[i] = random_float() * 1e15f;
            break;
        default:
            x[i] = i % 3 ? 0.0f : -0.0f;
        }
    }
}

struct input input_alloc(size_t num_bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (num_bytes + page - 1) / page * page;
    struct input input = {.mapping_bytes = body + page};
    input.mapping =
        mmap(NULL, input.mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (input.mapping == MAP_FAILED ||
        mprotect((char *)input.mapping + body, page, PROT_NONE) != 0) {
        perror("mmap");
        exit(2);
    }
    input.data = (char *)input.mapping + body - num_bytes;
    return input;
}

void input_free(struct input *input)
{
    if (input->mapping)
        munmap(input->mapping, input->mapping_bytes);
    *input = (struct input){0};
}

struct output output_alloc(size_t num_bytes, size_t misalignment)
{
    struct output output = {.num_bytes = num_bytes};
    output.memory_bytes = (num_bytes + misalignment + 2 * GUARD_BYTES + 63) / 64 * 64;
    output.memory = aligned_alloc(64, output.memory_bytes);
    if (!output.memory) {
        perror("aligned_alloc");
        exit(2);
    }
    output.data = output.memory + GUARD_BYTES + misalignment;
    output_reset(&output);
    return output;
}

void output_reset(struct output *output)
{
    memset(output->memory, FILL_BYTE, output->memory_bytes);
}

bool output_untouched(const struct output *output, size_t begin, size_t end)
{
    const unsigned char *data = output->data;
    while (begin < end && data[begin] == FILL_BYTE)
        begin++;
    return begin >= end;
}

bool output_guards_intact(const struct output *output)
{
    struct output whole = *output;
    whole.data = output->memory;
    size_t begin = (size_t)((unsigned char *)output->data - output->memory);
    return output_untouched(&whole, 0, begin) &&
           output_untouched(&whole, begin + output->num_bytes, output->memory_bytes);
}

void output_free(struct output *output)
{
    free(output->memory);
    *output = (struct output){0};
}
