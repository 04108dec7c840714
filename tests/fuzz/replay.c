/* Runs a fuzz target without a fuzzer: every file of a corpus, and mutations of each.
 *
 *   fuzz_NAME [--mutate N] [--seed S] [--only M] [FILE | FOLDER]…
 *
 * Without arguments: the corpus tests/fuzz/corpus/NAME with DEFAULT_MUTATIONS mutations per file.
 * Mutation M of a file is the same on every machine; when the target dies, the last line on stderr
 * says how to run that one alone. */
#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_MUTATIONS 20000
#define MAX_GROWTH 4096 /* bytes that mutations may add to an input */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

struct input {
    uint8_t *data;
    size_t size;
};

static struct {
    uint64_t num_mutations, seed;
    bool has_only;
    uint64_t only, num_runs, num_files;
} options;

static char current[4096]; /* what a crash must say; written before each run */
static const char *program;

static void report(void)
{
    ssize_t ignored = write(STDERR_FILENO, current, strlen(current));
    (void)ignored;
}

static void on_signal(int number)
{
    report();
    signal(number, SIG_DFL);
    raise(number);
}

static _Noreturn void die(const char *what, const char *path)
{
    fprintf(stderr, "%s: ", what);
    perror(path);
    exit(2);
}

/* splitmix64 (Steele et al., 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static size_t below(uint64_t *state, size_t limit)
{
    return limit ? (size_t)(next_random(state) % limit) : 0;
}

/* Numbers at which length and count checks go wrong. */
static uint64_t interesting(uint64_t *state)
{
    uint64_t value = UINT64_C(1) << below(state, 64);
    switch (below(state, 4)) {
    case 0:
        return value;
    case 1:
        return value - 1;
    case 2:
        return ~value + 1;
    default:
        return below(state, 300);
    }
}

static void insert(struct input *input, size_t at, const uint8_t *bytes, size_t size)
{
    uint8_t copy[64];
    memcpy(copy, bytes, size); /* `bytes` may be what is moved */
    memmove(input->data + at + size, input->data + at, input->size - at);
    memcpy(input->data + at, copy, size);
    input->size += size;
}

/* One change; the buffer has room for 64 more bytes. */
static void mutate_once(struct input *input, uint64_t *state)
{
    size_t at = below(state, input->size), left = input->size - at;
    size_t length = 1 + below(state, 64);
    uint8_t bytes[64];
    uint64_t value = interesting(state);
    switch (below(state, 8)) {
    case 0: /* flip a bit */
        if (left)
            input->data[at] ^= (uint8_t)(1u << below(state, 8));
        break;
    case 1: /* another byte */
        if (left)
            input->data[at] = (uint8_t)next_random(state);
        break;
    case 2: /* a little-endian number of 1 … 8 bytes */
    case 3:
        length = (size_t)1 << below(state, 4);
        for (size_t i = 0; i < length && i < left; i++)
            input->data[at + i] = (uint8_t)(value >> (8 * i));
        break;
    case 4: /* cut the end off */
        input->size = at;
        break;
    case 5: /* remove a piece */
        length = length < left ? length : left;
        memmove(input->data + at, input->data + at + length, left - length);
        input->size -= length;
        break;
    case 6: /* repeat a piece somewhere else */
        length = length < left ? length : left;
        insert(input, below(state, input->size + 1), input->data + at, length);
        break;
    default: /* insert noise */
        for (size_t i = 0; i < length; i++)
            bytes[i] = (uint8_t)next_random(state);
        insert(input, at, bytes, length);
    }
}

/* An allocation of exactly the input's size lets sanitizers see one byte too many. */
static void run_one(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact)
        die("no memory", "input");
    memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    options.num_runs++;
}

static void run_mutations(const char *path, const struct input *original)
{
    struct input input = {.data = malloc(original->size + MAX_GROWTH)};
    if (!input.data)
        die("no memory", path);
    for (uint64_t i = 0; i < options.num_mutations; i++) {
        if (options.has_only && i != options.only)
            continue;
        uint64_t state = (options.seed + 1) * 0xD1342543DE82EF95u + i;
        memcpy(input.data, original->data, original->size);
        input.size = original->size;
        for (size_t n = 1 + below(&state, 6); n > 0; n--)
            mutate_once(&input, &state);
        snprintf(current, sizeof current, "%s --mutate %llu --seed %llu --only %llu %s\n", program,
                 (unsigned long long)options.num_mutations, (unsigned long long)options.seed,
                 (unsigned long long)i, path);
        run_one(input.data, input.size);
    }
    free(input.data);
}

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    if (!file || fstat(fileno(file), &st) != 0)
        die("cannot open", path);
    struct input input = {.data = malloc((size_t)st.st_size + 1), .size = (size_t)st.st_size};
    if (!input.data || fread(input.data, 1, input.size, file) != input.size)
        die("cannot read", path);
    fclose(file);
    options.num_files++;
    snprintf(current, sizeof current, "%s --mutate 0 %s\n", program, path);
    if (!options.has_only)
        run_one(input.data, input.size);
    run_mutations(path, &input);
    free(input.data);
}

static void run_path(const char *path)
{
    struct stat st;
    struct dirent **entries;
    if (stat(path, &st) != 0)
        die("cannot find", path);
    if (!S_ISDIR(st.st_mode)) {
        run_file(path);
        return;
    }
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        die("cannot read", path);
    for (int i = 0; i < count; i++) {
        char child[4096];
        snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            run_path(child);
        free(entries[i]);
    }
    free(entries);
}

/* tests/fuzz/corpus/NAME beside the sources, for a program called fuzz_NAME. */
static void run_default_corpus(void)
{
    char path[4096];
    const char *srcdir = getenv("srcdir"), *name = strstr(program, "fuzz_");
    for (const char *next = name; next; next = strstr(next + 1, "fuzz_"))
        name = next;
    if (!name) {
        fprintf(stderr, "%s: give the corpus as an argument\n", program);
        exit(2);
    }
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/%s", srcdir ? srcdir : ".",
             name + strlen("fuzz_"));
    run_path(path);
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = text ? strtoull(text, &end, 10) : 0;
    if (!text || *text == '\0' || *end != '\0') {
        fprintf(stderr, "%s: '%s' is not a number\n", program, text ? text : "");
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    int num_paths = 0;
    program = argv[0];
    options.num_mutations = DEFAULT_MUTATIONS;
    signal(SIGABRT, on_signal);
    signal(SIGFPE, on_signal);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(report);
    else
        signal(SIGSEGV, on_signal);
    if (LLVMFuzzerInitialize)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--mutate") == 0) {
            options.num_mutations = number(argv[++i]);
        } else if (strcmp(argv[i], "--seed") == 0) {
            options.seed = number(argv[++i]);
        } else if (strcmp(argv[i], "--only") == 0) {
            options.has_only = true;
            options.only = number(argv[++i]);
        } else {
            num_paths++;
            run_path(argv[i]);
        }
    }
    if (num_paths == 0)
        run_default_corpus();
    printf("%s: %llu files, %llu runs\n", program, (unsigned long long)options.num_files,
           (unsigned long long)options.num_runs);
    return options.num_files == 0; /* an empty corpus tests nothing */
}
